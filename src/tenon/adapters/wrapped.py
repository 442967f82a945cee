"""Wrapped: the modules of a model that adapters are around, and the base's own in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from tenon.adapters.fusion_layer import PARTS
from tenon.adapters.transparent import Transparent
from tenon.core.errors import PlanError

INSIDE = ".base_layer"
"""What stands in a module's name for each layer around it."""
MARK = "peft_config"
"""What PEFT leaves on a model, and takes for the sign of an adapter that is still there."""


def adapted(model: nn.Module) -> dict[str, BaseTunerLayer]:
    """Give the layers that PEFT has put into a model, by the base's names of what they wrap.

    The layers of a fusion's parts are within its own and are not given.
    """
    found: dict[str, BaseTunerLayer] = {}
    parts: tuple[str, ...] = ()
    for path, module in model.named_modules():
        if isinstance(module, BaseTunerLayer) and not path.startswith(parts):
            found[path.replace(INSIDE, "")] = module
            parts += (f"{path}.{PARTS}.",)
    return found


def base_of(layer: nn.Module) -> nn.Module:
    """Give what a layer is around.

    Raises:
        PlanError: no module.
    """
    base = getattr(layer, "base_layer", None)
    if not isinstance(base, nn.Module):
        raise PlanError(f"{type(layer).__name__}: wraps no module of the base; it cannot be routed")
    return base


def bare(module: nn.Module) -> nn.Module:
    """Give the base's own module inside of what is put around it."""
    while isinstance(module, Transparent | BaseTunerLayer):
        module = base_of(module)
    return module


def place(model: nn.Module, modules: Mapping[str, nn.Module]) -> None:
    """Put modules in their places, by the base's names, whatever stands around those now.

    Inner places come first, as their parents may be replaced.
    """
    for path in sorted(modules, key=lambda path: -path.count(".")):
        parent, _, name = path.rpartition(".")
        setattr(_original(model, parent), name, modules[path])


def standing(model: nn.Module, path: str) -> nn.Module:
    """Give what stands in the place of a module now: it, or what is around it."""
    parent, _, name = path.rpartition(".")
    return cast(nn.Module, getattr(_original(model, parent), name))


def _original(model: nn.Module, path: str) -> nn.Module:
    """Give the base's own module of a name, whatever stands around it now."""
    module = model
    for name in path.split(".") if path else ():
        module = getattr(bare(module), name)
    return bare(module)
