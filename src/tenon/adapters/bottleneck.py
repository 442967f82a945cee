"""BottleneckModel: bottleneck adapters as a method of PEFT.

Importing this module registers the method, so that `get_peft_model`,
`PeftModel.from_pretrained` and transformers' `load_adapter` know `BOTTLENECK`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from tenon.adapters.blocks import block_of, check_labels, is_among
from tenon.adapters.bottleneck_config import BottleneckConfig, BottleneckType
from tenon.adapters.bottleneck_layer import UNMERGEABLE, BottleneckLayer
from tenon.adapters.bottleneck_placement import FIRST_OF_MLP, place_of
from tenon.adapters.coupling import UncoupledHead
from tenon.adapters.method import Method, enter
from tenon.adapters.wrapped import INSIDE
from tenon.core.errors import PlanError

PREFIX = "bottleneck_"


class BottleneckModel(Method):
    """PEFT's tuner of bottleneck adapters: wraps the modules that a config names."""

    prefix = PREFIX
    tuner_layer_cls = BottleneckLayer
    kind = "bottleneck.v1"
    unmergeable = UNMERGEABLE

    @staticmethod
    def _check_target_module_exists(peft_config: PeftConfig, key: str) -> Any:
        left_out = is_among(key, cast(BottleneckConfig, peft_config).leave_out or ())
        return not left_out and BaseTuner._check_target_module_exists(peft_config, key)  # noqa: SLF001

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
        config = cast(BottleneckConfig, peft_config)
        known = isinstance(target, BottleneckLayer)
        layer = target if known else BottleneckLayer(target, current_key)
        first = getattr(parent, FIRST_OF_MLP.get(target_name, ""), None)
        layer.update_layer(
            adapter_name, config, holder=self._holder(adapter_name), table=_table(self.model)
        )
        if not known:
            self._replace_module(parent, target_name, layer, target)
        if layer.place == "across" and first is not None:
            layer.read_at(first)
        if layer.place == "coupled":
            _uncouple_head(self.model, layer)

    def _holder(self, adapter_name: str) -> BottleneckLayer | None:
        """Give the layer that holds the shared rule of an adapter, which is its first one."""
        layers = layers_of(self.model)
        return next((layer for layer in layers if adapter_name in layer.bottleneck_rule), None)

    def _replace_module(
        self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module
    ) -> None:
        if isinstance(child, BottleneckLayer):
            child.release()
        super()._replace_module(parent, child_name, new_module, child)

    def _prepare_adapter_config(
        self, peft_config: PeftConfig, model_config: dict[str, Any]
    ) -> PeftConfig:
        config = cast(BottleneckConfig, super()._prepare_adapter_config(peft_config, model_config))
        names = [name.replace(INSIDE, "") for name, _ in self.model.named_modules()]
        reach = BaseTuner._check_target_module_exists  # noqa: SLF001
        left_out = config.leave_out or ()
        check_labels("leave_out", left_out, names)
        left = [n for n in names if n and reach(config, n) and not is_among(n, left_out)]
        if isinstance(config.reduction, dict):
            check_labels("reduction", config.reduction, left)
        if config.invertible is not None and all(map(block_of, left)):
            raise PlanError(
                "invertible: has no effect, no target module lies outside of the layers; add the "
                "embeddings to the targets, or leave it out"
            )
        return config

    def _check_new_adapter_config(self, config: PeftConfig) -> None:
        super()._check_new_adapter_config(config)
        held = {
            name: layer
            for name, layer in self.model.named_modules()
            if isinstance(layer, BottleneckLayer) and layer.configs
        }
        new = cast(BottleneckConfig, config)
        if not held or new.target_modules is None:
            return
        for key, module in self.model.named_modules():
            plain = key.replace(INSIDE, "")
            if key and self._check_target_module_exists(new, plain):
                _check_together(key, plain, new, held, module)


def layers_of(model: nn.Module) -> Iterator[BottleneckLayer]:
    """Yield the wrapped modules of a model, in its order."""
    return (module for module in model.modules() if isinstance(module, BottleneckLayer))


def _table(model: nn.Module) -> nn.Module | None:
    """Give the word embeddings of a model of transformers, unwrapped."""
    table = cast(Any, model).get_input_embeddings() if _is_pretrained(model) else None
    return table.get_base_layer() if isinstance(table, BottleneckLayer) else table


def _is_pretrained(model: nn.Module) -> bool:
    return hasattr(model, "get_input_embeddings") and hasattr(model, "get_output_embeddings")


def uncouple_head(model: nn.Module) -> None:
    """Undo the coupling of `model`'s embeddings before its output head, where it has both.

    PEFT's own entries do this by themselves where they are given the model with its head. One who
    puts an adapter on the trunk of such a model calls it for the whole. A second call changes
    nothing.
    """
    for layer in layers_of(model):
        if layer.place == "coupled":
            _uncouple_head(model, layer)


def _uncouple_head(model: nn.Module, layer: BottleneckLayer) -> None:
    head = cast(Any, model).get_output_embeddings() if _is_pretrained(model) else None
    if head is None or isinstance(head, UncoupledHead):
        return
    name = next(name for name, module in model.named_modules() if module is head)
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, UncoupledHead(head, layer.uncoupled))


def _check_together(
    key: str,
    plain: str,
    new: BottleneckConfig,
    held: dict[str, BottleneckLayer],
    module: nn.Module,
) -> None:
    """Refuse a module inside of one that another adapter wraps or around one, or wrapped otherwise.

    Args:
        key, plain: its name in the model, and without the wrappers around it.
        new: config of the adapter that would wrap it.
        held: the wrapped modules by name.
        module: the module.
    """
    if key in held:
        clash = place_of(held[key].get_base_layer(), new, plain) != held[key].place
    else:
        inside = key.startswith(tuple(f"{name}{INSIDE}." for name in held))
        clash = inside or any(name.startswith(f"{key}.") for name in held)
    if clash:
        raise PlanError(
            f"bottleneck: an adapter on this model is placed otherwise around {plain} "
            f"({type(module).__name__}); load each of the two into a model of its own"
        )


enter(BottleneckType.BOTTLENECK, BottleneckConfig, BottleneckModel)
