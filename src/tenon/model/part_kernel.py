"""The kernels between one product of queries, keys and values and what attention reads.

Heads of queries and keys are scaled and turned, those of values copied, all in one launch.
`tenon.model.block_math` has the same functions in plain torch.

Legend: T tokens, H heads of queries, K of keys and of values, D channels, O all channels of all.
"""

from __future__ import annotations

# pyright: basic, reportMissingImports=false, reportUntypedFunctionDecorator=false
# ruff: noqa: ANN001, ANN201, ANN202, N803, PLR0913
from collections.abc import Sequence
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

HEADS = 16
"""Heads of a token that one program computes, at most."""


@triton.jit
def _places(token, heads, tokens, H, K):
    """Give the number of each head where queries, keys and values lie one after the other."""
    key = tokens * H + token * K + heads - H
    value = tokens * (H + K) + token * K + heads - H - K
    return tl.where(heads < H, token * H + heads, tl.where(heads < H + K, key, value))


@triton.jit
def _weights(first, second, query, at, near):
    """Give the weight of each head's norm."""
    one = tl.load(first + at, mask=near, other=0.0).to(tl.float32)[None, :]
    other = tl.load(second + at, mask=near, other=0.0).to(tl.float32)[None, :]
    return tl.where(query, one, other)


@triton.jit
def angles_of(cos, sin, turn, half, near):
    """Give cosines and sines of both halves of a token's channels, for all of its heads."""
    ca = tl.load(cos + turn, mask=near, other=0.0).to(tl.float32)[None, :]
    cb = tl.load(cos + turn + half, mask=near, other=0.0).to(tl.float32)[None, :]
    sa = tl.load(sin + turn, mask=near, other=0.0).to(tl.float32)[None, :]
    sb = tl.load(sin + turn + half, mask=near, other=0.0).to(tl.float32)[None, :]
    return ca, cb, sa, sb


