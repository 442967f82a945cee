"""Levels: between which layers of a base rows may part, as each adapter leaves those below its own.

Level n lies below layer n: 0 is the start, and one more than all layers is behind everything, where
no adapter changes a state any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from tenon.core.errors import RunError
from tenon.model.entry import SEQ2SEQ, Seen, blocks, faults_of, names, spare_first
from tenon.model.loading import quiet
from tenon.model.lower import goes_on, proof_of
from tenon.model.trunk import Trunk
from tenon.text.batch import Batch

FAILURES = (RunError, TypeError, ValueError, LookupError, AttributeError, RuntimeError)
"""What a base may fail with that is not made to be entered."""


@dataclass
class Levels:
    """The levels of a base.

    Args:
        trunk: the base, in evaluation mode.
        known: level to why the base cannot be left and entered there; empty where it can.
    """

    trunk: Trunk
    known: dict[int, str] = field(default_factory=dict[int, str])

    @cached_property
    def names(self) -> list[str]:
        """The names of the layers."""
        return names(self.trunk.model)

    @property
    def last(self) -> int:
        """The level behind everything."""
        return len(self.names) + 1

    @cached_property
    def products(self) -> int:
        """Multiplications of a layer for each token: one a weight."""
        return max(
            (sum(p.numel() for p in b.parameters()) for b in blocks(self.trunk.model)), default=0
        )

    def lowest(self, paths: Iterable[str]) -> int:
        """Give the highest level below all of some modules: 0 where one lies in no layer."""
        return min(map(self._level, paths), default=self.last)

    def _level(self, path: str) -> int:
        inside = (n for n, name in enumerate(self.names) if f"{path}.".startswith(f"{name}."))
        return next(inside, 0)

    def fault(self, level: int) -> str:
        """Say why rows cannot part at a level; empty where they can, as is proved once.

        Nothing needs to be left or entered at both ends. For the others the base must be bare the
        first time.
        """
        if level not in self.known:
            self.known[level] = "" if level in (0, self.last) else self._proved(level)
        return self.known[level]

    def _proved(self, level: int) -> str:
        if isinstance(self._whole, str):
            return self._whole
        try:
            with torch.no_grad(), quiet():
                return goes_on(self.trunk, *self._whole, level)
        except FAILURES as error:
            return f"it fails when it goes on from stored states ({type(error).__name__})"

    @cached_property
    def _whole(self) -> tuple[Batch, Tensor] | str:
        """Some rows with their last hidden states; or why the base cannot be entered at all."""
        if self.trunk.seq2seq:
            return SEQ2SEQ
        proof, seen = proof_of(self.trunk), Seen(blocks(self.trunk.model))
        with torch.no_grad(), quiet(), seen.watching(self.trunk.model):
            whole_TD = self.trunk.hidden_TD(proof)
        why = faults_of(self.trunk.model, seen)
        if not why:
            spare_first(self.trunk.model, seen.first)
        return why or (proof, whole_TD)
