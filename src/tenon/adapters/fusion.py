"""FusionModel: the fusion of adapters as a method of PEFT.

Importing this module registers the method, so that `get_peft_model`,
`PeftModel.from_pretrained` and transformers' `load_adapter` know `FUSION`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from typing import Any, cast

from peft import PeftConfig
from peft.mapping import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
)
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import nn

from tenon.adapters import bottleneck as bottleneck  # a part may be one: PEFT must know it
from tenon.adapters.bottleneck_placement import hidden_size
from tenon.adapters.fusion_config import FusionConfig, FusionType
from tenon.adapters.fusion_config import parted as parted
from tenon.adapters.fusion_layer import INNER, UNMERGEABLE, FusionLayer
from tenon.core.errors import AdapterError, PlanError

PREFIX = "fusion_"
BASE = ".base_layer"
MARK = "peft_config"
"""What PEFT leaves on a model that it has put an adapter on."""


class FusionModel(BaseTuner):
    """PEFT's tuner of fusions: wraps every module that a part wraps."""

    prefix = PREFIX
    tuner_layer_cls = FusionLayer
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012 - PEFT reads it from the class

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
        # PEFT's own also copies `weight`, which a block does not have. A parent that is wrapped
        # itself hands its own parts out, so that the place is asked for inside of it.
        del child
        setattr(_inside(parent), child_name, new_module)

    def _mark_only_adapters_as_trainable(self, model: nn.Module) -> None:
        super()._mark_only_adapters_as_trainable(model)
        for module in model.modules():
            if isinstance(module, FusionLayer):
                module.fusion_parts.requires_grad_(requires_grad=False)

    def _check_tied_modules(self, model: nn.Module, peft_config: PeftConfig) -> None:
        """Find nothing to tie: no weight of the base is changed, so tied ones stay equal."""

    def _check_merge_allowed(self) -> None:
        raise AdapterError(UNMERGEABLE)

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        """Leave the name out where transformers puts it in: behind what begins with the prefix."""
        return re.sub(rf"(\.{PREFIX}[^.]*)\.{re.escape(adapter_name)}(?=\.|$)", r"\1", key)

    @contextlib.contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Generator[None]:  # noqa: ARG002 - PEFT's signature
        if kwargs.get("adapter_names") is not None:
            raise AdapterError(
                "adapter_names: fusion.v1 has no adapter per row; without this error every row "
                "would get the active adapter. Run the rows of each adapter as a batch of their own"
            )
        yield


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
    layers = {
        path.replace(BASE, ""): cast(nn.Module, module)
        for path, module in model.named_modules()
        if isinstance(module, BaseTunerLayer)
    }
    bases = {path: cast(nn.Module, cast(Any, layer).base_layer) for path, layer in layers.items()}
    # Inner places first, as their parents are replaced after them.
    for path in sorted(layers, key=lambda path: -path.count(".")):
        parent, _, name = path.rpartition(".")
        setattr(_bare(model, parent), name, bases[path])
    for parameter, was in zip(model.parameters(), trained, strict=True):
        parameter.requires_grad = was
    return layers


def _bare(model: nn.Module, path: str) -> nn.Module:
    """Give the base's own module of a name, whatever stands around it and its parents."""
    module = model
    for name in path.split(".") if path else ():
        module = getattr(_inside(module), name)
    return _inside(module)


def _inside(module: nn.Module) -> nn.Module:
    while isinstance(module, BaseTunerLayer):
        module = cast(nn.Module, cast(Any, module).base_layer)
    return module


def register() -> None:
    """Enter the method into PEFT's mappings; a second call changes nothing."""
    member = cast(Any, FusionType.FUSION)
    PEFT_TYPE_TO_CONFIG_MAPPING[member] = FusionConfig
    PEFT_TYPE_TO_TUNER_MAPPING[member] = FusionModel
    PEFT_TYPE_TO_PREFIX_MAPPING[member] = PREFIX


register()
