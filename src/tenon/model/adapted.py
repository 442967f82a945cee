"""Adapted: a frozen trunk with an adapter, on which the models of all tasks are built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from tenon.model.trunk import Trunk


class Adapted(nn.Module):
    """A trunk with an adapter.

    In training mode the frozen trunk runs without its own dropout unless `trunk_dropout` is set;
    adapters keep theirs.

    Args:
        trunk: the base; its parameters are frozen.
        peft: the PEFT model around the trunk's modules, or None for the bare base.
        trunk_dropout: keep the trunk's own dropout on in training mode.
    """

    def __init__(
        self, trunk: Trunk, peft: PeftModel | None, *, trunk_dropout: bool = False
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.base: nn.Module = peft if peft is not None else trunk.model
        self.trunk_dropout = trunk_dropout

    @property
    def peft(self) -> PeftModel | None:
        """The PEFT model, or None for the bare base."""
        return self.base if isinstance(self.base, PeftModel) else None

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - torch's signature
        """Set the mode; the trunk's own modules stay in evaluation mode, their dropout off."""
        super().train(mode)
        if mode and not self.trunk_dropout:
            _quieten(self.base)
        return self

    def trainable(self) -> dict[str, nn.Parameter]:
        """Give the parameters that training changes, by name, in the model's order."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}


def _quieten(base: nn.Module) -> None:
    """Put the trunk's own modules into evaluation mode, their dropout off; adapters keep theirs."""
    adapters = adapter_modules(base)
    for module in base.modules():
        module.training = module in adapters


def adapter_modules(base: nn.Module) -> set[nn.Module]:
    """Give the adapters' own layers and dropout, all inside them, and what wraps the base's."""
    found: set[nn.Module] = set()
    still = {inner for module in base.modules() for inner in _still(module)}
    for module in base.modules():
        names: tuple[str, ...] = getattr(module, "adapter_layer_names", ())
        others: tuple[str, ...] = getattr(module, "other_param_names", ())
        if names:
            # PVeRA and some dropouts ask for the mode of the wrapper itself.
            found.add(module)
        for name in (*names, *others):
            part = getattr(module, name, None)
            if isinstance(part, nn.Module):
                found.update(part.modules())
    return found - still


def _still(module: nn.Module) -> Iterator[nn.Module]:
    """Give what a fusion holds of other adapters, which are not trained with it."""
    held = getattr(module, "still", None) if isinstance(module, BaseTunerLayer) else None
    return held.modules() if isinstance(held, nn.Module) else iter(())
