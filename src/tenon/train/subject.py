"""Subject: a run that is about to begin, as its preflight looks at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from tenon.adapters.kind import KINDS, Kind
from tenon.adapters.settings import AdapterSettings
from tenon.model.model import Model
from tenon.text.batch import Batch, batch
from tenon.text.order import Rows, generator
from tenon.text.taught import Taught
from tenon.train.settings import TrainSettings
from tenon.train.trial import Trial, take

CANDIDATES = 64
ROWS, ALONE = 6, 3
TOKENS = 512
"""Of the rows that are computed, which are as many as fit into it, and two at least."""


@dataclass(frozen=True)
class Subject:
    """A run that is about to begin.

    Args:
        model: fresh, as the run will train it.
        taught: its rows.
        places: the names of the modules that each site stands for.
        adapter: its settings.
        settings: of training.
        factors: as of `tenon.train.loop.Course`.
        seed: of the run.
    """

    model: Model
    taught: Taught
    places: Mapping[str, tuple[str, ...]]
    adapter: AdapterSettings
    settings: TrainSettings
    factors: Mapping[str, float] = field(default_factory=dict[str, float])
    seed: int = 0

    @property
    def kind(self) -> Kind:
        """The adapter's kind."""
        return KINDS.get(self.adapter.kind)

    @cached_property
    def rows(self) -> Rows:
        """Some of the first rows that the run will train on, short and long, with targets."""
        tokens = self.taught.tokens
        first = generator(self.seed, 0).permutation(len(tokens))[:CANDIDATES]
        taught = [row for row in first.tolist() if self.taught.targets(row)]
        ordered = sorted(taught, key=lambda row: int(tokens.lengths_R[row]))
        places = np.unique(np.linspace(0, len(ordered) - 1, min(ROWS, len(ordered))).astype(int))
        chosen = [ordered[place] for place in places.tolist()]
        while len(chosen) > 2 and tokens.lengths_R[chosen].sum() > TOKENS:  # noqa: PLR2004 - a pair
            chosen.pop()
        return np.array(chosen, np.int64)

    @cached_property
    def batch(self) -> Batch:
        """These rows."""
        return batch(self.taught.tokens, self.rows)

    @cached_property
    def alone(self) -> dict[int, Batch]:
        """Some of these rows, by their places among them, each by itself: short and long."""
        places = np.unique(np.linspace(0, len(self.rows) - 1, ALONE).astype(int)).tolist()
        return {place: self._part(place, place + 1) for place in places}

    @cached_property
    def uneven(self) -> list[Batch]:
        """The same rows in two micro-batches, the first a single row."""
        return [self._part(0, 1), self._part(1, len(self.rows))]

    def _part(self, first: int, last: int) -> Batch:
        return batch(self.taught.tokens, self.rows[first:last])

    @cached_property
    def trial(self) -> Trial:
        """The steps that are taken on them and taken back."""
        return take(self.model, [self.batch], self.settings, self.factors, self.seed)
