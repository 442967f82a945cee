"""Spans: where the row of each token of a packed batch begins and ends, on its device.

Legend: T tokens, N tiles of neighbouring tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Spans:
    """Where rows begin and end, for each token, and what tiles of neighbouring tokens look at.

    Args:
        begins_T: int32, first token of the row of each.
        ends_T: int32, end of the row of each.
        tables: of tiles, by their tokens and whether they look back, once they were asked for.
    """

    begins_T: Tensor
    ends_T: Tensor
    tables: dict[tuple[int, bool], Tensor] = field(default_factory=dict[tuple[int, bool], Tensor])

    def tiles(self, tokens: int, *, back: bool) -> Tensor:
        """Give the tiles of all tokens, those first that look at most: int32, [N, 3].

        Of each its first token, how far it looks, and whether its tokens are all of one row. What
        is taken last is waited for, and is to be a small piece.

        Args:
            tokens: of a tile.
            back: whether a tile looks back, to where the row of its first token begins, not ahead,
                to where the row of its last one ends.
        """
        if (tokens, back) not in self.tables:
            count = len(self.begins_T)
            first_N = torch.arange(0, count, tokens, device=self.begins_T.device)
            last_N = (first_N + tokens).clamp(max=count) - 1
            begin_N = self.begins_T[first_N]
            reach_N = begin_N if back else self.ends_T[last_N]
            tiles_N3 = torch.stack((first_N, reach_N, begin_N == self.begins_T[last_N]), 1).int()
            most_N = last_N - reach_N if back else reach_N - first_N
            self.tables[tokens, back] = tiles_N3[most_N.argsort(descending=True, stable=True)]
        return self.tables[tokens, back]


def spans_of(starts_B1: Tensor, count: int) -> Spans:
    """Give the spans of rows.

    Args:
        starts_B1: int32, first token of each row, and the end of the last.
        count: tokens of all rows.
    """
    token_T = torch.arange(count, dtype=starts_B1.dtype, device=starts_B1.device)
    row_T = torch.searchsorted(starts_B1[1:].contiguous(), token_T, right=True)
    return Spans(starts_B1[row_T], starts_B1[row_T + 1])
