"""Kernels: what attends on a device, computed on shapes.

Legend: B rows, H heads, L tokens of a query, S of a key, D channels of a head.

Source: torch, `aten/src/ATen/native/transformers/attention.cpp`: which kernel is taken, and what is
    made of a mask and of shared keys before it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import (
    _disable_current_modes,  # pyright: ignore[reportPrivateUsage]
)
from transformers import AttentionInterface

from tenon.evaluate.settings import BY_TASK
from tenon.model.layout import unsized
from tenon.model.packing import ATTENTION, packed_attention
from tenon.model.trunk import Trunk
from tenon.plan.plan import Plan

FLASH = 1
EVEN = 8
"""The flash kernel of CUDA pads the channels of a head to a multiple of it."""
HALVES = (torch.bfloat16, torch.float16)
ATEN: Any = torch.ops.aten


def attend(
    device: str,
    query_BHLD: Tensor,
    key_BHSD: Tensor,
    value_BHSD: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,  # noqa: FBT001, FBT002 - torch's signature
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Attend as `scaled_dot_product_attention` does on a device of a type."""
    sent = (query_BHLD, key_BHSD, value_BHSD)
    if not query_BHLD.is_meta:
        return functional.scaled_dot_product_attention(
            *sent, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    mask = _as_floats(attn_mask, query_BHLD)
    if device == "cuda":
        if made := _on_cuda(sent, mask, dropout_p, scale, causal=is_causal, shared=enable_gqa):
            return made[0]
    elif _cpu_kernel(sent, mask, dropout_p, causal=is_causal, shared=enable_gqa) == FLASH:
        flash = ATEN._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001
        return flash(*sent, dropout_p, is_causal, attn_mask=mask, scale=scale)[0]
    return ATEN._scaled_dot_product_attention_math(  # noqa: SLF001
        *sent, mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
    )[0]


def _as_floats(mask: Tensor | None, query_BHLD: Tensor) -> Tensor | None:
    if mask is None or mask.dtype is not torch.bool:
        return mask
    return torch.empty(mask.shape, dtype=query_BHLD.dtype, device=query_BHLD.device)


def _on_cuda(
    sent: tuple[Tensor, Tensor, Tensor],
    mask: Tensor | None,
    dropout: float,
    scale: float | None,
    *,
    causal: bool,
    shared: bool,
) -> tuple[Tensor] | None:
    """Attend by a fused kernel of CUDA; None where none of them does it."""
    query_BHLD = sent[0]
    if mask is None and query_BHLD.dtype in HALVES:
        size = query_BHLD.shape[-1]
        scale = scale if scale is not None else size**-0.5
        if size % EVEN:
            room = (0, EVEN - size % EVEN)
            sent = cast(Any, tuple(functional.pad(states, room) for states in sent))
        flash = ATEN._scaled_dot_product_flash_attention  # noqa: SLF001
        return (flash(*sent, dropout, is_causal=causal, scale=scale)[0][..., :size],)
    if shared:
        return None
    if mask is not None:
        mask = mask.expand(*query_BHLD.shape[:3], sent[1].shape[2])
    efficient = ATEN._scaled_dot_product_efficient_attention  # noqa: SLF001
    graded = any(states.requires_grad for states in sent)
    return (efficient(*sent, mask, graded, dropout, causal, scale=scale)[0],)


def _cpu_kernel(
    sent: tuple[Tensor, Tensor, Tensor],
    mask: Tensor | None,
    dropout: float,
    *,
    causal: bool,
    shared: bool,
) -> int:
    """Ask torch which kernel it takes on the CPU; what is asked with is never written to."""
    choice: Any = cast(Any, torch)._fused_sdp_choice  # noqa: SLF001
    with _disable_current_modes():
        states = [
            torch.empty(each.shape, dtype=each.dtype).requires_grad_(each.requires_grad)
            for each in sent
        ]
        real_mask = None if mask is None else torch.empty(mask.shape, dtype=mask.dtype)
        return int(choice(*states, real_mask, dropout, causal, enable_gqa=shared))


def replays(plan: Plan, trunk: Trunk, device: str) -> bool:
    """Whether training on a type of device replays passes that were recorded.

    It goes by the settings and the base alone: stored states, and layers that draw something at
    random where they are computed again, are computed as ever.

    Args:
        plan: settled.
        trunk: of the base.
        device: "cpu" or "cuda".
    """
    writes = BY_TASK[plan.data.task].writes
    halves = plan.model.dtype != "float32"
    if device != "cuda" or plan.model.kernels != "auto" or not halves:
        return False
    return not unsized(trunk, writes=writes)


@contextlib.contextmanager
def by_borders(device: str, dtype: torch.dtype) -> Iterator[None]:
    """Let packed rows attend as on a device: in halves on CUDA by its kernel for such rows."""
    if device != "cuda" or dtype not in HALVES:
        yield
        return
    AttentionInterface.register(ATTENTION, _varlen)
    try:
        yield
    finally:
        AttentionInterface.register(ATTENTION, packed_attention)


def _varlen(
    module: Any,
    query_1HTD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    attention_mask: Tensor | None,
    **named: Any,
) -> tuple[Tensor, None]:
    """Attend as torch's variable-length kernel does, where packed attention takes it."""
    if named.get("prefix") is not None or named.get("dropout"):
        return packed_attention(module, query_1HTD, key_1KTD, value_1KTD, attention_mask, **named)
    _ = named["borders"].starts_B1
    states = [each.transpose(1, 2).contiguous() for each in (query_1HTD, key_1KTD, value_1KTD)]
    turned = [each.transpose(1, 2) for each in states]
    flash = ATEN._scaled_dot_product_flash_attention  # noqa: SLF001
    return flash(*turned, 0.0, is_causal=True)[0].transpose(1, 2), None