@triton.jit
def _part(x, first, second, cos, sin, out, eps, eps2, tokens, H, K, D, x_step, NORM: tl.constexpr,
          HALF: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Scale and turn heads of queries and keys, and copy those of values."""
    token = tl.program_id(0).to(tl.int64)
    heads = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    at = tl.arange(0, HALF)
    half = D // 2
    near = at < half
    inside = (heads < H + 2 * K)[:, None] & near[None, :]
    place = token * x_step + heads[:, None] * D + at[None, :]
    kind = x.dtype.element_ty
    a = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(x + place + half, mask=inside, other=0.0).to(tl.float32)
    query, turning = (heads < H)[:, None], (heads < H + K)[:, None]
    p, q = a, b
    if NORM:
        mean = (tl.sum(a * a, 1) + tl.sum(b * b, 1)) / D
        scale = 1.0 / tl.sqrt(mean + tl.where(heads < H, eps, eps2))
        wa = _weights(first, second, query, at, near)
        wb = _weights(first + half, second + half, query, at, near)
        p = ((a * scale[:, None]).to(kind).to(tl.float32) * wa).to(kind).to(tl.float32)
        q = ((b * scale[:, None]).to(kind).to(tl.float32) * wb).to(kind).to(tl.float32)
    ca, cb, sa, sb = angles_of(cos, sin, token * D + at, half, near)
    one = (p * ca).to(kind).to(tl.float32) - (q * sa).to(kind).to(tl.float32)
    two = (q * cb).to(kind).to(tl.float32) + (p * sb).to(kind).to(tl.float32)
    there = out + _places(token, heads, tokens, H, K)[:, None] * D + at[None, :]
    tl.store(there, tl.where(turning, one, a).to(kind), mask=inside)
    tl.store(there + half, tl.where(turning, two, b).to(kind), mask=inside)


@triton.jit
def _given(query, key, value, token, heads, at, near, H, K, D):
    """Give half of the gradient of each head, wherever it lies."""
    q = query + (token * H + heads)[:, None] * D + at[None, :]
    k = key + (token * K + heads - H)[:, None] * D + at[None, :]
    v = value + (token * K + heads - H - K)[:, None] * D + at[None, :]
    is_key, is_value = (heads >= H) & (heads < H + K), (heads >= H + K) & (heads < H + 2 * K)
    found = tl.load(q, mask=(heads < H)[:, None] & near[None, :], other=0.0).to(tl.float32)
    found += tl.load(k, mask=is_key[:, None] & near[None, :], other=0.0).to(tl.float32)
    found += tl.load(v, mask=is_value[:, None] & near[None, :], other=0.0).to(tl.float32)
    return found


@triton.jit
def _part_back(query, key, value, x, first, second, cos, sin, out, eps, eps2, H, K, D, x_step,
               out_step, NORM: tl.constexpr, HALF: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Give the gradient of what was parted."""
    token = tl.program_id(0).to(tl.int64)
    heads = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    at = tl.arange(0, HALF)
    half = D // 2
    near = at < half
    turning = (heads < H + K)[:, None]
    kind = out.dtype.element_ty
    p = _given(query, key, value, token, heads, at, near, H, K, D)
    q = _given(query + half, key + half, value + half, token, heads, at, near, H, K, D)
    ca, cb, sa, sb = angles_of(cos, sin, token * D + at, half, near)
    one = p * ca + q * sb
    two = q * cb - p * sa
    if NORM:
        place = token * x_step + heads[:, None] * D + at[None, :]
        read = turning & near[None, :]
        a = tl.load(x + place, mask=read, other=0.0).to(tl.float32)
        b = tl.load(x + place + half, mask=read, other=0.0).to(tl.float32)
        mean = (tl.sum(a * a, 1) + tl.sum(b * b, 1)) / D
        scale = 1.0 / tl.sqrt(mean + tl.where(heads < H, eps, eps2))
        a *= scale[:, None]
        b *= scale[:, None]
        is_query = (heads < H)[:, None]
        one *= _weights(first, second, is_query, at, near)
        two *= _weights(first + half, second + half, is_query, at, near)
        along = (tl.sum(one * a, 1) + tl.sum(two * b, 1)) / D
        one = scale[:, None] * (one - a * along[:, None])
        two = scale[:, None] * (two - b * along[:, None])
    inside = (heads < H + 2 * K)[:, None] & near[None, :]
    there = out + token * out_step + heads[:, None] * D + at[None, :]
    tl.store(there, tl.where(turning, one, p).to(kind), mask=inside)
    tl.store(there + half, tl.where(turning, two, q).to(kind), mask=inside)


def parted(
    made_TO: Tensor, angles: tuple[Tensor, Tensor], norms: Any, counts: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """As `tenon.model.block_math.Plain.parted`."""
    tokens, channels = angles[0].shape
    heads, keys = counts
    out = made_TO.new_empty(tokens * (heads + 2 * keys), channels)
    (first, eps), (second, eps2) = norms or ((made_TO, 0.0), (made_TO, 0.0))
    grid, sizes = _programs(tokens, heads + 2 * keys, channels)
    kernel: Any = _part
    kernel[grid](
        made_TO, first, second, *angles, out, eps, eps2, tokens, heads, keys, channels,
        made_TO.stride(0), NORM=norms is not None, **sizes,
    )  # fmt: skip
    parts = out.split([tokens * heads, tokens * keys, tokens * keys])
    query, key, value = (each.view(tokens, -1, channels) for each in parts)
    return query, key, value


def parted_back(
    given: Sequence[Tensor], made_TO: Tensor | None, angles: tuple[Tensor, Tensor], norms: Any,
    *, to_TO: Tensor,
) -> None:  # fmt: skip
    """As `tenon.model.block_math.Plain.parted_back`."""
    tokens, heads, channels = given[0].shape
    keys = given[1].shape[1]
    made_TO = to_TO if made_TO is None else made_TO
    (first, eps), (second, eps2) = norms or ((made_TO, 0.0), (made_TO, 0.0))
    grid, sizes = _programs(tokens, heads + 2 * keys, channels)
    kernel: Any = _part_back
    kernel[grid](
        *given, made_TO, first, second, *angles, to_TO, eps, eps2, heads, keys, channels,
        made_TO.stride(0), to_TO.stride(0), NORM=norms is not None, **sizes,
    )  # fmt: skip


def _programs(tokens: int, heads: int, channels: int) -> tuple[tuple[int, int], dict[str, int]]:
    """Give the programs of a kernel over heads, and their sizes."""
    block, half = min(HEADS, triton.next_power_of_2(heads)), triton.next_power_of_2(channels // 2)
    return (tokens, triton.cdiv(heads, block)), {"HALF": half, "BLOCK": block, "num_warps": 4}
