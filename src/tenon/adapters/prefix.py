"""PrefixModel: prefixes inside of attention as a method of PEFT.

Importing this module registers the method, so that `get_peft_model`,
`PeftModel.from_pretrained` and transformers' `load_adapter` know `PREFIX`.
"""

from __future__ import annotations

from typing import cast

from peft import PeftConfig
from torch import nn

from tenon.adapters.layers import SAID, sort_of
from tenon.adapters.method import Method, enter
from tenon.adapters.prefix_config import PrefixConfig, PrefixType
from tenon.adapters.prefix_layer import UNMERGEABLE, PrefixLayer
from tenon.core.errors import PlanError

PREFIX = "prefix_"


class PrefixModel(Method):
    """PEFT's tuner of prefixes: wraps the attention modules that a config names."""

    prefix = PREFIX
    tuner_layer_cls = PrefixLayer
    kind = "prefix.v1"
    unmergeable = UNMERGEABLE

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


enter(PrefixType.PREFIX, PrefixConfig, PrefixModel)
