"""Fan: adapted layers that read the same input, computed side by side.

The first of the two thin matrices of each read the input in one product of all; so do the gradients
of that input and of those matrices. What each gives is what it gives alone.

Legend: N positions, I inputs, O outputs, R rank, S ranks of all layers, one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from tenon.adapters.lean import Lean, Thin, frozen
from tenon.adapters.wide import Wide


class Fanned(torch.autograd.Function):
    """Frozen linear layers of one input, and the products of thin matrices beside each."""

    @staticmethod
    def forward(
        ctx: Any,
        input_XI: Tensor,
        layers: Sequence[tuple[Tensor, Tensor | None]],
        scales: Sequence[float],
        held: Sequence[Thin],
        *thin: Tensor,
    ) -> tuple[Tensor, ...]:
        """Give each layer's output, [..., O].

        Args:
            ctx: keeps what the gradients need.
            input_XI: [..., I].
            layers: frozen weight, [O, I], and bias of each, in the input's number format.
            scales: of each layer's product.
            held: the matrices of each as they were rounded before; none rounds them here.
            thin: the first matrix of each layer, [R, I], then the second of each, [O, R].
        """
        dtype, count = input_XI.dtype, len(layers)
        if held:
            ups, down_SI = [each.up_OR for each in held], _joined([each.down_RI for each in held])
        else:
            ups = [(up * scale).to(dtype) for up, scale in zip(thin[count:], scales, strict=True)]
            down_SI = torch.cat(list(thin[:count])).to(dtype)
        ranks = [len(down) for down in thin[:count]]
        input_NI = input_XI.reshape(-1, input_XI.shape[-1])
        narrow_NS = _own(input_NI @ down_SI.mT, held)
        found: list[Tensor] = []
        for (weight_OI, bias_O), up_OR, narrow_NR in zip(
            layers, ups, narrow_NS.split(ranks, 1), strict=True
        ):
            output_NO = functional.linear(input_NI, weight_OI, bias_O).addmm_(narrow_NR, up_OR.mT)
            found.append(output_NO.view(*input_XI.shape[:-1], -1))
        ctx.save_for_backward(input_XI, narrow_NS, down_SI, *ups)
        ctx.layers, ctx.scales, ctx.ranks, ctx.wide = layers, scales, ranks, thin[0].dtype
        ctx.held = held
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradients of the input and of all matrices."""
        input_XI, narrow_NS, down_SI, *ups = cast("tuple[Tensor, ...]", ctx.saved_tensors)
        outputs = [each.reshape(-1, each.shape[-1]) for each in given]
        middle_NS = torch.cat([g_NO @ up for g_NO, up in zip(outputs, ups, strict=True)], 1)
        middle_NS = _own(middle_NS, ctx.held)
        input_NI = input_XI.reshape(-1, input_XI.shape[-1])
        trained = _gradients(ctx, input_NI, narrow_NS, middle_NS, outputs)
        if not ctx.needs_input_grad[0]:
            return (None, None, None, None, *trained)
        back_NI = outputs[0] @ ctx.layers[0][0]
        for g_NO, (weight_OI, _) in zip(outputs[1:], ctx.layers[1:], strict=True):
            back_NI.addmm_(g_NO, weight_OI)
        back_NI.addmm_(middle_NS, down_SI)
        return (back_NI.view_as(input_XI), None, None, None, *trained)


