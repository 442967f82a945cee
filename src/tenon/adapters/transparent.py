"""Transparent: a module around another one, which gives what the other has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn


class Transparent(nn.Module):
    """A module around another one.

    Args:
        base_layer: the other one.
    """

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer

    def __getattr__(self, name: str) -> Any:
        """Give what the module inside has: some bases read a weight or a size of their modules."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base_layer"), name)


def uncompiled(compute: Callable[..., Any]) -> Callable[..., Any]:
    """Keep out of a compiled graph what changes from call to call: whose rows these are."""
    if not torch.compiler.is_compiling():  # to disable a function takes longer than many a layer
        return compute
    return cast("Callable[..., Any]", torch.compiler.disable(compute))
