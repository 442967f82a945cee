"""Cached: attention of rows over what they have said before, in one pass with prompts.

In a pass each row has some new tokens: a part of its prompt, or one token that was written. Their
keys and values are put into the row's cells, and their queries see the row's cells up to their own
place. Rows without a past attend as packed rows do; all others in groups, whose blocks are gathered
by one index. Whether a base can be continued so is found out by proof, not by name.

What a padded place of a group holds is a block of its own row, so that a row whose states are not
finite spoils no other.

Legend: T new tokens of a pass, G rows of a group, Q new tokens of each, M blocks, L cells, H heads,
K key-value heads, D channels of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from tenon.adapters.prefix_attention import Seen
from tenon.core.errors import RunError
from tenon.model.attended import attended
from tenon.model.cells import Blocks, Cells, Store
from tenon.model.grid import Grid
from tenon.model.packing import Borders, packed_attention, refuse_unknown

ATTENTION = "tenon_cached"
SPARE_BLOCKS = {"cpu": 8, "cuda": 512}
"""So many blocks of padding cost no more than another group does."""
SPARE_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class Line:
    """The new tokens of one row.

    Args:
        blocks: of the row, enough for them.
        past: tokens of the row that are in its cells.
        new: how many tokens are new.
    """

    blocks: Blocks
    past: int
    new: int

    @property
    def total(self) -> int:
        """Tokens that the last new one sees, itself among them."""
        return self.past + self.new


@dataclass(frozen=True, eq=False)
class View:
    """What the rows of a group see through a window.

    Args:
        blocks_X: int64, M blocks of each row, row after row.
        seen_G1QL: bool, which cells a query sees; None where each sees all.
    """

    blocks_X: Tensor
    seen_G1QL: Tensor | None


@dataclass(frozen=True, eq=False)
class Group:
    """Rows with a past and equally many new tokens.

    Args:
        lines: of the rows.
        rows: the places of the rows in the pass.
        tokens: those of their new tokens.
        size: cells of a block.
        device: of the pass.
        views: window to what is seen through it.
    """

    lines: tuple[Line, ...]
    rows: Tensor
    tokens: slice | Tensor
    size: int
    device: torch.device
    views: dict[int | None, View] = field(default_factory=dict[int | None, View])

    def view(self, window: int | None) -> View:
        """Give what the rows see; made on the first call for a window."""
        if window not in self.views:
            self.views[window] = self._view(window)
        return self.views[window]

    def _view(self, window: int | None) -> View:
        past_G = np.array([line.past for line in self.lines])
        new = self.lines[0].new
        first_G = np.maximum(0, past_G + 1 - (window or past_G.max() + 1)) // self.size
        last_G = (past_G + new - 1) // self.size
        blocks_GM = np.empty((len(past_G), int((last_G - first_G).max()) + 1), np.int64)
        for row, (first, last) in enumerate(zip(first_G.tolist(), last_G.tolist(), strict=True)):
            blocks = self.lines[row].blocks
            blocks_GM[row, : last + 1 - first] = blocks[first : last + 1]
            blocks_GM[row, last + 1 - first :] = blocks[last]
        cell_GL = first_G[:, None] * self.size + np.arange(blocks_GM.shape[1] * self.size)
        place_GQ = past_G[:, None] + np.arange(new)
        seen_GQL = cell_GL[:, None] <= place_GQ[:, :, None]
        if window is not None:
            seen_GQL &= cell_GL[:, None] > place_GQ[:, :, None] - window
        every = bool(seen_GQL.all())
        seen = None if every else torch.from_numpy(seen_GQL)[:, None].to(self.device)
        return View(torch.from_numpy(blocks_GM.ravel()).to(self.device), seen)

    def attend(
        self,
        query_1HTD: Tensor,
        store: Store,
        scaling: float | None,
        window: int | None,
        prefix: Seen | None,
    ) -> Tensor:
        """Give the attention output of the group's tokens, [G * Q, H, D]."""
        view, rows, new = self.view(window), len(self.lines), self.lines[0].new
        key_GKLD, value_GKLD = store.get(view.blocks_X, rows)
        query_GHQD = query_1HTD[0, :, self.tokens].unflatten(1, (rows, new)).transpose(0, 1)
        mask = view.seen_G1QL
        if prefix is not None:
            key_GKLD, value_GKLD, mask = prefix.before(
                query_GHQD, key_GKLD, value_GKLD, mask, causal=False
            )
        return attended(query_GHQD, key_GKLD, value_GKLD, mask, scaling)


@dataclass(frozen=True, eq=False)
class Fresh:
    """Rows without a past.

    Args:
        rows: the places of the rows in the pass.
        tokens: those of their tokens.
        borders: of these rows alone.
    """

    rows: Tensor
    tokens: slice | Tensor
    borders: Borders


