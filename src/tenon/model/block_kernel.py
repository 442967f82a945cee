"""The kernels of a decoder's block on CUDA: norms, rotations and gates, each read and written once.

Each computes in float32 and rounds where transformers' modules do on the way forward; on the way
back it rounds once, at the end. `tenon.model.block_math` has the same functions in plain torch.
Rows of what is read and written may have further columns beside them.

Legend: N positions, T tokens, H heads, D channels, I channels of a gate.
"""

from __future__ import annotations

# pyright: basic, reportMissingImports=false, reportUntypedFunctionDecorator=false
# ruff: noqa: ANN001, ANN202, N803, PLR0913
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from tenon.model.part_kernel import angles_of, parted, parted_back

__all__ = ["gated", "gated_back", "normed", "normed_back", "parted", "parted_back", "turned",
           "turned_back"]  # fmt: skip
GATES = 1024
"""Numbers of a row of a gate that one program computes."""
HEADS = 16
"""Heads of a token that one program turns, at most."""


@triton.jit
def _norm(x, more, weight, total, again, out, scales, eps, D, more_step, out_step,
          MORE: tl.constexpr, AGAIN: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Add what is added, if anything; scale to a mean square of 1, and by the weight."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < D
    kind = x.dtype.element_ty
    h = tl.load(x + row * D + at, mask=inside, other=0.0).to(tl.float32)
    if MORE:
        h += tl.load(more + row * more_step + at, mask=inside, other=0.0).to(tl.float32)
        h = h.to(kind).to(tl.float32)
        tl.store(total + row * D + at, h.to(kind), mask=inside)
    if AGAIN:
        tl.store(again + row * D + at, h.to(kind), mask=inside)
    scale = 1.0 / tl.sqrt(tl.sum(h * h) / D + eps)
    tl.store(scales + row, scale)
    w = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    made = (h * scale).to(kind).to(tl.float32) * w
    tl.store(out + row * out_step + at, made.to(kind), mask=inside)


@triton.jit
def _norm_back(g, x, weight, scales, more, out, D, g_step, more_step, out_step, MORE: tl.constexpr,
               BLOCK: tl.constexpr):  # fmt: skip
    """Give the gradient of what was scaled, with that which comes from elsewhere."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < D
    kind = x.dtype.element_ty
    scale = tl.load(scales + row)
    h = tl.load(x + row * D + at, mask=inside, other=0.0).to(tl.float32) * scale
    w = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    d = tl.load(g + row * g_step + at, mask=inside, other=0.0).to(tl.float32) * w
    d = scale * (d - h * (tl.sum(d * h) / D))
    if MORE:
        d += tl.load(more + row * more_step + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * out_step + at, d.to(kind), mask=inside)


@triton.jit
def _turn(x, weight, cos, sin, out, eps, H, D, x_step, NORM: tl.constexpr, HALF: tl.constexpr,
          BLOCK: tl.constexpr):  # fmt: skip
    """Scale each head of a token, if asked to, and turn its halves by the token's angles."""
    token = tl.program_id(0).to(tl.int64)
    heads = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    at = tl.arange(0, HALF)
    half = D // 2
    near = at < half
    inside = (heads < H)[:, None] & near[None, :]
    place = token * x_step + heads[:, None] * D + at[None, :]
    kind = x.dtype.element_ty
    a = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(x + place + half, mask=inside, other=0.0).to(tl.float32)
    if NORM:
        scale = 1.0 / tl.sqrt((tl.sum(a * a, 1) + tl.sum(b * b, 1)) / D + eps)
        wa = tl.load(weight + at, mask=near, other=0.0).to(tl.float32)[None, :]
        wb = tl.load(weight + half + at, mask=near, other=0.0).to(tl.float32)[None, :]
        a = ((a * scale[:, None]).to(kind).to(tl.float32) * wa).to(kind).to(tl.float32)
        b = ((b * scale[:, None]).to(kind).to(tl.float32) * wb).to(kind).to(tl.float32)
    ca, cb, sa, sb = angles_of(cos, sin, token * D + at, half, near)
    first = (a * ca).to(kind).to(tl.float32) - (b * sa).to(kind).to(tl.float32)
    second = (b * cb).to(kind).to(tl.float32) + (a * sb).to(kind).to(tl.float32)
    place = (token * H + heads)[:, None] * D + at[None, :]
    tl.store(out + place, first.to(kind), mask=inside)
    tl.store(out + place + half, second.to(kind), mask=inside)


@triton.jit
def _turn_back(g, x, weight, cos, sin, out, eps, H, D, x_step, out_step, NORM: tl.constexpr,
               HALF: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Give the gradient of heads that were scaled and turned."""
    token = tl.program_id(0).to(tl.int64)
    heads = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    at = tl.arange(0, HALF)
    half = D // 2
    near = at < half
    inside = (heads < H)[:, None] & near[None, :]
    place = (token * H + heads)[:, None] * D + at[None, :]
    kind = out.dtype.element_ty
    p = tl.load(g + place, mask=inside, other=0.0).to(tl.float32)
    q = tl.load(g + place + half, mask=inside, other=0.0).to(tl.float32)
    ca, cb, sa, sb = angles_of(cos, sin, token * D + at, half, near)
    first = p * ca + q * sb
    second = q * cb - p * sa
    if NORM:
        place = token * x_step + heads[:, None] * D + at[None, :]
        a = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
        b = tl.load(x + place + half, mask=inside, other=0.0).to(tl.float32)
        scale = 1.0 / tl.sqrt((tl.sum(a * a, 1) + tl.sum(b * b, 1)) / D + eps)
        a *= scale[:, None]
        b *= scale[:, None]
        first *= tl.load(weight + at, mask=near, other=0.0).to(tl.float32)[None, :]
        second *= tl.load(weight + half + at, mask=near, other=0.0).to(tl.float32)[None, :]
        mean = (tl.sum(first * a, 1) + tl.sum(second * b, 1)) / D
        first = scale[:, None] * (first - a * mean[:, None])
        second = scale[:, None] * (second - b * mean[:, None])
    place = token * out_step + heads[:, None] * D + at[None, :]
    tl.store(out + place, first.to(kind), mask=inside)
    tl.store(out + place + half, second.to(kind), mask=inside)


@triton.jit
def _gate(gate, up, out, count, in_step, out_step, BLOCK: tl.constexpr):
    """Multiply what a gate lets through."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    kind = gate.dtype.element_ty
    x = tl.load(gate + row * in_step + at, mask=inside, other=0.0).to(tl.float32)
    y = tl.load(up + row * in_step + at, mask=inside, other=0.0).to(tl.float32)
    made = (x * tl.sigmoid(x)).to(kind).to(tl.float32) * y
    tl.store(out + row * out_step + at, made.to(kind), mask=inside)


@triton.jit
def _gate_back(g, gate, up, to_gate, to_up, count, in_step, out_step, BLOCK: tl.constexpr):
    """Give the gradients of a gate and of what it lets through."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    kind = gate.dtype.element_ty
    d = tl.load(g + row * count + at, mask=inside, other=0.0).to(tl.float32)
    x = tl.load(gate + row * in_step + at, mask=inside, other=0.0).to(tl.float32)
    y = tl.load(up + row * in_step + at, mask=inside, other=0.0).to(tl.float32)
    open_ = tl.sigmoid(x)
    tl.store(to_up + row * out_step + at, (d * x * open_).to(kind), mask=inside)
    slope = open_ * (1.0 + x * (1.0 - open_))
    tl.store(to_gate + row * out_step + at, (d * y * slope).to(kind), mask=inside)


def _warps(block: int) -> int:
    return 4 if block <= 2048 else 8  # noqa: PLR2004


def normed(
    hidden_ND: Tensor,
    weight_D: Tensor,
    eps: float,
    more_ND: Tensor | None = None,
    *,
    to_ND: Tensor | None = None,
    again_ND: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `tenon.model.block_math.normed`."""
    rows, channels = hidden_ND.shape
    out_ND = torch.empty_like(hidden_ND) if to_ND is None else to_ND
    total_ND = hidden_ND if more_ND is None else torch.empty_like(hidden_ND)
    scales_N = torch.empty(rows, dtype=torch.float32, device=hidden_ND.device)
    block = triton.next_power_of_2(channels)
    more_ND, more = (hidden_ND, False) if more_ND is None else (more_ND, True)
    kernel: Any = _norm
    kernel[(rows,)](
        hidden_ND, more_ND, weight_D, total_ND, total_ND if again_ND is None else again_ND, out_ND,
        scales_N, eps, channels, more_ND.stride(0), out_ND.stride(0), MORE=more,
        AGAIN=again_ND is not None, BLOCK=block, num_warps=_warps(block),
    )  # fmt: skip
    return total_ND, out_ND, scales_N


def normed_back(
    given_ND: Tensor,
    hidden_ND: Tensor,
    weight_D: Tensor,
    scales_N: Tensor,
    more_ND: Tensor | None = None,
    *,
    to_ND: Tensor | None = None,
) -> Tensor:
    """As `tenon.model.block_math.normed_back`."""
    rows, channels = hidden_ND.shape
    out_ND = torch.empty_like(hidden_ND) if to_ND is None else to_ND
    more_ND, more = (given_ND, False) if more_ND is None else (more_ND, True)
    block = triton.next_power_of_2(channels)
    kernel: Any = _norm_back
    kernel[(rows,)](
        given_ND, hidden_ND, weight_D, scales_N, more_ND, out_ND, channels, given_ND.stride(0),
        more_ND.stride(0), out_ND.stride(0), MORE=more, BLOCK=block, num_warps=_warps(block),
    )  # fmt: skip
    return out_ND


def turned(
    states_THD: Tensor, cos_TD: Tensor, sin_TD: Tensor, weight_D: Tensor | None, eps: float
) -> Tensor:
    """As `tenon.model.block_math.turned`."""
    out_THD = states_THD.new_empty(states_THD.shape)
    grid, sizes = _heads(states_THD)
    kernel: Any = _turn
    kernel[grid](
        states_THD, states_THD if weight_D is None else weight_D, cos_TD, sin_TD, out_THD, eps,
        *states_THD.shape[1:], states_THD.stride(0), NORM=weight_D is not None, **sizes,
    )  # fmt: skip
    return out_THD


def turned_back(
    given_THD: Tensor,
    states_THD: Tensor | None,
    cos_TD: Tensor,
    sin_TD: Tensor,
    weight_D: Tensor | None,
    eps: float,
    *,
    to_THD: Tensor | None = None,
) -> Tensor:
    """As `tenon.model.block_math.turned_back`."""
    out_THD = torch.empty_like(given_THD) if to_THD is None else to_THD
    states_THD = given_THD if states_THD is None else states_THD
    grid, sizes = _heads(given_THD)
    kernel: Any = _turn_back
    kernel[grid](
        given_THD, states_THD, given_THD if weight_D is None else weight_D, cos_TD, sin_TD,
        out_THD, eps, *given_THD.shape[1:], states_THD.stride(0), out_THD.stride(0),
        NORM=weight_D is not None, **sizes,
    )  # fmt: skip
    return out_THD


def _heads(states_THD: Tensor) -> tuple[tuple[int, int], dict[str, int]]:
    """Give the programs of a kernel over heads, and their sizes."""
    tokens, heads, channels = states_THD.shape
    block = min(HEADS, triton.next_power_of_2(heads))
    half = triton.next_power_of_2(channels // 2)
    sizes = {"HALF": half, "BLOCK": block, "num_warps": 4}
    return (tokens, triton.cdiv(heads, block)), sizes


def gated(gate_NI: Tensor, up_NI: Tensor, *, to_NI: Tensor | None = None) -> Tensor:
    """As `tenon.model.block_math.gated`; both are of equal steps from row to row."""
    out_NI = gate_NI.new_empty(gate_NI.shape) if to_NI is None else to_NI
    kernel: Any = _gate
    kernel[_rows(gate_NI)](
        gate_NI, up_NI, out_NI, gate_NI.shape[-1], gate_NI.stride(-2), out_NI.stride(-2),
        BLOCK=GATES, num_warps=4,
    )  # fmt: skip
    return out_NI


def gated_back(
    given_NI: Tensor,
    gate_NI: Tensor,
    up_NI: Tensor,
    *,
    to: tuple[Tensor, Tensor] | tuple[None, None] = (None, None),
) -> tuple[Tensor, Tensor]:
    """As `tenon.model.block_math.gated_back`; both are of equal steps from row to row."""
    found = [gate_NI.new_empty(gate_NI.shape) if each is None else each for each in to]
    kernel: Any = _gate_back
    kernel[_rows(gate_NI)](
        given_NI, gate_NI, up_NI, *found, gate_NI.shape[-1], gate_NI.stride(-2),
        found[0].stride(-2), BLOCK=GATES, num_warps=4,
    )  # fmt: skip
    return found[0], found[1]


def _rows(states_NI: Tensor) -> tuple[int, int]:
    """Give the programs of a kernel over rows."""
    channels = states_NI.shape[-1]
    return states_NI.numel() // channels, triton.cdiv(channels, GATES)
