"""The kernel of slots on CUDA: each row reads its own slot where it lies, and adds in place.

Torch's batched product wants the slots of all rows copied side by side first, which moves three
times as many bytes as are needed.

Legend: N rows, I inputs, O outputs, W rank or width, S slots.
"""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

READ, WRITTEN, WIDTH = 512, 128, 16
"""Inputs, outputs and channels that a program has at once."""


@triton.jit
def _down(states, slots, down, bias, narrow, states_row, slots_row, inputs, width,  # noqa: ANN001, ANN202, PLR0913
          BIASED: tl.constexpr, READ: tl.constexpr, WIDTH: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    slot = tl.load(slots + row * slots_row)
    w = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    real = w < width
    total = tl.zeros((WIDTH,), tl.float32)
    for start in range(0, inputs, READ):
        i = start + tl.arange(0, READ)
        inside = i < inputs
        read = tl.load(states + row * states_row + i, mask=inside, other=0.0).to(tl.float32)
        at = (slot * width + w[:, None]) * inputs + i[None, :]
        held = tl.load(down + at, mask=real[:, None] & inside[None, :], other=0.0)
        total += tl.sum(held * read[None, :], axis=1)
    if BIASED:
        total += tl.load(bias + slot * width + w, mask=real, other=0.0)
    tl.store(narrow + row * width + w, total, mask=real)


@triton.jit
def _up(narrow, slots, up, bias, said, said_row, slots_row, outputs, width,  # noqa: ANN001, ANN202, PLR0913
        BIASED: tl.constexpr, WRITTEN: tl.constexpr, WIDTH: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    slot = tl.load(slots + row * slots_row)
    o = tl.program_id(1) * WRITTEN + tl.arange(0, WRITTEN)
    inside = o < outputs
    total = tl.zeros((WRITTEN,), tl.float32)
    for start in range(0, width, WIDTH):
        w = start + tl.arange(0, WIDTH)
        real = w < width
        read = tl.load(narrow + row * width + w, mask=real, other=0.0)
        at = (slot * outputs + o[:, None]) * width + w[None, :]
        held = tl.load(up + at, mask=inside[:, None] & real[None, :], other=0.0)
        total += tl.sum(held * read[None, :], axis=1)
    if BIASED:
        total += tl.load(bias + slot * outputs + o, mask=inside, other=0.0)
    place = said + row * said_row + o
    total += tl.load(place, mask=inside, other=0.0).to(tl.float32)
    tl.store(place, total.to(said.dtype.element_ty), mask=inside)


def narrowed(
    states_NI: Tensor, slots_N: Tensor, down_SWI: Tensor, bias_SW: Tensor | None
) -> Tensor:
    """Give `down x + b` of each row by its own slot, float32 [N, W].

    Args:
        states_NI: rows dense.
        slots_N: int64.
        down_SWI, bias_SW: float32, dense.
    """
    width, inputs = down_SWI.shape[1:]
    narrow_NW = torch.empty((len(states_NI), width), dtype=torch.float32, device=states_NI.device)
    kernel: Any = _down
    part = min(WIDTH, width)
    kernel[(len(states_NI), triton.cdiv(width, part))](
        states_NI, slots_N, down_SWI, down_SWI if bias_SW is None else bias_SW, narrow_NW,
        states_NI.stride(0), slots_N.stride(0), inputs, width,
        BIASED=bias_SW is not None, READ=READ, WIDTH=part,
    )  # fmt: skip
    return narrow_NW


def widen(
    narrow_NW: Tensor, slots_N: Tensor, up_SOW: Tensor, bias_SO: Tensor | None, said_NO: Tensor
) -> None:
    """Add `up x + b` of each row by its own slot to what a module said of it, in place.

    Args:
        narrow_NW: float32, dense.
        slots_N: int64.
        up_SOW, bias_SO: float32, dense.
        said_NO: rows dense.
    """
    outputs, width = up_SOW.shape[1:]
    kernel: Any = _up
    kernel[(len(narrow_NW), triton.cdiv(outputs, WRITTEN))](
        narrow_NW, slots_N, up_SOW, up_SOW if bias_SO is None else bias_SO, said_NO,
        said_NO.stride(0), slots_N.stride(0), outputs, width,
        BIASED=bias_SO is not None, WRITTEN=WRITTEN, WIDTH=min(WIDTH, width),
    )  # fmt: skip
