"""Spans: where the row of each token of a packed batch begins and ends, on its device.

Legend: T tokens, N tiles of neighbouring tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Spans:
    """Where rows begin and end, for each token, and in which order tiles of tokens are taken.

    Args:
        begins_T: int32, first token of the row of each.
        ends_T: int32, end of the row of each.
        orders: of tiles, by their tokens and whether they look back, once they were asked for.
    """

    begins_T: Tensor
    ends_T: Tensor
    orders: dict[tuple[int, bool], Tensor] = field(default_factory=dict[tuple[int, bool], Tensor])

    def order(self, tokens: int, *, back: bool) -> Tensor:
        """Give tiles by how much there is to do for them, most first: int32, [N].

        Whatever is taken last is waited for: it is to be a small piece.

        Args:
            tokens: of a tile.
            back: whether a tile looks at what is before it in its row, not at what follows.
        """
        if (tokens, back) not in self.orders:
            count = len(self.begins_T)
            first_N = torch.arange(0, count, tokens, device=self.begins_T.device)
            last_N = (first_N + tokens).clamp(max=count) - 1
            pairs_N = last_N - self.begins_T[first_N] if back else self.ends_T[last_N] - first_N
            self.orders[tokens, back] = pairs_N.argsort(descending=True, stable=True).int()
        return self.orders[tokens, back]


def spans_of(starts_B1: Tensor, count: int) -> Spans:
    """Give the spans of rows.

    Args:
        starts_B1: int32, first token of each row, and the end of the last.
        count: tokens of all rows.
    """
    token_T = torch.arange(count, dtype=starts_B1.dtype, device=starts_B1.device)
    row_T = torch.searchsorted(starts_B1[1:].contiguous(), token_T, right=True)
    return Spans(starts_B1[row_T], starts_B1[row_T + 1])
