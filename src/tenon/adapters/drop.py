"""Drop: leave layers of a trained bottleneck adapter out, for faster answers.

Source: Rücklé et al. 2021, AdapterDrop (arXiv:2010.11918): without the adapters of the first
layers, several adapters over one base share what those layers compute.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from torch import nn

from tenon.adapters.blocks import DEFAULT, block_of, check_labels, is_among
from tenon.adapters.bottleneck import layers_of
from tenon.adapters.bottleneck_config import BottleneckConfig
from tenon.adapters.bottleneck_layer import BottleneckLayer
from tenon.adapters.settings import AdapterSettings
from tenon.core.errors import AdapterError


def drop(model: nn.Module, layers: Iterable[int | str], name: str = "default") -> tuple[str, ...]:
    """Take adapter `name` out of some layers; modules that carry no other adapter are unwrapped.

    What is saved afterwards is the smaller adapter, whose config says what it leaves out.

    Args:
        model: a PeftModel, or a model of transformers that an adapter was loaded into.
        layers: their numbers from 0, or labels (`tenon.adapters.blocks`).

    Returns:
        Names of the modules that carried the adapter and no longer do.

    Raises:
        AdapterError: the model has no bottleneck of that name; nothing has been changed.
        PlanError: a layer carries none of it; nothing has been changed.
    """
    labels = [str(label) for label in layers]
    held = [layer for layer in layers_of(model) if name in layer.configs]
    config = cast(Any, model).peft_config.get(name)
    if not held or not isinstance(config, BottleneckConfig):
        raise AdapterError(f"adapter {name}: the model has no bottleneck adapter of that name")
    check_labels("layers", labels, [layer.module for layer in held])
    gone = [layer for layer in held if is_among(layer.module, labels)]
    kept = [layer for layer in held if layer not in gone]
    if not any(block_of(layer.module) for layer in kept):
        raise AdapterError(f"adapter {name}: no layer would keep it; disable the adapter instead")
    _hand_on(name, gone, kept)
    for layer in gone:
        layer.remove(name)
    _unwrap(model)
    _narrow(config, labels, kept)
    return tuple(layer.module for layer in gone)


def _hand_on(name: str, gone: list[BottleneckLayer], kept: list[BottleneckLayer]) -> None:
    """Let the first layer that stays hold the shared rule, as it does after loading."""
    rule = next((layer.bottleneck_rule[name] for layer in gone if name in layer.bottleneck_rule), 0)
    if isinstance(rule, int):
        return
    sharing = [layer for layer in kept if name in layer.rule_holders]
    sharing[0].bottleneck_rule[name] = rule
    for layer in sharing:
        layer.rule_holders[name] = sharing[0]


def _unwrap(model: nn.Module) -> None:
    bare = {
        key: layer
        for key, layer in model.named_modules()
        if isinstance(layer, BottleneckLayer) and not layer.configs
    }
    for key, layer in bare.items():
        layer.release()
        parent, _, last = key.rpartition(".")
        setattr(model.get_submodule(parent), last, layer.base_layer)


def _narrow(config: BottleneckConfig, labels: list[str], kept: list[BottleneckLayer]) -> None:
    """Write into `config` what it now leaves out; what it said of those layers goes."""
    config.leave_out = sorted({*(config.leave_out or ()), *labels})
    named = {label for layer in kept if (at := block_of(layer.module)) for label in at.labels}
    if isinstance(config.reduction, dict):
        config.reduction = {
            label: ratio
            for label, ratio in config.reduction.items()
            if label == DEFAULT or label in named
        }
    if isinstance(config.target_modules, set):
        config.target_modules = {
            target for target in config.target_modules if not is_among(target, labels)
        }


def narrowed(settings: AdapterSettings, config: BottleneckConfig) -> AdapterSettings:
    """Give the settings of an adapter as `drop` has left its config."""
    own = {**settings.own, "leave_out": config.leave_out, "reduction": config.reduction}
    return settings.model_copy(update={"own": own})
