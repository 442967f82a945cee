"""Shared: rows of a pass that have equal tokens, and the layers that are computed once for them.

Of the rows of a text, the one whose adapter begins highest goes through all layers. The others are
born from it: below their own adapter's lowest layer their states are its states. Rows of one
adapter are the same to the end. A pass is then computed in stretches, from one level at which rows
are born to the next, and no layer is computed for more rows than without.

Legend: T real tokens, D hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenon.model.levels import Levels
from tenon.serve.stage import Stage
from tenon.text.batch import Batch, Below

LEAST = {"cpu": 50_000_000}
LEAST_ELSEWHERE = 25_000_000_000
"""Multiplications that a stretch of its own must save, by device: what beginning it takes.

Source: benchmarks/serve.md for the CPU. Elsewhere it is what an H100 computes in a tenth of a
    millisecond at a quarter of its speed, about as long as the launches of a stretch take.
"""


@dataclass(frozen=True)
class Row:
    """One row of a pass.

    Args:
        owner: key of its adapter; None for the base.
        lowest: the level below the adapter's lowest layer.
        ids, types: of its tokens; types may be None, which is 0 for all.
        job, place: whose row it is.
    """

    owner: str | None
    lowest: int
    ids: Any
    types: Any
    job: int
    place: int

    @property
    def read(self) -> tuple[bytes, bytes]:
        """What the base reads: equal for rows of equal tokens."""
        types = np.asarray(() if self.types is None else self.types, np.int64)
        return np.asarray(self.ids, np.int64).tobytes(), types.tobytes() if types.any() else b""


@dataclass(frozen=True)
class Birth:
    """Where the states of a row come from.

    Args:
        level: below it they are those of the source; 0 for none.
        source: the place of a row.
    """

    level: int
    source: int


def portions(rows: Sequence[Row], tokens: int, count: int) -> list[list[Row]]:
    """Give rows in portions that are computed at once, equal texts together where they fit.

    Args:
        tokens, count: most of a portion; a single row may have more.
    """
    if len(rows) <= count and sum(len(row.ids) for row in rows) <= tokens:
        return [list(rows)]
    texts: dict[Any, list[Row]] = {}
    for row in rows:
        texts.setdefault(row.read, []).append(row)
    found: list[list[Row]] = []
    free = (0, 0)
    for same in sorted(texts.values(), key=lambda same: len(same[0].ids)):
        each = len(same[0].ids)
        at_once = max(1, min(count, tokens // each))
        for first in range(0, len(same), at_once):
            some = same[first : first + at_once]
            if not found or len(some) * each > free[0] or len(some) > free[1]:
                found.append([])
                free = tokens, count
            found[-1] += some
            free = free[0] - len(some) * each, free[1] - len(some)
    return found


def births(rows: Sequence[Row], levels: Levels) -> list[Birth]:
    """Give for each row of a pass where its states come from."""
    texts: dict[Any, list[int]] = {}
    for place, row in enumerate(rows):
        texts.setdefault(row.read, []).append(place)
    found = [Birth(0, place) for place in range(len(rows))]
    for same in texts.values():
        owners: dict[str | None, int] = {}
        for place in same:
            first = owners.setdefault(rows[place].owner, place)
            if first != place:
                found[place] = Birth(levels.last, first)
        leader = max(owners.values(), key=lambda place: rows[place].lowest)
        for place in owners.values():
            if place != leader:
                found[place] = Birth(rows[place].lowest, leader)
    return _worthwhile(found, rows, levels)


def _worthwhile(found: Sequence[Birth], rows: Sequence[Row], levels: Levels) -> list[Birth]:
    """Let rows be born lower where a stretch of their own would save less than it takes."""
    least = LEAST.get(levels.trunk.device.type, LEAST_ELSEWHERE)
    lowered, below = {0: 0, levels.last: levels.last}, 0
    for level in sorted({birth.level for birth in found} - lowered.keys()):
        pairs = zip(found, rows, strict=True)
        tokens = sum(len(row.ids) for birth, row in pairs if birth.level == level)
        if tokens * (level - below) * levels.products >= least:
            below = level
        lowered[level] = below
    return [replace(birth, level=lowered[birth.level]) for birth in found]


def hidden(stage: Stage, rows: Sequence[Row], *, sharing: bool) -> list[Tensor]:
    """Give the hidden states of each row, [tokens, D], in the order of the rows.

    Args:
        rows: sorted by `Rack.order`.
        sharing: whether layers below the adapters of equal texts are computed once.
    """
    levels = stage.levels
    alone = [Birth(0, place) for place in range(len(rows))]
    born = births(rows, levels) if sharing else alone
    states: dict[int, Tensor] = {}
    stops = sorted({birth.level for birth in born} | {0, levels.last})
    for level, stop in pairwise(stops):
        here = [place for place, birth in enumerate(born) if birth.level <= level]
        for place in here:
            if level and born[place].level == level:
                states[place] = states[born[place].source]
        _stretch(stage, [rows[place] for place in here], here, states, level, stop)
        _note(stage, rows, here, min(stop, levels.last - 1) - level)
    return [states[place if birth.level < levels.last else birth.source]
            for place, birth in enumerate(born)]  # fmt: skip


def _stretch(
    stage: Stage,
    rows: Sequence[Row],
    places: Sequence[int],
    states: dict[int, Tensor],
    level: int,
    stop: int,
) -> None:
    """Compute the layers from one level to another, and put what leaves them into `states`."""
    batch = batch_of(rows)
    if level:
        batch = replace(batch, below=Below(level, torch.cat([states[place] for place in places])))
    owners = [row.owner for row in rows]
    left_TD = stage.hidden_TD(batch, owners, 0 if stop == stage.levels.last else stop)
    states.update(zip(places, left_TD.split(list(batch.lengths)), strict=True))


def _note(stage: Stage, rows: Sequence[Row], here: Sequence[int], layers: int) -> None:
    every = sum(len(row.ids) for row in rows)
    computed = sum(len(rows[place].ids) for place in here)
    stage.tally.computed += computed * layers
    stage.tally.spared += (every - computed) * layers


def batch_of(rows: Sequence[Row]) -> Batch:
    """Lay rows end to end."""
    ids = np.concatenate([row.ids for row in rows]).astype(np.int64)
    typed = any(row.types is not None for row in rows)
    types = [np.zeros(len(row.ids)) if row.types is None else row.types for row in rows]
    return Batch(
        ids_T=torch.from_numpy(ids),
        types_T=torch.from_numpy(np.concatenate(types).astype(np.int64)) if typed else None,
        lengths=tuple(len(row.ids) for row in rows),
        targets_X=torch.empty(0),
        rows=np.arange(len(rows)),
    )
