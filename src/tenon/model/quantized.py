"""Quantized: frozen linear layers whose weight is held in few bits and read as a float matrix.

Whatever package has quantised a weight, it is held here in one of three forms and gives
`layer.weight`, computed anew on each reading, so that an adapter of any kind sees a linear layer
with that weight. The product is taken with the float weight in both directions, and nothing of it
is kept between the passes: a row's result does not depend on the other rows of its batch, and
training needs no second copy of the base.

Legend: T tokens, O outputs, I inputs, J pairs of inputs, G groups of N inputs, B blocks, X bytes,
V values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

HALF_BYTE = 4
LOW_BITS = 15


@dataclass(frozen=True)
class Pieces:
    """A weight in few bits.

    Args:
        form: how it is read, one of `FORMS`.
        tensors: by name, as that form reads them.
        shape: [O, I].
        dtype: number format of the weight that is read.
        block: numbers that share a scale, where the form is one of bitsandbytes.
    """

    form: str
    tensors: Mapping[str, Tensor]
    shape: tuple[int, int]
    dtype: torch.dtype
    block: int = 0


def _keep(layer: nn.Module, pieces: Pieces, bias: Tensor | None) -> None:
    """Make the pieces buffers of a layer, and the bias [O] a frozen parameter of it."""
    cast(Any, layer).pieces = replace(pieces, tensors={})
    for name, tensor in pieces.tensors.items():
        layer.register_buffer(name, tensor)
    kept = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
    layer.register_parameter("bias", kept)


class QuantizedLinear(nn.Linear):
    """A linear layer whose weight is held in few bits."""

    pieces: Pieces

    def __init__(self, pieces: Pieces, bias: Tensor | None) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = pieces.shape
        _keep(self, pieces, bias)

    @property
    def weight(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The weight [O, I], computed from what is held; changing it changes nothing."""
        return weight_OI(self)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as nn.Linear calls it
        """Give `input` W' + b."""
        return _product(input, self)


class QuantizedConv1D(Conv1D):
    """GPT-2's transposed linear layer in few bits."""

    pieces: Pieces

    def __init__(self, pieces: Pieces, bias: Tensor | None) -> None:
        nn.Module.__init__(self)
        self.nf, self.nx = pieces.shape
        _keep(self, pieces, bias)

    @property
    def weight(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The weight [I, O], computed from what is held; changing it changes nothing."""
        return weight_OI(self).t()

    def forward(self, x: Tensor) -> Tensor:
        """Give `x` W + b."""
        return _product(x, self)


Layer = QuantizedLinear | QuantizedConv1D


def _product(hidden: Tensor, layer: Layer) -> Tensor:
    """Give what a layer makes of hidden states [..., I]; [..., O].

    The shape is given back outside of the product: some kinds add to what a layer gives in place,
    which autograd takes of no view that was made within.
    """
    outputs, inputs = layer.pieces.shape
    made = cast(Tensor, _Product.apply(hidden.reshape(-1, inputs), layer.bias, layer))
    return made.view(*hidden.shape[:-1], outputs)


class _Product(torch.autograd.Function):
    """A product with a weight that is put together in each direction and not kept in between."""

    @staticmethod
    def forward(ctx: Any, hidden_TI: Tensor, bias_O: Tensor | None, layer: Layer) -> Tensor:
        ctx.layer = layer
        return F.linear(hidden_TI, weight_OI(layer), bias_O)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, Tensor | None, None]:
        gradient_TO, (wants_hidden, wants_bias, _) = gradients[0], ctx.needs_input_grad
        hidden_TI = gradient_TO @ weight_OI(ctx.layer) if wants_hidden else None
        return hidden_TI, gradient_TO.sum(0) if wants_bias else None, None


def weight_OI(layer: Layer) -> Tensor:
    """Give the float weight of a layer, [O, I], in its number format."""
    with torch.no_grad():
        return FORMS[layer.pieces.form](layer).to(layer.pieces.dtype)


def _rows(layer: Any) -> Tensor:
    """Read 8-bit numbers with one scale a row."""
    return layer.numbers_OI.float() * layer.scale_O1


def _groups(layer: Any) -> Tensor:
    """Read 4-bit numbers, two a byte, the first in its low half, with scale and zero a group."""
    pairs_OJ = layer.packed_OJ
    numbers_OI = torch.stack((pairs_OJ & LOW_BITS, pairs_OJ >> HALF_BYTE), -1).flatten(1)
    numbers_OGN = numbers_OI.view(*layer.scale_OG.shape, -1).float()
    centred_OGN = numbers_OGN - layer.zero_OG[..., None].float()
    return (centred_OGN * layer.scale_OG[..., None].float()).flatten(1)


def _blocks(layer: Any) -> Tensor:
    """Read 4-bit numbers of bitsandbytes, with one scale a block.

    The matrix is read as one long row: bitsandbytes 0.50 on the CPU begins a new block with each
    row, which it does not when it writes them (tests/upstream).
    """
    from bitsandbytes.functional import QuantState, dequantize_4bit

    pieces: Pieces = layer.pieces
    outputs, inputs = pieces.shape
    state = QuantState(
        absmax=layer.scale_B,
        shape=torch.Size((1, outputs * inputs)),
        code=layer.code_V,
        blocksize=pieces.block,
        quant_type=pieces.form,
        dtype=torch.float32,
    )
    return dequantize_4bit(layer.packed_X1, state).view(outputs, inputs)


FORMS: dict[str, Callable[[Any], Tensor]] = {
    "rows": _rows,
    "groups": _groups,
    "nf4": _blocks,
    "fp4": _blocks,
}


def quantized(model: nn.Module) -> dict[str, Layer]:
    """Give the layers of a model that are held in few bits, by their names."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, QuantizedLinear | QuantizedConv1D)
    }


def count_parameters(model: nn.Module) -> int:
    """Count a base's parameters; of a weight in few bits, the numbers that it stands for."""
    held = sum(math.prod(layer.pieces.shape) for layer in quantized(model).values())
    return held + sum(parameter.numel() for parameter in model.parameters())


def held_bytes(layer: Layer) -> int:
    """Give what the pieces of a layer's weight take."""
    return sum(piece.numel() * piece.itemsize for piece in layer.buffers(recurse=False))


def plain(layer: Layer) -> nn.Linear | Conv1D:
    """Give the layer with the same weight as plain floats."""
    bias = layer.bias
    if isinstance(layer, QuantizedConv1D):
        made: Any = Conv1D.__new__(Conv1D)
        nn.Module.__init__(made)
        made.nf, made.nx = layer.nf, layer.nx
    else:
        made = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
    made.weight = nn.Parameter(layer.weight.contiguous(), requires_grad=False)
    made.bias = bias
    return made


def dequantize(model: nn.Module) -> int:
    """Put layers of plain floats in the place of those that are held in few bits.

    Returns:
        How many there were.
    """
    layers = quantized(model)
    for name, layer in layers.items():
        model.set_submodule(name, plain(layer))
    return len(layers)
