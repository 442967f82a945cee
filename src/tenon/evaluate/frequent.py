"""Frequent: what one answers who knows only how often each class occurs.

Of units with names, such as words, it knows it for each name that train has.
U units, L classes, W names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tenon.evaluate import probe as probes

Floats = npt.NDArray[np.float32]
MIXED = 1.0
"""How many units of all classes a name's own units are joined with."""


@dataclass(frozen=True)
class Frequent:
    """Class frequencies of train.

    Args:
        classes_L: log-probabilities over all units.
        names: the W names, in the order of `names_WL`.
        names_WL: log-probabilities of each name's units.
    """

    classes_L: Floats
    names: tuple[str, ...]
    names_WL: Floats

    def log_probs(self, names: Sequence[str] | None, units: int) -> Floats:
        """Give log-probabilities of some units, [U, L].

        Args:
            names: of the units; None where they have none.
            units: U.
        """
        if names is None:
            return np.broadcast_to(self.classes_L, (units, len(self.classes_L)))
        rows_U = np.array([self._places.get(name, len(self.names)) for name in names], np.int64)
        return np.concatenate([self.names_WL, self.classes_L[None]])[rows_U]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Give the frequencies as arrays that a file can hold."""
        named = json.dumps(self.names).encode()
        return {
            "majority": self.classes_L,
            "names": np.frombuffer(named, np.uint8),
            "named": self.names_WL,
        }


def of_arrays(arrays: Mapping[str, Any]) -> Frequent:
    """Read what `Frequent.arrays` gave.

    Raises:
        KeyError: an array is missing.
    """
    names = tuple(json.loads(arrays["names"].tobytes()))
    return Frequent(arrays["majority"], names, arrays["named"])


def count(
    gold_U: npt.NDArray[np.int32], classes: int, names: Sequence[str] | None = None
) -> Frequent:
    """Count the classes of train's units, and of each name's.

    A name's classes are joined with one unit of all classes, so that none is impossible.

    Args:
        gold_U: class of each unit; -1 without one.
        classes: L.
        names: of the units; None where they have none.
    """
    known_U = np.flatnonzero(gold_U >= 0)
    classes_L = probes.majority(gold_U[known_U], classes)
    if names is None:
        return Frequent(classes_L, (), np.zeros((0, classes), np.float32))
    places: dict[str, int] = {}
    rows = [places.setdefault(names[unit], len(places)) for unit in known_U.tolist()]
    counts_WL = np.tile(MIXED * np.exp(classes_L.astype(np.float64)), (len(places), 1))
    np.add.at(counts_WL, (np.array(rows, np.int64), gold_U[known_U]), 1.0)
    log_WL = np.log(counts_WL / counts_WL.sum(1, keepdims=True)).astype(np.float32)
    return Frequent(classes_L, tuple(places), log_WL)