@dataclass(frozen=True, eq=False)
class Pass:
    """The new tokens of several rows, which stand where packed attention has its borders.

    Args:
        lines: of the rows, in order.
        cells: in which they lie.
        device: of the base.
        windows: the sliding windows of the layers that have attended.
    """

    lines: Sequence[Line]
    cells: Cells
    device: torch.device
    windows: set[int] = field(default_factory=set[int])

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """New tokens of each row."""
        return tuple(line.new for line in self.lines)

    @cached_property
    def _places(self) -> tuple[Tensor, Tensor]:
        size, places, cells = self.cells.size, list[int](), list[int]()
        for line in self.lines:
            if line.new == 1:  # most are: an array of one number would take longer than the number
                places.append(line.past)
                cells.append(line.blocks.item(line.past // size) * size + line.past % size)
                continue
            own = np.arange(line.past, line.total)
            places += own.tolist()
            cells += (line.blocks[own // size] * size + own % size).tolist()
        place_T, cell_T = torch.tensor([places, cells]).to(self.device)
        return place_T, cell_T

    @property
    def positions_T(self) -> Tensor:
        """Place of each new token within its row."""
        return self._places[0]

    @property
    def cells_T(self) -> Tensor:
        """Cell of each new token."""
        return self._places[1]

    @cached_property
    def ends(self) -> list[int]:
        """Place of each row's last token among the new tokens of the pass."""
        return (np.cumsum(self.lengths) - 1).tolist()

    @cached_property
    def parts(self) -> tuple[Fresh | Group, ...]:
        """The rows, parted by how they attend."""
        fresh = [row for row, line in enumerate(self.lines) if not line.past]
        single = [row for row, line in enumerate(self.lines) if line.past and line.new == 1]
        single.sort(key=lambda row: self.lines[row].total)
        rest = [row for row, line in enumerate(self.lines) if line.past and line.new > 1]
        parts: list[Fresh | Group] = []
        if fresh:
            borders = Borders(
                tuple(self.lengths[row] for row in fresh), self.device, windows=self.windows
            )
            parts.append(Fresh(*self._where(fresh), borders))
        runs = [*self._runs(single), *([row] for row in rest)]
        for run in runs:
            lines = tuple(self.lines[row] for row in run)
            parts.append(Group(lines, *self._where(run), self.cells.size, self.device))
        return tuple(parts)

    @cached_property
    def order_T(self) -> Tensor | None:
        """Where the outputs of the parts, end to end, have each token; None where in order."""
        tokens = torch.arange(sum(self.lengths), device=self.device)
        if len(self.parts) == 1:
            # A single part may have its rows in another order than the pass.
            tokens_T = tokens[self.parts[0].tokens]
            return None if isinstance(self.parts[0].tokens, slice) else tokens_T.argsort()
        return torch.cat([tokens[part.tokens] for part in self.parts]).argsort()

    def _where(self, rows: Sequence[int]) -> tuple[Tensor, slice | Tensor]:
        """Give the places of rows, and of their tokens: a slice where these are neighbours."""
        places = torch.tensor(rows, device=self.device)
        if list(rows) == list(range(rows[0], rows[0] + len(rows))):
            first = self.ends[rows[0]] + 1 - self.lengths[rows[0]]
            return places, slice(first, self.ends[rows[-1]] + 1)
        spans = [range(self.ends[row] + 1 - self.lengths[row], self.ends[row] + 1) for row in rows]
        return places, torch.tensor([place for span in spans for place in span], device=self.device)

    def _runs(self, single: Sequence[int]) -> list[list[int]]:
        """Part rows that are sorted by length, so that little of a group is padding."""
        spare = SPARE_BLOCKS.get(self.device.type, SPARE_BLOCKS["cpu"])
        runs: list[list[int]] = []
        real = 0
        for row in single:
            blocks = self.cells.needed(self.lines[row].total)
            padded = blocks * (len(runs[-1]) + 1) if runs else 0
            if runs and padded - real - blocks <= max(spare, SPARE_SHARE * (real + blocks)):
                runs[-1].append(row)
                real += blocks
            else:
                runs.append([row])
                real = blocks
        # In the order of the pass no token has to be moved.
        return [sorted(run) for run in runs]


def cached_attention(
    module: nn.Module,
    query_1HTD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    attention_mask: Tensor | None,
    *,
    borders: Pass | Grid,
    prefix: Seen | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **others: object,
) -> tuple[Tensor, None]:
    """Keep what is new, and attend over it and all before it; transformers calls this.

    Args:
        borders: of the new tokens; reaches here through the model's forward keyword arguments.
        prefix: what each row sees beside its own tokens.
        sliding_window: a token sees those less than so many places away.
        others: what this attention does not know must be None.

    Returns:
        Attention output of shape [1, T, H, D], and no weights.

    Raises:
        RunError: the base attends in a way that this attention does not know.
    """
    del dropout  # a row is written in evaluation mode
    refuse_unknown({"attention_mask": attention_mask, **others})
    causal = bool(getattr(module, "is_causal", False)) if is_causal is None else is_causal
    if not causal:
        raise RunError("its attention sees what comes after a token, which is not yet written")
    if sliding_window is not None:
        borders.windows.add(sliding_window)
    if isinstance(borders, Grid):
        states = (query_1HTD, key_1KTD, value_1KTD)
        return borders.attend(module, states, scaling, sliding_window, prefix), None
    store = borders.cells.store(module, key_1KTD, value_1KTD)
    store.put(borders.cells_T, key_1KTD, value_1KTD)
    outputs: list[Tensor] = []
    for part in borders.parts:
        own = None if prefix is None else prefix.of(part.rows)
        if isinstance(part, Group):
            outputs.append(part.attend(query_1HTD, store, scaling, sliding_window, own))
            continue
        query, key, value = (s[:, :, part.tokens] for s in (query_1HTD, key_1KTD, value_1KTD))
        output_1THD, _ = packed_attention(
            module, query, key, value, None, borders=part.borders, prefix=own, scaling=scaling,
            is_causal=True, sliding_window=sliding_window,
        )  # fmt: skip
        outputs.append(output_1THD[0])
    joint_THD = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    order_T = borders.order_T
    return (joint_THD if order_T is None else joint_THD[order_T])[None], None


AttentionInterface.register(ATTENTION, cached_attention)
