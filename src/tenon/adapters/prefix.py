"""PrefixModel: prefixes inside of attention as a method of PEFT.

Importing this module registers the method, so that `get_peft_model`,
`PeftModel.from_pretrained` and transformers' `load_adapter` know `PREFIX`.
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

from tenon.adapters.layers import SAID, sort_of
from tenon.adapters.prefix_config import PrefixConfig, PrefixType
from tenon.adapters.prefix_layer import UNMERGEABLE, PrefixLayer
from tenon.core.errors import AdapterError, PlanError

PREFIX = "prefix_"


class PrefixModel(BaseTuner):
    """PEFT's tuner of prefixes: wraps the attention modules that a config names."""

    prefix = PREFIX
    tuner_layer_cls = PrefixLayer
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012 - PEFT reads it from the class

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
        config = cast(PrefixConfig, peft_config)
        if isinstance(target, PrefixLayer):
            target.update_layer(adapter_name, config)
            return
        if sort_of(target) != "attention":
            raise PlanError(
                f"prefix: {current_key} is a {type(target).__name__}, and a prefix sits on "
                f"{SAID['attention']}; choose other sites, or lora.v1"
            )
        layer = PrefixLayer(target)
        layer.update_layer(adapter_name, config)
        self._replace_module(parent, target_name, layer, target)

    def _replace_module(
        self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module
    ) -> None:
        # PEFT's own also copies `weight` when it unwraps, which an attention module does not have
        del child
        setattr(parent, child_name, new_module)

    def _check_tied_modules(self, model: nn.Module, peft_config: PeftConfig) -> None:
        """Find nothing to tie: no weight of the base is changed, so tied ones stay equal."""

    def _check_merge_allowed(self) -> None:
        raise AdapterError(UNMERGEABLE)

    @contextlib.contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Generator[None]:  # noqa: ARG002 - PEFT's signature
        if kwargs.get("adapter_names") is not None:
            raise AdapterError(
                "adapter_names: prefix.v1 has no adapter per row in PEFT; without this error every "
                "row would get the active adapter. Run the rows of each adapter as a batch of "
                "their own"
            )
        yield


def register() -> None:
    """Enter the method into PEFT's mappings; a second call changes nothing."""
    member = cast(Any, PrefixType.PREFIX)
    PEFT_TYPE_TO_CONFIG_MAPPING[member] = PrefixConfig
    PEFT_TYPE_TO_TUNER_MAPPING[member] = PrefixModel
    PEFT_TYPE_TO_PREFIX_MAPPING[member] = PREFIX


register()
