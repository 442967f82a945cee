"""Grid: rows with room for equally many new tokens, in tensors that stay where they are.

A pass over a grid does the same to the same memory whichever rows are in it, so that it can be
recorded once and replayed (`tenon.model.recording`). Places that no row has, and new tokens beyond
those that a row has, write into a block that is nobody's; what they read is never told.

Legend: R rows, Q new tokens of a row, T = R * Q, M blocks of a row, L cells of these, P pools,
X numbers that a row is told by, H heads, K key-value heads, D channels of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tenon.adapters.prefix_attention import Seen
from tenon.model.attended import attended
from tenon.model.cells import Blocks, Cells
from tenon.model.slots import Pool

ROWS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
NEW = (1, 16, 32, 64, 128, 256, 512)
BLOCKS = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096)
"""Sizes of grids. Steps of a half and of two waste little, and keep the recordings few."""
PAST, COUNT = 0, 1
"""Columns behind the ids of a row: tokens in its cells, and new ones."""


def size_of(sizes: Sequence[int], number: int) -> int:
    """Give the least of the sizes that a number fits in; 0 where there is none."""
    return next((size for size in sizes if size >= number), 0)


@dataclass(frozen=True)
class Entry:
    """A row in a grid.

    Args:
        blocks: of the row, enough for all that it will have.
        past: tokens of it that are in its cells.
        ids: of its new tokens.
        owner: its adapter, which is in a slot; None for the base.
    """

    blocks: Blocks
    past: int
    ids: Sequence[int]
    owner: str | None


@dataclass(frozen=True)
class Shape:
    """The size of a grid.

    Args:
        rows, new, blocks: R, Q and M.
    """

    rows: int
    new: int
    blocks: int


class Grid:
    """Rows of a pass; it stands where attention over cells has its borders.

    Args:
        shape: its size.
        cells: in which the rows lie.
        pools: of the slots that its rows' adapters are in.
        device: of the base.
        positions: how many the base can tell apart; 0 for any.
    """

    def __init__(
        self,
        shape: Shape,
        cells: Cells,
        pools: tuple[Pool, ...],
        device: torch.device,
        positions: int = 0,
    ) -> None:
        self.shape, self.cells, self.pools = shape, cells, pools
        self.device, self.positions = device, positions
        width = shape.new + 2 + len(pools) + shape.blocks
        self.host_RX = torch.zeros(
            (shape.rows, width), dtype=torch.int64, pin_memory=device.type == "cuda"
        )
        self.state_RX = torch.zeros_like(self.host_RX, device=device)
        self.windows = set[int]()
        self.lengths = (shape.new,) * shape.rows

    def fill(self, entries: Sequence[Entry]) -> None:
        """Put rows in, in the place of those that were in it."""
        new, blocks, slots = self.shape.new, self.shape.blocks, self.shape.new + 2
        table: npt.NDArray[np.int64] = self.host_RX.numpy()
        table[:, : new + 1] = 0
        table[:, new + COUNT] = 1
        table[:, slots : slots + len(self.pools)] = [pool.empty for pool in self.pools]
        table[len(entries) :, -blocks:] = self.cells.nobody
        for row, entry in zip(table, entries, strict=False):
            row[: len(entry.ids)] = entry.ids
            row[new + PAST], row[new + COUNT] = entry.past, len(entry.ids)
            for place, pool in enumerate(self.pools):
                if entry.owner in pool.numbers:
                    row[slots + place] = pool.numbers[entry.owner]
            own = entry.blocks[:blocks]
            # Behind its own blocks a row reads its last one, so that it depends on no other row.
            row[-blocks:][: len(own)] = own
            row[-blocks:][len(own) :] = own[-1]
        self.state_RX.copy_(self.host_RX, non_blocking=True)

    def begin(self) -> None:
        """Let what follows from the rows be found out again: a pass begins."""
        for name in ("_places_RQ", "positions_T", "cells_T", "_tables"):
            vars(self).pop(name, None)
        self._seen: dict[int | None, Tensor] = {}

    def move(self, ids_R: Tensor) -> None:
        """Let each row of a grid of single tokens go on with the token that was chosen."""
        self.state_RX[:, 0].copy_(ids_R)
        self.state_RX[:, 1 + PAST].add_(1)

    @property
    def ids_T(self) -> Tensor:
        """The new tokens, row after row."""
        return self.state_RX[:, : self.shape.new].flatten()

    @property
    def count_R(self) -> Tensor:
        """New tokens of each row."""
        return self.state_RX[:, self.shape.new + COUNT]

    def slots_R(self, pool: int) -> Tensor:
        """Give the slot of each row in the pool of a number."""
        return self.state_RX[:, self.shape.new + 2 + pool]

    @cached_property
    def _places_RQ(self) -> Tensor:
        new_Q = torch.arange(self.shape.new, device=self.device)
        return self.state_RX[:, self.shape.new + PAST, None] + new_Q

    @cached_property
    def _tables(self) -> Tensor:
        return self.state_RX[:, -self.shape.blocks :]

    @cached_property
    def positions_T(self) -> Tensor:
        """Place of each new token within its row."""
        last_R = self.state_RX[:, self.shape.new + PAST] + self.count_R - 1
        places_RQ = self._places_RQ.minimum(last_R[:, None])
        if self.positions:
            # A row that has ended may be computed once more, behind its last place.
            places_RQ = places_RQ.clamp(max=self.positions - 1)
        return places_RQ.flatten()

    @cached_property
    def cells_T(self) -> Tensor:
        """Cell of each new token."""
        size = self.cells.size
        at_RQ = (self._places_RQ // size).clamp(max=self.shape.blocks - 1)
        cells_RQ = self._tables.gather(1, at_RQ) * size + self._places_RQ % size
        new_Q = torch.arange(self.shape.new, device=self.device)
        beyond_RQ = new_Q >= self.count_R[:, None]
        return cells_RQ.masked_fill(beyond_RQ, self.cells.nobody * size).flatten()

    def seen_R1QL(self, window: int | None) -> Tensor:
        """Say which cells of its row each new token sees."""
        if window not in self._seen:
            cell_L = torch.arange(self.shape.blocks * self.cells.size, device=self.device)
            seen_RQL = cell_L <= self._places_RQ[..., None]
            if window is not None:
                seen_RQL &= cell_L > self._places_RQ[..., None] - window
            self._seen[window] = seen_RQL[:, None]
        return self._seen[window]

    def attend(
        self,
        module: nn.Module,
        states: tuple[Tensor, Tensor, Tensor],
        scaling: float | None,
        window: int | None,
        prefix: Seen | None,
    ) -> Tensor:
        """Keep keys and values, and give the attention output of all tokens, [1, T, H, D].

        Args:
            states: queries [1, H, T, D], keys and values [1, K, T, D].
        """
        query_1HTD, key_1KTD, value_1KTD = states
        rows, new = self.shape.rows, self.shape.new
        store = self.cells.store(module, key_1KTD, value_1KTD)
        store.put(self.cells_T, key_1KTD, value_1KTD)
        key_RKLD, value_RKLD = store.get(self._tables.flatten(), rows)
        query_RHQD = query_1HTD[0].unflatten(1, (rows, new)).transpose(0, 1)
        mask = self.seen_R1QL(window)
        if prefix is not None:
            key_RKLD, value_RKLD, mask = prefix.before(
                query_RHQD, key_RKLD, value_RKLD, mask, causal=False
            )
        return attended(query_RHQD, key_RKLD, value_RKLD, mask, scaling)[None]
