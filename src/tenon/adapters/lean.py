"""Lean: PEFT's LoRA layers, computed with no more states than their gradients need.

PEFT copies the input of each adapted layer to float32 and adds its delta in tensors of full size of
their own. Here a layer computes in the number format of the base, from float32 weights that are
rounded as they are read; the delta is added in the product that makes it; and of the input nothing
is kept but the input, which layers that read the same one share.

Parameters, names and files are PEFT's, and so is whatever is not plain: dropout, variants, several
active adapters, layers in few bits.

Legend: N positions, I inputs, O outputs, R rank.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

PLAIN = (nn.Linear, Conv1D)
FORMATS = (torch.float32, torch.bfloat16)


class Thin(NamedTuple):
    """The thin matrices of a layer in its number format, and where their gradients are added.

    Args:
        down_RI, up_OR: the second one scaled.
        to_down_RI, to_up_OR: gradients, that of the second one as if it were not scaled.
        others_NR: where what is between them is put to 0; None for nowhere.
    """

    down_RI: Tensor
    up_OR: Tensor
    to_down_RI: Tensor
    to_up_OR: Tensor
    others_NR: Tensor | None = None


class Added(torch.autograd.Function):
    """A frozen linear layer and the product of two thin matrices beside it."""

    @staticmethod
    def forward(
        ctx: Any,
        input_XI: Tensor,
        weight_OI: Tensor,
        bias_O: Tensor | None,
        down_RI: Tensor,
        up_OR: Tensor,
        scale: float,
        held: Thin | None = None,
    ) -> Tensor:
        """Give the layer's output, [..., O].

        Args:
            ctx: keeps what the gradients need.
            input_XI: [..., I].
            weight_OI, bias_O: frozen, in the input's number format.
            down_RI, up_OR: in any.
            scale: of the product.
            held: both matrices as they were rounded before; None rounds them here.
        """
        dtype = input_XI.dtype
        thin = held[:2] if held else (down_RI.to(dtype), (up_OR * scale).to(dtype))
        others_NR = held.others_NR if held else None
        output_XO, narrow_NR = added(input_XI, weight_OI, bias_O, thin, others_NR)
        ctx.save_for_backward(input_XI, narrow_NR, weight_OI, down_RI, up_OR)
        ctx.scale, ctx.held = scale, held
        return output_XO

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradients of the input and of both matrices."""
        input_XI, narrow_NR, weight_OI, down_RI, up_OR = cast(
            "tuple[Tensor, ...]", ctx.saved_tensors
        )
        dtype, scale, held = input_XI.dtype, cast(float, ctx.scale), cast("Thin | None", ctx.held)
        thin = held[:2] if held else (down_RI.to(dtype), (up_OR * scale).to(dtype))
        found: list[Tensor | None] = [None] * 7
        wanted = ctx.needs_input_grad[0]
        others_NR = held.others_NR if held else None
        found[0], output_NO, middle_NR = returned(
            given[0], weight_OI, thin, others_NR, wanted=wanted
        )
        read_NI = input_XI.reshape(-1, input_XI.shape[-1])
        if held:
            held.to_down_RI.addmm_(middle_NR.mT, read_NI)
            held.to_up_OR.addmm_(output_NO.mT, narrow_NR)
            return tuple(found)
        if ctx.needs_input_grad[3]:
            found[3] = (middle_NR.mT @ read_NI).to(down_RI.dtype)
        if ctx.needs_input_grad[4]:
            # Few rows and many columns: the other way round takes a processor six times as long.
            found[4] = (narrow_NR.mT @ output_NO).to(up_OR.dtype).mT * scale
        return tuple(found)


