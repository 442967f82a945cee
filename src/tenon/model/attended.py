"""Attended: what queries of rows find among the keys and values of their own rows.

Legend: G rows, Q new tokens of each, L cells, H heads, K key-value heads, D channels of a head.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def attended(
    query_GHQD: Tensor,
    key_GKLD: Tensor,
    value_GKLD: Tensor,
    mask: Tensor | None,
    scaling: float | None,
) -> Tensor:
    """Give the attention output, [G * Q, H, D].

    Args:
        mask: bool, which cells a query sees, [G, 1, Q, L]; None where each sees all.
        scaling: of the scores; None for one over the root of D.
    """
    rows, heads, new, _ = query_GHQD.shape
    pairs = key_GKLD.shape[1]
    # Queries that share keys stand side by side, so that no key is copied for each of them.
    repeats = heads // pairs
    if mask is not None and repeats > 1 and new > 1:
        mask = mask.repeat(1, 1, repeats, 1)
    output_GKXD = functional.scaled_dot_product_attention(
        query_GHQD.reshape(rows, pairs, repeats * new, -1),
        key_GKLD,
        value_GKLD,
        attn_mask=mask,
        scale=scaling,
    )
    output_GHQD = output_GKXD.reshape(rows, heads, new, -1)
    return output_GHQD.transpose(1, 2).flatten(0, 1)
