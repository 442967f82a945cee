"""Form: a plan's whole model on shapes: base, adapter and head as they will be trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
)
from transformers.pytorch_utils import Conv1D

from tenon.adapters.kind import KINDS
from tenon.evaluate.settings import BY_TASK
from tenon.model.attach import attach, unchanged_random_state
from tenon.model.base import Base
from tenon.model.coded import near
from tenon.model.head import Head
from tenon.model.loading import ENCODERS, POOLERS, quiet
from tenon.model.model import Model
from tenon.model.models import model_for
from tenon.model.quantization import BLOCK, GROUP, SCHEMES, choose
from tenon.model.quantized import Pieces, QuantizedConv1D, QuantizedLinear
from tenon.model.recompute import recompute
from tenon.model.trunk import DTYPES, Trunk
from tenon.plan.plan import Plan
from tenon.plan.unreal import META

VALUES = 16
"""Of a 4-bit format."""


@dataclass(frozen=True)
class Form:
    """What decides the shapes of a plan's model beside the plan itself.

    Args:
        base: where the base lies.
        trunk: how the base is fed; its own model is not looked at.
        labels: classes of the head; 0 where the base writes itself.
        normalize: whether the head scales what it reads.
    """

    base: Base
    trunk: Trunk
    labels: int
    normalize: bool = False

    def model(self, plan: Plan) -> Model:
        """Give the model of a plan, every tensor with a shape and without data.

        Args:
            plan: settled, but for settings of number format, few bits and recomputing, which may
                be others than those with which the trunk was loaded.

        Raises:
            PlanError: a site matches nothing, or the kind refuses the base.
        """
        writes = BY_TASK[plan.data.task].writes
        with unchanged_random_state():
            trunk = self._trunk(plan, writes=writes)
            peft = attach(trunk, plan.adapter, plan.seed).peft
            head = None if writes else self._head(plan, trunk)
            made = model_for(
                plan.data.task,
                trunk,
                peft,
                head,
                plan.model.pooling,
                trunk_dropout=plan.model.trunk_dropout,
            )
        module = cast(nn.Module, made).to(META)
        if trunk.whole is not None:
            cast(nn.Module, trunk.whole).to(META)
        recompute(trunk, plan.train.recompute)
        return cast(Model, module)

    def _trunk(self, plan: Plan, *, writes: bool) -> Trunk:
        on = "cpu" if KINDS.get(plan.adapter.kind).reads_weights else "meta"
        config = AutoConfig.from_pretrained(
            self.base.folder, local_files_only=True, trust_remote_code=False
        )
        dtype = DTYPES[plan.model.dtype]
        with torch.device(on), quiet():
            whole = _empty(config, pooler=plan.model.pooling == "pooler", writes=writes)
        cast(Any, whole).requires_grad_(requires_grad=False).eval()
        _cast(whole, dtype)
        if plan.model.quantize != "none":
            hold(whole, plan.model.quantize, dtype)
        model = cast(PreTrainedModel, whole.base_model) if writes else whole
        if self.trunk.packed and self.trunk.seq2seq:
            near(model)
        return replace(
            self.trunk,
            model=model,
            whole=whole if writes else None,
            quantize=plan.model.quantize,
            holding=None,
        )

    def _head(self, plan: Plan, trunk: Trunk) -> Head:
        bias = not (trunk.decoder and plan.model.pooling == "last")
        return Head(trunk.hidden_size, max(1, self.labels), normalize=self.normalize, bias=bias)


def _empty(config: Any, *, pooler: bool, writes: bool) -> PreTrainedModel:
    if writes:
        factory = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        return factory.from_config(config)
    if config.model_type in ENCODERS:
        return ENCODERS[config.model_type](config)
    if config.model_type in POOLERS:
        return AutoModel.from_config(config, add_pooling_layer=pooler)
    return AutoModel.from_config(config)


def _cast(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Give the parameters the number format of the run; some bases keep part of them in float32."""
    strict = set(getattr(model, "_keep_in_fp32_modules_strict", None) or ())
    loose = set(getattr(model, "_keep_in_fp32_modules", None) or ())
    kept = strict | (loose if dtype is torch.float16 else set())
    for name, parameter in model.named_parameters():
        if not kept & set(name.split(".")):
            parameter.data = parameter.data.to(dtype)


def hold(model: nn.Module, quantize: str, dtype: torch.dtype) -> None:
    """Put layers in few bits, without data, in the place of those that are quantised.

    Args:
        quantize: a name of `SCHEMES`.
        dtype: number format of the weights as they are read.
    """
    for name, (outputs, inputs) in choose(model, SCHEMES[quantize]).taken.items():
        layer: Any = model.get_submodule(name)
        pieces = _pieces(quantize, outputs, inputs, dtype)
        made = QuantizedConv1D if isinstance(layer, Conv1D) else QuantizedLinear
        model.set_submodule(name, made(pieces, layer.bias))


def _pieces(quantize: str, outputs: int, inputs: int, dtype: torch.dtype) -> Pieces:
    shape = (outputs, inputs)
    if quantize == "int4":
        groups = inputs // GROUP
        tensors = {
            "packed_OJ": _unwritten(torch.uint8, outputs, inputs // 2),
            "scale_OG": _unwritten(dtype, outputs, groups),
            "zero_OG": _unwritten(torch.uint8, outputs, groups),
        }
        return Pieces("groups", tensors, shape, dtype)
    if quantize == "bnb-nf4":
        numbers = outputs * inputs
        tensors = {
            "packed_X1": _unwritten(torch.uint8, -(-numbers // 2), 1),
            "scale_B": _unwritten(torch.float32, -(-numbers // BLOCK)),
            "code_V": _unwritten(torch.float32, VALUES),
        }
        return Pieces("nf4", tensors, shape, dtype, BLOCK)
    tensors = {
        "numbers_OI": _unwritten(torch.int8, outputs, inputs),
        "scale_O1": _unwritten(torch.float32, outputs, 1),
    }
    return Pieces("rows", tensors, shape, dtype)


def _unwritten(dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=META)
