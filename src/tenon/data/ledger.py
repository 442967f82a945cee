"""Ledger: a few numbers per row, so that rows can be compared without keeping their texts."""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tenon.data.example import Example
from tenon.data.gold import Gold
from tenon.data.normal import normal

U64 = npt.NDArray[np.uint64]
MOST_LABELS = 100_000
OTHER = "…"
"""Stands for all labels beyond `MOST_LABELS`: such a column holds no classes."""


@dataclass(slots=True)
class LabelNames:
    """Number the labels in the order in which they come."""

    numbers: dict[str, int] = field(default_factory=dict[str, int])

    def number(self, label: str) -> int:
        """Give the number of `label`, a new one at its first time."""
        known = self.numbers.get(label)
        if known is not None:
            return known
        if len(self.numbers) >= MOST_LABELS:
            return self.numbers.setdefault(OTHER, len(self.numbers))
        return self.numbers.setdefault(label, len(self.numbers))


@dataclass(slots=True)
class Ledger:
    """The rows of one source as columns of numbers, 40 bytes a row.

    Two different texts share a 64-bit digest with a chance of 3e-6 in 10 million rows.

    Args:
        where: what origins begin with.
        names: numbers of the labels, shared by the ledgers of a check.
    """

    where: str
    names: LabelNames
    _exact: array[int] = field(default_factory=lambda: array("Q"))
    _keys: array[int] = field(default_factory=lambda: array("Q"))
    _alike: array[int] = field(default_factory=lambda: array("Q"))
    _lines: array[int] = field(default_factory=lambda: array("Q"))
    _named: dict[int, str] = field(default_factory=dict[int, str])
    _labels: array[int] = field(default_factory=lambda: array("i"))
    _characters: array[int] = field(default_factory=lambda: array("I"))

    def add(self, example: Example) -> tuple[str, str]:
        """Enter one example; give its text and pair in normal form, "" for no pair."""
        pair = example.pair
        exact = int(example.id[:16], 16)
        text, other = normal(example.text), "" if pair is None else normal(pair)
        alike = text if pair is None else f"{text}\x1f{other}"
        where, _, line = example.origin.rpartition(":")
        if where != self.where:
            self.where = where
        self._exact.append(exact)
        self._keys.append(int(example.key[:16], 16))
        self._alike.append(_digest(alike))
        number, _, named = line.partition(" ")
        if named:
            self._named[len(self._lines)] = named
        self._lines.append(int(number))
        self._labels.append(-1 if example.gold is None else self.names.number(_named(example.gold)))
        self._characters.append(len(example.text) + len(pair or ""))
        return text, other

    def __len__(self) -> int:
        return len(self._exact)

    @property
    def exact(self) -> U64:
        """Digest of each row's inputs."""
        return np.asarray(self._exact, dtype=np.uint64)

    @property
    def keys(self) -> U64:
        """Digest of what must not stand in another part too: each row's inputs, or its group."""
        return np.asarray(self._keys, dtype=np.uint64)

    @property
    def alike(self) -> U64:
        """Digest of each row's inputs after normalisation."""
        return np.asarray(self._alike, dtype=np.uint64)

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """Number of each row's label; -1 for none."""
        return np.asarray(self._labels, dtype=np.int32)

    @property
    def characters(self) -> npt.NDArray[np.uint32]:
        """Characters of each row's text and pair."""
        return np.asarray(self._characters, dtype=np.uint32)

    def origin(self, row: int) -> str:
        """Give the origin of the row entered as number `row`."""
        named = self._named.get(row)
        return f"{self.where}:{self._lines[row]}" + (f" {named}" if named else "")

    def label_counts(self) -> dict[str, int]:
        """Give the rows of each label that stands here."""
        counts = np.bincount(self.labels[self.labels >= 0], minlength=len(self.names.numbers))
        return {
            name: int(counts[number])
            for name, number in self.names.numbers.items()
            if counts[number]
        }


def _named(gold: Gold) -> str:
    """Give a class label as it is; of any other gold, a short text that stands for it."""
    if isinstance(gold, str):
        return gold
    return hashlib.blake2b(repr(gold).encode(), digest_size=8).hexdigest()


def alike_digest(example: Example) -> int:
    """Give the digest of a row's inputs in normal form."""
    text = normal(example.text)
    return _digest(text if example.pair is None else f"{text}\x1f{normal(example.pair)}")


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
