"""The kernel of cross-entropy on CUDA: scores are read twice and written over by their gradient.

Legend: U tokens, V tokens of the vocabulary.
"""

from __future__ import annotations

# pyright: basic, reportMissingImports=false, reportUntypedFunctionDecorator=false
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 32_768
WARPS = 32
"""So many that a multiprocessor has one token at a time: what was read of it once is still in the
cache of the device when it is read again."""


@triton.jit
def _entropy(scores, ids, nats, stride, vocabulary, BLOCK: tl.constexpr):  # noqa: ANN001, ANN202, N803, PLR0913
    """Give one token's cross-entropy, and write the gradient over its scores."""
    row = tl.program_id(0)
    scores += row.to(tl.int64) * stride
    target = tl.load(ids + row)
    said = tl.load(scores + target).to(tl.float32)
    most = float("-inf")
    total = 0.0
    for start in range(0, vocabulary, BLOCK):
        places = start + tl.arange(0, BLOCK)
        block = tl.load(
            scores + places, mask=places < vocabulary, other=float("-inf"),
            eviction_policy="evict_last",
        ).to(tl.float32)  # fmt: skip
        higher = tl.maximum(most, tl.max(block))
        total = total * tl.exp(most - higher) + tl.sum(tl.exp(block - higher))
        most = higher
    whole = most + tl.log(total)
    tl.store(nats + row, whole - said)
    for start in range(0, vocabulary, BLOCK):
        places = start + tl.arange(0, BLOCK)
        inside = places < vocabulary
        block = tl.load(
            scores + places, mask=inside, other=float("-inf"), eviction_policy="evict_first"
        ).to(tl.float32)
        block = tl.exp(block - whole) - tl.where(places == target, 1.0, 0.0)
        tl.store(scores + places, block.to(scores.dtype.element_ty), mask=inside)


def entropy_of(scores_UV: Tensor, ids_U: Tensor) -> Tensor:
    """Give the cross-entropy of each token; the scores become their own gradient.

    Args:
        scores_UV: on CUDA, rows dense.
        ids_U: the tokens.
    """
    nats_U = torch.empty(len(ids_U), dtype=torch.float32, device=scores_UV.device)
    kernel: Any = _entropy
    with torch.cuda.device(scores_UV.device):
        kernel[(len(ids_U),)](
            scores_UV, ids_U, nats_U, scores_UV.stride(0), scores_UV.shape[1],
            BLOCK=BLOCK, num_warps=WARPS,
        )  # fmt: skip
    return nats_U
