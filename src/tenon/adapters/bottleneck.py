"""BottleneckModel: classic bottleneck adapters as a method of PEFT.

Importing this module registers the method, so that `get_peft_model`,
`PeftModel.from_pretrained` and transformers' `load_adapter` know `BOTTLENECK`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any, cast

from peft import PeftConfig
from peft.mapping import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
)
from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from tenon.adapters.bottleneck_config import BottleneckConfig, BottleneckType
from tenon.adapters.bottleneck_layer import UNMERGEABLE, BottleneckLayer
from tenon.core.errors import AdapterError, PlanError

PREFIX = "bottleneck_"


class BottleneckModel(BaseTuner):
    """PEFT's tuner of bottleneck adapters: wraps the modules that a config names."""

    prefix = PREFIX
    tuner_layer_cls = BottleneckLayer
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012 - PEFT reads it from the class

    def _create_and_replace(
        self,
        peft_config: PeftConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,  # noqa: ARG002 - PEFT passes it
        parameter_name: str | None = None,  # noqa: ARG002 - PEFT passes it
    ) -> None:
        config = cast(BottleneckConfig, peft_config)
        if isinstance(target, BottleneckLayer):
            target.update_layer(adapter_name, config)
            return
        layer = BottleneckLayer(target)
        layer.update_layer(adapter_name, config)
        self._replace_module(parent, target_name, layer, target)

    def _replace_module(
        self,
        parent: nn.Module,
        child_name: str,
        new_module: nn.Module,
        child: nn.Module,  # noqa: ARG002 - PEFT passes it
    ) -> None:
        # PEFT's own also copies `weight` when it unwraps, which an MLP does not have; devices are
        # the layer's business
        setattr(parent, child_name, new_module)

    def _check_new_adapter_config(self, config: PeftConfig) -> None:
        super()._check_new_adapter_config(config)
        new = cast(BottleneckConfig, config)
        for layer in self.model.modules():
            held = layer.configs if isinstance(layer, BottleneckLayer) else {}
            for name, other in held.items():
                _check_together(new, name, other)

    def _check_merge_allowed(self) -> None:
        raise AdapterError(UNMERGEABLE)

    @contextlib.contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Generator[None]:  # noqa: ARG002 - PEFT's signature
        if kwargs.get("adapter_names") is not None:
            raise AdapterError(
                "adapter_names: bottleneck.v1 has no adapter per row; without this error every row "
                "would get the active adapter. Run the rows of each adapter as a batch of their own"
            )
        yield


def _check_together(new: BottleneckConfig, name: str, other: BottleneckConfig) -> None:
    """Refuse placements that would wrap modules inside of each other's, or one module twice."""
    both_before = other.original_ln_before and new.original_ln_before
    if other.parallel == new.parallel and not (
        both_before and other.original_ln_after != new.original_ln_after
    ):
        return
    raise PlanError(
        f"bottleneck: adapter {name} on this model is placed otherwise (parallel = "
        f"{other.parallel}, original_ln_before = {other.original_ln_before}, original_ln_after = "
        f"{other.original_ln_after}); load each of the two into a model of its own"
    )


def register() -> None:
    """Enter the method into PEFT's mappings; a second call changes nothing.

    Source: `peft.utils.peft_types.register_peft_method`, which accepts PEFT's own names only.
    """
    member = cast(Any, BottleneckType.BOTTLENECK)
    PEFT_TYPE_TO_CONFIG_MAPPING[member] = BottleneckConfig
    PEFT_TYPE_TO_TUNER_MAPPING[member] = BottleneckModel
    PEFT_TYPE_TO_PREFIX_MAPPING[member] = PREFIX


register()
