"""Laid rows: a micro-batch of rows that a head reads, laid out in one of few sizes.

Behind the batch's own rows stand rows of filling and rows of no tokens at all, as in
`tenon.model.sized`. All are scored; what has no target costs nothing, so that loss and gradients
are the batch's.

Legend: B rows, T tokens with filling, D hidden, X targets of all rows.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tenon.model.sized import Size, filling_of, fixed
from tenon.model.trunk import Trunk
from tenon.text.batch import Batch, sent

PARTS = 4
"""Numbers of each token: its id, its position, its type, its row."""


class LaidRows:
    """Memory for micro-batches of one size.

    Args:
        size: the room.
        targets: numbers that there is room for.
        none: stands where there is no target.
        trunk: says how positions are counted, and where it all lies.
    """

    def __init__(self, size: Size, targets: int, none: float, trunk: Trunk) -> None:
        self.size, self.none, self.trunk = size, none, trunk
        lengths = [size.tokens] * PARTS + [size.rows + 1]
        self._borders = np.cumsum(lengths)[:-1].tolist()
        self.numbers = torch.zeros(sum(lengths), dtype=torch.int64, device=trunk.device)
        self.ids_T, self.positions_T, self.types_T, self.rows_T, self.starts = self.numbers.split(
            lengths
        )
        self._reals = torch.zeros(targets + 1, device=trunk.device)
        self.targets_X, self.divisor = self._reals[:-1], self._reals[-1]
        self.lengths: tuple[int, ...] = ()

    def fill(self, batch: Batch, divisor: float) -> None:
        """Lay a batch out.

        Args:
            batch: on the host, of this size.
            divisor: of its loss.
        """
        size, real = self.size, batch.tokens
        numbers = np.empty(self.numbers.shape, np.int64)
        ids_T, positions_T, types_T, rows_T, starts = np.split(numbers, self._borders)
        self.lengths = (*batch.lengths, *filling_of(size, batch))
        ends = np.cumsum((0, *self.lengths))
        starts[: len(ends)], starts[len(ends) :] = ends, size.tokens
        rows_T[:] = np.repeat(np.arange(len(self.lengths)), self.lengths)
        counted_T = self.trunk.positions_T(batch).numpy()
        ids_T[:real], positions_T[:real] = batch.ids_T.numpy(), counted_T
        types_T[:real] = 0 if batch.types_T is None else batch.types_T.numpy()
        # A token that the batch has, at a place that it has: others might be no numbers.
        for each in (ids_T, positions_T, types_T):
            each[real:] = each[0]
        reals = np.full(self._reals.shape, self.none, np.float32)
        reals[: len(batch.targets_X)], reals[-1] = batch.targets_X.numpy(), divisor
        for there, here in ((self.numbers, numbers), (self._reals, reals)):
            there.copy_(sent(torch.from_numpy(here), there.device))

    def hidden_TD(self) -> Tensor:
        """Give the last hidden state of every token, of filling too."""
        borders = fixed(self.lengths, self.starts, self.size)
        return self.trunk.placed_TD(self.ids_T, self.positions_T, self.types_T, borders)

    @property
    def first_B(self) -> Tensor:
        """The place of each row's first token; of a row without tokens, some place of filling."""
        return self.starts[:-1].clamp(max=self.size.tokens - 1)

    @property
    def last_B(self) -> Tensor:
        """The place of each row's last token; of a row without tokens, some place of filling."""
        return self.starts[1:] - 1

    def padded_BPX(self, numbers_TX: Tensor) -> Tensor:
        """Give numbers of tokens by row, minus infinity behind a row's own; 0 in an empty row.

        Args:
            numbers_TX: of every token, some of each.
        """
        starts_B1, ends_B1 = self.starts[:-1, None], self.starts[1:, None]
        places_BP = starts_B1 + torch.arange(self.size.longest, device=starts_B1.device)
        own_BP1 = (places_BP < ends_B1)[..., None]
        held_BPX = numbers_TX[places_BP.clamp(max=self.size.tokens - 1)]
        empty_B11 = (starts_B1 == ends_B1)[..., None]
        return torch.where(own_BP1, held_BPX, torch.where(empty_B11, 0.0, -torch.inf))


def unfit_rows(trunk: Trunk) -> str:
    """Say why batches of rows that a head reads cannot be laid out in sizes; empty where they can.

    Args:
        trunk: of the base.
    """
    if not trunk.packed or trunk.seq2seq:
        return "rows are padded"
    return ""
