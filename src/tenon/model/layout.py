"""Layout: how micro-batches of a model are laid out in few sizes, as recorded passes need it."""

from __future__ import annotations

from typing import Any, Protocol, cast

from torch import Tensor

from tenon.model.laid_rows import LaidRows, unfit_rows
from tenon.model.model import Model
from tenon.model.sized import Laid, Size, sized_nats, unfit
from tenon.model.trunk import Trunk
from tenon.model.writer import Writer
from tenon.text.batch import Batch


class Layout(Protocol):
    """How micro-batches are laid out."""

    def room(self, size: Size, batch: Batch) -> Any:
        """Give memory for batches of a size, whose `fill` takes one and its divisor.

        Args:
            size: of the batch.
            batch: the first of them.
        """
        ...

    def loss(self, laid: Any) -> Tensor:
        """Give the loss of what is laid out, summed and divided."""
        ...


class Written:
    """Layout of a decoder that writes: at the places that are learned.

    Args:
        trunk: of the decoder.
    """

    def __init__(self, trunk: Trunk) -> None:
        self.trunk = trunk

    def room(self, size: Size, batch: Batch) -> Laid:
        """Give memory for batches of a size."""
        del batch
        return Laid(size, self.trunk.device)

    def loss(self, laid: Laid) -> Tensor:
        """Give the cross-entropy of what is laid out, weighed, summed and divided."""
        return sized_nats(self.trunk, laid)


class Headed(Protocol):
    """A model with a head that reads rows."""

    def room(self, size: Size, batch: Batch) -> LaidRows:
        """Give memory for micro-batches of a size."""
        ...

    def laid_nats(self, laid: LaidRows) -> Tensor:
        """Give the summed loss of what is laid out."""
        ...


class Read:
    """Layout of rows that a head reads.

    Args:
        model: with the head.
    """

    def __init__(self, model: Headed) -> None:
        self.model = model

    def room(self, size: Size, batch: Batch) -> LaidRows:
        """Give memory for batches of a size."""
        return self.model.room(size, batch)

    def loss(self, laid: LaidRows) -> Tensor:
        """Give the loss of the rows with targets of what is laid out, summed and divided."""
        return self.model.laid_nats(laid) / laid.divisor


def layout_of(model: Model) -> Layout:
    """Give how the micro-batches of a model are laid out."""
    return Written(model.trunk) if isinstance(model, Writer) else Read(cast(Headed, model))


def unsized(trunk: Trunk, *, writes: bool) -> str:
    """Say why micro-batches cannot be laid out in sizes; empty where they can.

    Args:
        trunk: of the base.
        writes: whether it writes, or a head reads its rows.
    """
    return unfit(trunk) if writes else unfit_rows(trunk)
