"""Model: what the loop and the predictors ask of a trunk with an adapter and a head."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, Self

from peft import PeftModel
from torch import Tensor, nn

from tenon.model.head import Head
from tenon.model.trunk import Trunk
from tenon.text.batch import Batch


class Model(Protocol):
    """A trunk with an adapter and the head of a task; an `nn.Module`.

    Args:
        trunk: the base; its parameters are frozen.
    """

    trunk: Trunk

    @property
    def head(self) -> Head | None:
        """What is read to scores; None where that is the base's own."""
        ...

    @property
    def peft(self) -> PeftModel | None:
        """The PEFT model, or None for the bare base."""
        ...

    def nats(self, batch: Batch) -> Tensor:
        """Give the summed loss of a batch's targets."""
        ...

    def nats_from(self, hidden_TD: Tensor, batch: Batch) -> Tensor:
        """Give the same loss from the trunk's hidden states of the batch.

        Args:
            hidden_TD: of every real token, row after row.
            batch: on any device.
        """
        ...

    def targets(self, batch: Batch) -> int:
        """Give how many targets a batch has: what the loss is the sum of."""
        ...

    def trainable(self) -> dict[str, nn.Parameter]:
        """Give the parameters that training changes, by name, in the model's order."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """As of `nn.Module`."""
        ...

    def modules(self) -> Iterator[nn.Module]:
        """As of `nn.Module`."""
        ...

    def train(self, mode: bool = True) -> Any:  # noqa: FBT001, FBT002 - torch's signature
        """As of `nn.Module`."""
        ...

    def eval(self) -> Self:
        """As of `nn.Module`."""
        ...
