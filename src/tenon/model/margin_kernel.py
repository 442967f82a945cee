"""The kernels that write thin matrices into margins and take their gradients out, all at once.

One launch goes through all matrices of a model, whose places stand in a table in the device's
memory. `tenon.model.margin` has the same functions in plain torch.

Legend: P pieces of matrices, M numbers of all matrices.
"""

from __future__ import annotations

# pyright: basic, reportMissingImports=false, reportUntypedFunctionDecorator=false
# ruff: noqa: ANN001, ANN202, N803, PLR0913
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl
from torch import Tensor

if TYPE_CHECKING:
    from tenon.model.margin import Margin

NUMBERS = 2048
"""That one program writes."""


@triton.jit
def _lay(table, scales, wide, FIELDS: tl.constexpr, BLOCK: tl.constexpr):
    """Write a matrix into its margin, 0 beside it, rounded to the number format of the margin."""
    piece = table + tl.program_id(0) * FIELDS
    rows, columns = tl.load(piece + 2), tl.load(piece + 3)
    first = tl.program_id(1) * BLOCK
    if first < rows * columns:
        matrix = tl.load(piece).to(tl.pointer_type(tl.float32))
        place = tl.load(piece + 1).to(tl.pointer_type(wide.dtype.element_ty))
        step, begin = tl.load(piece + 4), tl.load(piece + 5)
        own_rows, own_columns = tl.load(piece + 6), tl.load(piece + 7)
        at = first + tl.arange(0, BLOCK)
        row, column = at // columns, at % columns - begin
        own = (row < own_rows) & (column >= 0) & (column < own_columns) & (at < rows * columns)
        read = tl.load(matrix + row * own_columns + column, mask=own, other=0.0)
        made = read * tl.load(scales + tl.program_id(0))
        there = place + row * step + column + begin
        tl.store(there, made.to(wide.dtype.element_ty), mask=at < rows * columns)


@triton.jit
def _take(table, scales, wide, flat, FIELDS: tl.constexpr, BLOCK: tl.constexpr):
    """Add the gradient of a matrix, which lies among others, to its numbers."""
    piece = table + tl.program_id(0) * FIELDS
    rows, columns = tl.load(piece + 2), tl.load(piece + 3)
    first = tl.program_id(1) * BLOCK
    if first < rows * columns:
        begin, place = tl.load(piece), tl.load(piece + 1)
        step = tl.load(piece + 4)
        at = first + tl.arange(0, BLOCK)
        inside = at < rows * columns
        found = tl.load(wide + begin + at // columns * step + at % columns, mask=inside, other=0.0)
        more = found.to(tl.float32) * tl.load(scales + tl.program_id(0))
        there = flat + place + at
        tl.store(there, tl.load(there, mask=inside, other=0.0) + more, mask=inside)


def laying(margins: Sequence[Margin]) -> Callable[[], None]:
    """As `tenon.model.margin.Plain.laying`; the matrices stay where they are."""
    pieces: list[list[int]] = []
    scales: list[float] = []
    for margin in margins:
        step, first = margin.whole.stride(0), 0
        for size, rank in zip(margin.sizes, margin.ranks, strict=True):
            if not rank:  # of another adapter something may stand there
                place = margin.up_OS[first:].data_ptr()
                pieces.append([place, place, size, margin.rank, step, 0, 0, 0])
                scales.append(0.0)
            first += size
        for n, ((down, up), (outputs, ranks)) in enumerate(
            zip(margin.matrices, margin.spans, strict=True)
        ):
            last = n + 1 == len(margin.matrices)
            below = (margin.rank if last else ranks.stop) - ranks.start
            rank, inputs = down.shape
            place = margin.down_SI[ranks].data_ptr()
            pieces.append([down.data_ptr(), place, below, inputs, step, 0, rank, inputs])
            place = margin.up_OS[outputs].data_ptr()
            pieces.append(
                [up.data_ptr(), place, len(up), margin.rank, step, ranks.start, len(up), rank]
            )
            scales += [1.0, margin.scales[n]]
    return _launch(_lay, pieces, scales, margins[0].whole)


def taking(margins: Sequence[Margin], back: Tensor) -> Callable[[Tensor], None]:
    """As `tenon.model.margin.Plain.taking`."""
    pieces: list[list[int]] = []
    scales: list[float] = []
    place = 0
    for margin in margins:
        sizes = accumulate((each.numel() for each in margin.trained), initial=place)
        places, count = list(sizes), len(margin.matrices)
        for n, ((down, up), (outputs, ranks)) in enumerate(
            zip(margin.matrices, margin.spans, strict=True)
        ):
            read = int(margin.to_down_SI[ranks].storage_offset())
            pieces.append([read, places[n], *down.shape, down.shape[1]])
            read = int(margin.to_up_OS[outputs, ranks].storage_offset())
            pieces.append([read, places[count + n], *up.shape, margin.rank])
            scales += [1.0, margin.scales[n]]
        place = places[-1]
    return _launch(_take, pieces, scales, back)


def _launch(kernel: Any, pieces: list[list[int]], scales: list[float], wide: Tensor) -> Any:
    """Give what launches a kernel over pieces, whose table lies in the device's memory."""
    table = torch.tensor(pieces, dtype=torch.int64, device=wide.device)
    scales_P = torch.tensor(scales, device=wide.device)
    most = max(piece[2] * piece[3] for piece in pieces)
    grid, fields = (len(pieces), triton.cdiv(most, NUMBERS)), len(pieces[0])

    def launch(*more: Tensor) -> None:
        kernel[grid](table, scales_P, wide, *more, FIELDS=fields, BLOCK=NUMBERS, num_warps=4)

    return launch
