"""LoRA form: the factors A and B of an update, written with another rank and the factor 1.

Legend: R rank, I inputs, O outputs, N fused parts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad


def widened(a_RI: Tensor, b_OR: Tensor, rank: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Give the update `scale` B A with rank `rank` and the factor 1: zeros, and B scaled.

    Args:
        rank: at least R.
    """
    more = rank - len(a_RI)
    return pad(a_RI, (0, 0, 0, more)), pad(b_OR * scale, (0, more))


def unfused(b_XR: Tensor, enabled: Sequence[bool]) -> Tensor:
    """Give B of a fused layer whose parts have an A and a B each, laid end to end.

    Args:
        b_XR: of the enabled parts, one after the other; their A's lie in the same order.
        enabled: of each of the layer's equal parts, whether it has one.

    Returns:
        [O, N R], with zeros where a part does not read an A.
    """
    parts = sum(enabled)
    blocks = iter(b_XR.chunk(parts))
    size, rank = len(b_XR) // parts, b_XR.shape[1]
    rows: list[Tensor] = []
    done = 0
    for has in enabled:
        row = torch.zeros(size, parts * rank, dtype=b_XR.dtype)
        if has:
            row[:, done * rank : (done + 1) * rank] = next(blocks)
            done += 1
        rows.append(row)
    return torch.cat(rows)
