"""Coupling: an invertible network behind the embeddings, undone before the output head.

    first' = first + F(second),    second' = second + G(first')

F and G are bottlenecks; whatever they compute, the inverse is exact but for rounding.

Source: Dinh et al. 2015, NICE (arXiv:1410.8516); Pfeiffer et al. 2020, MAD-X (arXiv:2005.00052).
Legend: D hidden, E = D // 2, F = D - E; dimensions before them are free.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from torch.nn import functional

Undo = Callable[[torch.Tensor], torch.Tensor]


class Coupling(nn.Module):
    """An invertible map of D units onto D units.

    Its tensors lie side by side, since PEFT takes the adapter's name out of `NAME.tensor` only.

    Args:
        hidden: D, at least 2.
        reduction: units of the half that a network reads / units of its bottleneck.
        activation: makes what stands between the two matrices of a network.
    """

    def __init__(self, hidden: int, reduction: float, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.split = hidden // 2
        self.activation = activation()
        rest = hidden - self.split
        for name, inputs, outputs in (("first", rest, self.split), ("second", self.split, rest)):
            width = max(1, int(inputs // reduction))
            for part, linear in (
                ("down", nn.Linear(inputs, width)),
                ("up", nn.Linear(width, outputs)),
            ):
                self.register_parameter(f"{name}_{part}", nn.Parameter(linear.weight))
                self.register_parameter(f"{name}_{part}_bias", nn.Parameter(linear.bias))

    def forward(self, hidden_D: torch.Tensor) -> torch.Tensor:
        """Give [..., D] from [..., D]."""
        first_E, second_F = self._halves(hidden_D)
        first_E = first_E + self._network("first", second_F)
        return torch.cat((first_E, second_F + self._network("second", first_E)), dim=-1)

    def inverse(self, hidden_D: torch.Tensor) -> torch.Tensor:
        """Give what `forward` made `hidden_D` of."""
        first_E, second_F = self._halves(hidden_D)
        second_F = second_F - self._network("second", first_E)
        return torch.cat((first_E - self._network("first", second_F), second_F), dim=-1)

    def _halves(self, hidden_D: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return hidden_D[..., : self.split], hidden_D[..., self.split :]

    def _network(self, name: str, half: torch.Tensor) -> torch.Tensor:
        for part in ("down", "up"):
            weight, bias = self.linear(name, part)
            half = functional.linear(half, weight, bias)
            half = self.activation(half) if part == "down" else half
        return half

    def linear(self, name: str, part: str) -> tuple[nn.Parameter, nn.Parameter]:
        """Give weight and bias of a layer: of network "first" or "second", part "down" or "up"."""
        return (
            self.get_parameter(f"{name}_{part}"),
            self.get_parameter(f"{name}_{part}_bias"),
        )


class UncoupledHead(nn.Module, BaseTunerLayer):
    """The base's output head, whose input first goes back through the coupling.

    It holds no weights of its own; switching and deleting adapters is the coupled layer's matter.

    Args:
        base_layer: the head.
        undo: takes hidden states [..., D] back; a method of the coupled layer.
    """

    adapter_layer_names = ()
    other_param_names = ()

    def __init__(self, base_layer: nn.Module, undo: Undo) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.undo = undo
        self.merged_adapters = []

    def forward(self, hidden_D: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Run the head on hidden states as they were before the coupling."""
        return self.base_layer(self.undo(hidden_D), *args, **kwargs)