def _gradients(
    ctx: Any, input_NI: Tensor, narrow_NS: Tensor, middle_NS: Tensor, outputs: Sequence[Tensor]
) -> list[Tensor | None]:
    """Give the gradients of all thin matrices; None for those that are added where they belong."""
    narrow = narrow_NS.split(ctx.ranks, 1)
    if ctx.held:
        wide_SI = _beside([each.to_down_RI for each in ctx.held])
        if wide_SI is not None:
            wide_SI.addmm_(middle_NS.mT, input_NI)
        else:
            for each, part_NR in zip(ctx.held, middle_NS.split(ctx.ranks, 1), strict=True):
                each.to_down_RI.addmm_(part_NR.mT, input_NI)
        for each, g_NO, n_NR in zip(ctx.held, outputs, narrow, strict=True):
            each.to_up_OR.addmm_(g_NO.mT, n_NR)
        return [None] * (2 * len(ctx.held))
    downs = (middle_NS.mT @ input_NI).to(ctx.wide).split(ctx.ranks)
    raised = [
        (g_NO.mT @ n_NR).to(ctx.wide) * scale
        for g_NO, n_NR, scale in zip(outputs, narrow, ctx.scales, strict=True)
    ]
    return [*downs, *raised]


def _own(narrow_NS: Tensor, held: Sequence[Thin]) -> Tensor:
    """Put to 0 what a row has of other adapters than its own."""
    others = [each.others_NR for each in held if each.others_NR is not None]
    if others and all(each is others[0] for each in others):
        others_NR = others[0]
        narrow_NS.view(len(narrow_NS), len(held), -1).masked_fill_(others_NR[:, None], 0.0)
    elif others:
        narrow_NS.masked_fill_(torch.cat(others, 1), 0.0)
    return narrow_NS


def _plain(layer: nn.Module, states_XI: Tensor) -> str | None:
    """Give the adapter that a layer computes by itself; None where something else does it."""
    lean = isinstance(layer, Lean) and "forward" not in vars(layer)
    return cast(Lean, layer).plain(states_XI) if lean else None


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Give matrices of one width one below the other, without copying where they lie so."""
    beside = _beside(parts)
    return torch.cat(list(parts)) if beside is None else beside


def _beside(parts: Sequence[Tensor]) -> Tensor | None:
    """Give matrices that lie one below the other as one; None where they do not."""
    first, width = parts[0], parts[0].shape[1]
    place = first.data_ptr()
    for part in parts:
        if part.data_ptr() != place or not part.is_contiguous():
            return None
        place += part.numel() * part.element_size()
    return first.as_strided((sum(len(part) for part in parts), width), (width, 1))


def fanned(layers: Sequence[nn.Module], states_XI: Tensor) -> tuple[Tensor, ...]:
    """Compute layers that read the same states; each by itself where one of them is not plain.

    Args:
        layers: at least one.
        states_XI: [..., I].
    """
    if all(isinstance(each, Wide) for each in layers):
        return _wide(cast("Sequence[Wide]", layers), states_XI)
    names = [_plain(each, states_XI) for each in layers]
    if None in names:
        return tuple(layer(states_XI) for layer in layers)
    held = [(cast(Lean, each), cast(str, n)) for each, n in zip(layers, names, strict=True)]
    downs = [cast(Tensor, layer.lora_A[name].weight) for layer, name in held]
    ups = [cast(Tensor, layer.lora_B[name].weight) for layer, name in held]
    weights = [frozen(layer.base_layer) for layer, _ in held]
    scales = [float(layer.scaling[name]) for layer, name in held]
    thin = [layer.thin for layer, _ in held]
    rounded = () if None in thin else tuple(thin)
    made = Fanned.apply(states_XI, weights, scales, rounded, *downs, *ups)  # pyright: ignore[reportUnknownMemberType]
    return cast("tuple[Tensor, ...]", made)


def _wide(layers: Sequence[Wide], states_XI: Tensor) -> tuple[Tensor, ...]:
    """Compute layers of several adapters that read the same states."""
    weights = [frozen(layer.base_layer) for layer in layers]
    thin = tuple(layer.thin for layer in layers)
    matrices = [*(layer.down for layer in layers), *(layer.up for layer in layers)]
    made = Fanned.apply(states_XI, weights, [1.0] * len(layers), thin, *matrices)  # pyright: ignore[reportUnknownMemberType]
    return cast("tuple[Tensor, ...]", made)
