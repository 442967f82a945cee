"""PrefixLayer: one attention module of the base with the prefixes of every adapter on it.

Legend: H heads, K key-value heads, P prefix vectors, D channels of a head.
"""

from __future__ import annotations

from itertools import chain
from typing import Any, NamedTuple, cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from tenon.adapters.prefix_attention import Prefix, Run, beside
from tenon.adapters.prefix_config import PrefixConfig
from tenon.adapters.transparent import Transparent
from tenon.core.errors import AdapterError, PlanError

UNMERGEABLE = (
    "a prefix takes part in the softmax of attention, so no weight of the base can stand for it; "
    "keep it as an adapter, or train lora.v1 for one that merges"
)
DEVIATION = 1.0
"""Of the first keys and values. Source: P-tuning v2, whose prefixes begin as torch's embeddings."""

_HEADS = ("num_heads", "num_attention_heads", "n_heads")
_CHANNELS = ("head_dim", "attention_head_size", "key_value_proj_dim", "head_size")


class Heads(NamedTuple):
    """The sizes of an attention module.

    Args:
        heads: H, of queries.
        pairs: K, of keys and values.
        channels: D.
    """

    heads: int
    pairs: int
    channels: int


class PrefixLayer(Transparent, BaseTunerLayer):
    """One attention module with the prefixes of every adapter that sits on it.

    Prefixes stay in float32 whatever the base's format.

    Args:
        base_layer: the attention module; frozen elsewhere.
    """

    adapter_layer_names = ("prefix_key", "prefix_value", "prefix_gate")
    other_param_names = ("prefix_dropout", "configs")

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.prefix_key = nn.ParameterDict()
        self.prefix_value = nn.ParameterDict()
        self.prefix_gate = nn.ParameterDict()
        self.prefix_dropout = nn.ModuleDict()
        self.configs: dict[str, PrefixConfig] = {}
        self._disable_adapters = False
        self.merged_adapters = []

    def update_layer(self, name: str, config: PrefixConfig) -> None:
        """Add the prefix of adapter `name`.

        Raises:
            PlanError: the sizes of the attention module cannot be told.
        """
        sizes = heads_of(self.get_base_layer())
        shape = (sizes.pairs, config.length, sizes.channels)
        self.configs[name] = config
        self.prefix_key[name] = nn.Parameter(torch.empty(shape))
        self.prefix_value[name] = nn.Parameter(torch.empty(shape))
        if config.start == "identity":
            self.prefix_gate[name] = nn.Parameter(torch.empty(sizes.heads))
        self.prefix_dropout[name] = nn.Dropout(config.dropout)
        self.reset(name)
        self._place_on_device(name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def reset(self, name: str) -> None:
        """Give adapter `name` its first weights."""
        nn.init.normal_(self.prefix_key[name], std=DEVIATION)
        nn.init.normal_(self.prefix_value[name], std=DEVIATION)
        if name in self.prefix_gate:
            nn.init.zeros_(self.prefix_gate[name])

    def _place_on_device(self, name: str) -> None:
        base = self.get_base_layer()
        # A quantised module without biases has buffers alone.
        device = next(chain(base.parameters(), base.buffers())).device
        for attribute in self.adapter_layer_names:
            held = getattr(self, attribute)
            if name in held and "meta" not in (device.type, held[name].device.type):
                held[name] = held[name].to(device)

    def prefixes(self) -> tuple[Prefix, ...]:
        """Give the prefixes of the active adapters."""
        if self.disable_adapters:
            return ()
        return tuple(
            Prefix(
                self.prefix_dropout[name](self.prefix_key[name]),
                self.prefix_dropout[name](self.prefix_value[name]),
                self.prefix_gate.get(name),
            )
            for name in self.active_adapters
            if name in self.configs
        )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the attention module with the prefixes of the active adapters beside its rows."""
        prefixes = self.prefixes()
        if not prefixes:
            return self.base_layer(*args, **kwargs)
        return beside(self.base_layer, [Run(None, prefixes)], args, kwargs)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:  # noqa: ARG002, FBT001, FBT002 - PEFT's signature
        """Refuse: see `UNMERGEABLE`.

        Raises:
            AdapterError: always; nothing has been changed.
        """
        raise AdapterError(UNMERGEABLE)

    def unmerge(self) -> None:
        """Refuse, as nothing can have been merged.

        Raises:
            AdapterError: always; nothing has been changed.
        """
        raise AdapterError(UNMERGEABLE)


def heads_of(attention: nn.Module) -> Heads:
    """Give the sizes of an attention module of transformers, as it or its config states them.

    Raises:
        PlanError: it does not.
    """
    config = getattr(attention, "config", None)
    heads = _stated(attention, _HEADS) or _stated(config, _HEADS)
    channels = _stated(attention, _CHANNELS)
    if not heads or not channels:
        raise PlanError(
            f"prefix: the heads of {type(attention).__name__} cannot be told; take lora.v1 on "
            "this base"
        )
    groups = int(cast(Any, getattr(attention, "num_key_value_groups", 1)))
    return Heads(heads, heads // groups, channels)


def _stated(owner: object, names: tuple[str, ...]) -> int:
    found = (getattr(owner, name, None) for name in names)
    return next((number for number in found if isinstance(number, int)), 0)
