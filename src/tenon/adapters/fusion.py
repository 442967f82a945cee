"""FusionModel: the fusion of adapters as a method of PEFT.

Importing this module registers the method, so that `get_peft_model`,
`PeftModel.from_pretrained` and transformers' `load_adapter` know `FUSION`.
"""

from __future__ import annotations

import re
from typing import Any, cast

from peft import PeftConfig
from peft.mapping import (
    PEFT_TYPE_TO_TUNER_MAPPING,
)
from torch import nn

from tenon.adapters import bottleneck as bottleneck  # a part may be one: PEFT must know it
from tenon.adapters.bottleneck_placement import hidden_size
from tenon.adapters.fusion_config import FusionConfig, FusionType
from tenon.adapters.fusion_config import parted as parted
from tenon.adapters.fusion_layer import INNER, UNMERGEABLE, FusionLayer
from tenon.adapters.method import Method, enter
from tenon.adapters.wrapped import MARK, adapted, bare, base_of, place
from tenon.core.errors import PlanError

PREFIX = "fusion_"


class FusionModel(Method):
    """PEFT's tuner of fusions: wraps every module that a part wraps."""

    prefix = PREFIX
    tuner_layer_cls = FusionLayer
    kind = "fusion.v1"
    unmergeable = UNMERGEABLE

    def _pre_injection_hook(
        self,
        model: nn.Module,
        config: PeftConfig,
        adapter_name: str,  # noqa: ARG002 - PEFT passes it
    ) -> None:
        if any(isinstance(module, FusionLayer) for module in model.modules()):
            raise PlanError(
                "fusion: one is on this model already; load each into a model of its own"
            )
        self.parts = parts_of(model, cast(FusionConfig, config))

    def _create_and_replace(
        self,
        peft_config: PeftConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,  # noqa: ARG002 - PEFT passes it
    ) -> None:
        layers = {name: held.get(current_key) for name, held in self.parts.items()}
        layer = FusionLayer(target, adapter_name, layers)
        layer.update_layer(adapter_name, cast(FusionConfig, peft_config), hidden_size(target))
        self._replace_module(parent, target_name, layer, target)

    def _replace_module(
        self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module
    ) -> None:
        # A parent that is wrapped itself hands its parts out; their place is inside of it.
        super()._replace_module(bare(parent), child_name, new_module, child)

    def _mark_only_adapters_as_trainable(self, model: nn.Module) -> None:
        super()._mark_only_adapters_as_trainable(model)
        for module in model.modules():
            if isinstance(module, FusionLayer):
                module.fusion_parts.requires_grad_(requires_grad=False)

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        """Leave the name out where transformers puts it in: behind what begins with the prefix."""
        return re.sub(rf"(\.{PREFIX}[^.]*)\.{re.escape(adapter_name)}(?=\.|$)", r"\1", key)


def parts_of(model: nn.Module, config: FusionConfig) -> dict[str, dict[str, nn.Module]]:
    """Let PEFT make the layers of every part of a fusion, and take them out of the model again.

    Returns:
        Part to its layers, by the full names of the modules that they are for.
    """
    return {name: _taken(model, config.part(name)) for name in config.parts}


def _taken(model: nn.Module, config: PeftConfig) -> dict[str, nn.Module]:
    tuner = PEFT_TYPE_TO_TUNER_MAPPING[cast(Any, config.peft_type)]
    trained = [parameter.requires_grad for parameter in model.parameters()]
    tuner(model, {INNER: config}, INNER)
    vars(model).pop(MARK, None)
    layers = {path: cast(nn.Module, layer) for path, layer in adapted(model).items()}
    place(model, {path: base_of(layer) for path, layer in layers.items()})
    for parameter, was in zip(model.parameters(), trained, strict=True):
        parameter.requires_grad = was
    return layers


enter(FusionType.FUSION, FusionConfig, FusionModel)
