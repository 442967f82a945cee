"""Repacking: a linear layer that a package has quantised becomes one of ours, number for number."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from tenon.core.errors import PlanError
from tenon.model.quantized import HALF_BYTE, Layer, Pieces, QuantizedConv1D, QuantizedLinear

PER_BYTE_OF_SCB = 1 / 127
"""bitsandbytes keeps a row's largest value; the number that stands for it is 127."""
INTEGRATIONS = "transformers.integrations."
ZERO_SHIFT = 8
"""torchao's 4-bit numbers begin at -8, ours at 0."""


def by_package(module: nn.Module) -> bool:
    """Whether a package has put its own weight into a linear layer."""
    weight = getattr(module, "weight", None)
    owner = type(weight.data).__module__ if isinstance(weight, nn.Parameter) else ""
    return type(module).__module__.startswith("bitsandbytes.") or owner.startswith("torchao.")


def transposed(module: Conv1D, config: Any) -> nn.Module:
    """Let torchao quantise a transposed layer, as the linear layer that it is.

    Args:
        config: torchao's.
    """
    from torchao.quantization import quantize_

    linear = nn.Linear(module.nx, module.nf, bias=False, device="meta")
    linear.weight = nn.Parameter(module.weight.detach().t().contiguous(), requires_grad=False)
    linear.bias = module.bias
    quantize_(linear, config)
    cast(Any, linear).source_cls = Conv1D
    return linear


def repacked(name: str, module: Any, dtype: torch.dtype) -> Layer:
    """Give a layer of ours with the very weight of a package's layer.

    Args:
        name: of the layer, for messages.
        dtype: number format of the weight as it is read.

    Raises:
        PlanError: the weight is held in a form that is not known here.
    """
    weight: Any = module.weight.data if type(module) is nn.Linear else module.weight
    pieces = _pieces(name, weight, module, dtype)
    turned = issubclass(getattr(module, "source_cls", nn.Linear), Conv1D)
    return (QuantizedConv1D if turned else QuantizedLinear)(pieces, module.bias)


def _pieces(name: str, weight: Any, module: Any, dtype: torch.dtype) -> Pieces:
    """Take a package's weight apart."""
    sort = type(weight).__name__
    if sort == "Params4bit":
        return _of_blocks(weight, dtype)
    shape = (int(weight.shape[0]), int(weight.shape[1]))
    if sort == "Int8Params":
        scale = weight.SCB if weight.SCB is not None else module.state.SCB
        tensors = {"numbers_OI": weight.data, "scale_O1": scale.float()[:, None] * PER_BYTE_OF_SCB}
        return Pieces("rows", tensors, shape, dtype)
    if sort == "Int8Tensor" and weight.act_quant_kwargs is None and _one_a_row(weight):
        tensors = {"numbers_OI": weight.qdata, "scale_O1": weight.scale.float()}
        return Pieces("rows", tensors, shape, dtype)
    four_bits = getattr(weight, "target_dtype", None) == cast(Any, torch).int4
    if sort == "IntxUnpackedToInt8Tensor" and four_bits and weight.activation_quantization is None:
        return Pieces("groups", _packed(weight), shape, dtype)
    package = type(weight).__module__.split(".")[0]
    raise PlanError(
        f"base: {name} is stored as {sort} of {package}, which is not read here; take the base in "
        "float32, bfloat16 or float16 and set model.quantize"
    )


def _one_a_row(weight: Any) -> bool:
    centred = weight.zero_point is None or not bool(weight.zero_point.any())
    return centred and tuple(weight.scale.shape) == (weight.shape[0], 1)


def _packed(weight: Any) -> dict[str, Tensor]:
    """Put two 4-bit numbers into each byte, the first into its low half."""
    numbers_OI = (weight.qdata + ZERO_SHIFT).to(torch.uint8)
    return {
        "packed_OJ": numbers_OI[:, ::2] | (numbers_OI[:, 1::2] << HALF_BYTE),
        "scale_OG": weight.scale,
        "zero_OG": (weight.zero_point + ZERO_SHIFT).to(torch.uint8),
    }


def _of_blocks(weight: Any, dtype: torch.dtype) -> Pieces:
    from bitsandbytes.functional import dequantize_blockwise

    state = weight.quant_state
    scale_B = state.absmax
    if state.nested:
        scale_B = dequantize_blockwise(state.absmax, state.state2) + state.offset
    tensors = {
        "packed_X1": weight.data.view(torch.uint8),
        "scale_B": scale_B.float(),
        "code_V": state.code,
    }
    shape = (int(state.shape[0]), int(state.shape[1]))
    return Pieces(str(state.quant_type), tensors, shape, dtype, int(state.blocksize))


def _of_package(conversion: Any) -> bool:
    operations = getattr(conversion, "operations", ())
    return any(type(each).__module__.startswith(INTEGRATIONS) for each in operations)


def forget(model: Any) -> None:
    """Take off what tells libraries that a package's own layers are inside."""
    for name in ("hf_quantizer", "quantization_method", "is_loaded_in_4bit", "is_loaded_in_8bit"):
        vars(model).pop(name, None)
    known = vars(model).get("_weight_conversions")
    if known:  # what would undo them as the model is written; those of packages cannot be undone
        model._weight_conversions = [each for each in known if not _of_package(each)]  # noqa: SLF001
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