def added(
    input_XI: Tensor,
    weight_OI: Tensor,
    bias_O: Tensor | None,
    thin: tuple[Tensor, Tensor],
    others_NR: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Give the output of a frozen layer with thin matrices beside it, and what is between them.

    Args:
        input_XI: [..., I].
        weight_OI, bias_O: frozen, in the input's number format.
        thin: [R, I] and [O, R], scaled, in that format as well.
        others_NR: where what is between them is put to 0; None for nowhere.
    """
    down_RI, up_OR = thin
    input_NI = input_XI.reshape(-1, input_XI.shape[-1])
    output_NO = functional.linear(input_NI, weight_OI, bias_O)
    narrow_NR = input_NI @ down_RI.mT
    if others_NR is not None:
        narrow_NR = narrow_NR.masked_fill_(others_NR, 0.0)
    output_NO.addmm_(narrow_NR, up_OR.mT)
    return output_NO.view(*input_XI.shape[:-1], -1), narrow_NR


def returned(
    output_XO: Tensor,
    weight_OI: Tensor,
    thin: tuple[Tensor, Tensor],
    others_NR: Tensor | None = None,
    *,
    wanted: bool,
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Give the gradient of the input, that of the output by position, and that between the two.

    Args:
        output_XO: the gradient of the output.
        weight_OI, thin, others_NR: as of `added`.
        wanted: whether the gradient of the input is; None is given instead.
    """
    down_RI, up_OR = thin
    output_NO = output_XO.reshape(-1, output_XO.shape[-1])
    middle_NR = narrowed(output_NO, up_OR)
    if others_NR is not None:
        middle_NR = middle_NR.masked_fill_(others_NR, 0.0)
    if not wanted:
        return None, output_NO, middle_NR
    input_NI = (output_NO @ weight_OI).addmm_(middle_NR, down_RI)
    return input_NI.view(*output_XO.shape[:-1], -1), output_NO, middle_NR


def narrowed(output_NO: Tensor, up_OR: Tensor) -> Tensor:
    """Multiply by a thin matrix, on a CPU by one with few rows, which it reads faster."""
    if output_NO.is_cuda:
        return output_NO @ up_OR
    return functional.linear(output_NO, up_OR.mT.contiguous())


class Lean(Linear):
    """PEFT's layer; only its forward pass is another one, where it is plain."""

    thin: Thin | None = None
    """Its matrices, where they were rounded for the pass that is computed."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Compute the layer, by PEFT itself where it is not plain."""
        name = self.plain(x) if not args and not kwargs else None
        if name is None:
            return super().forward(x, *args, **kwargs)
        weight_OI, bias_O = frozen(self.base_layer)
        down, up = (held[name].weight for held in (self.lora_A, self.lora_B))
        made = Added.apply(x, weight_OI, bias_O, down, up, self.scaling[name], self.thin)  # pyright: ignore[reportUnknownMemberType]
        return cast(Tensor, made)

    def plain(self, x: Tensor) -> str | None:
        """Give the adapter that is computed here; None where PEFT does it."""
        base = cast(Any, self.base_layer)
        names = [name for name in self.active_adapters if name in self.lora_A]
        if len(names) != 1 or self.disable_adapters or self.merged or type(base) not in PLAIN:
            return None
        name = names[0]
        dropout = self.lora_dropout[name]
        drops = dropout.training and not isinstance(dropout, nn.Identity)
        odd = drops or name in self.lora_variant or self.lora_bias[name] or watched(base)
        fits = (
            x.dtype in FORMATS and x.dtype == base.weight.dtype and x.device == base.weight.device
        )
        if odd or not fits or base.weight.requires_grad or autocasts(x):
            return None
        return name


def frozen(base: Any) -> tuple[Tensor, Tensor | None]:
    """Give the weight, [O, I], and the bias of a plain layer."""
    return (base.weight.mT if type(base) is Conv1D else base.weight), base.bias


def autocasts(states: Tensor) -> bool:
    """Whether torch chooses number formats by itself where these states are."""
    where = states.device.type
    return where in ("cpu", "cuda") and torch.is_autocast_enabled(where)


def watched(module: Any) -> bool:
    """Whether something is called with what a module is given or gives."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)  # noqa: SLF001


def lean(model: nn.Module) -> int:
    """Let PEFT's LoRA layers of a model compute with no more states than they need.

    Returns:
        How many there are.
    """
    found = [module for module in model.modules() if type(module) is Linear]
    for layer in found:
        layer.__class__ = Lean
    return len(found)
