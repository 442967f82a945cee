"""Passes: forward and backward passes over micro-batches, replayed as CUDA graphs if possible.

A step over a small base asks for thousands of kernels, which takes the host longer than the device
takes to compute them. A micro-batch is therefore laid out in one of few sizes
(`tenon.model.layout`), whose passes are recorded (`tenon.train.recorded`). Gradients are added in a
place of their own. What cannot be recorded is computed as ever, and `why` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from tenon.adapters.rounded import Rounded, rounded
from tenon.model.compiled import FAST
from tenon.model.entry import blocks
from tenon.model.layout import layout_of, unsized
from tenon.model.margined import Margins, margins_of
from tenon.model.model import Model
from tenon.model.packing import VARLEN
from tenon.model.recompute import recomputes
from tenon.model.route import random_state
from tenon.model.trunk import Trunk
from tenon.text.batch import Batch
from tenon.train.recorded import ROOM, Kept, Recorded

HALVES = (torch.bfloat16, torch.float16)
DRAWN = "what its dropout draws would be drawn anew where states are computed again"
Backward = Callable[[Tensor], None]


def unrecordable(trunk: Trunk, *, writes: bool) -> str:
    """Say why passes over a trunk cannot be recorded; empty where they may be.

    Args:
        writes: whether the base writes, or a head reads its rows.
    """
    if trunk.device.type != "cuda":
        return "they are for CUDA"
    if VARLEN is None or trunk.model.dtype not in HALVES:
        return "rows attend in groups of their lengths"
    return unsized(trunk, writes=writes)


class Passes:
    """Passes of one model.

    Args:
        model: its adapter is trained.
        parameters: those that are trained, by name.
        why: why nothing is to be recorded; empty where it may be.
        sizes: lay batches out in sizes even where nothing is recorded.
    """

    def __init__(
        self,
        model: Model,
        parameters: Mapping[str, nn.Parameter],
        why: str = "",
        *,
        sizes: bool = False,
    ) -> None:
        self.model, self.parameters = model, list(parameters.values())
        self._recorded = Recorded(model.trunk.device, why or self._unfit())
        self.sizes = sizes or not self.why
        self._flat: Tensor | None = None
        self._slots: list[tuple[nn.Parameter, Tensor]] = []
        self._graded: set[int] = set()
        self._layout = layout_of(model)
        self._rounded: Rounded | Margins | None = None

    def _unfit(self) -> str:
        if any(each.dtype != torch.float32 for each in self.parameters):
            return "what is trained is not in float32"
        return unrecordable(self.model.trunk, writes=self.model.head is None)

    @property
    def why(self) -> str:
        """Why nothing is recorded; empty where it may be."""
        return self._recorded.why

    @property
    def recorded(self) -> int:
        """Sizes whose passes were recorded."""
        return self._recorded.recorded

    @property
    def replayed(self) -> int:
        """Passes that were replayed."""
        return self._recorded.replayed

    @property
    def computed(self) -> int:
        """Passes over sizes that were not."""
        return self._recorded.computed

    @property
    def filling(self) -> int:
        """Tokens of filling so far."""
        return self._recorded.filling

    @property
    def bytes(self) -> int:
        """Bytes of the device that what is recorded computes in."""
        return self._recorded.bytes

    @property
    def notes(self) -> list[str]:
        """Say what was replayed, in sentences."""
        return self._recorded.notes

    def make_room(self, least: float = ROOM) -> None:
        """Let go of what is recorded where the device has little left; see `Recorded`."""
        self._recorded.make_room(least)

    def passed(self, batch: Batch, targets: int, backward: Backward) -> Tensor:
        """Add the gradients of a micro-batch; give its loss.

        Args:
            batch: on the host.
            targets: of the whole step; its loss is divided by them.
            backward: computes the gradients of a loss.
        """
        if not self.sizes or batch.below is not None:
            loss = self.model.nats(batch) / targets
            backward(loss)
            return loss.detach()
        size, layout = self._recorded.size(batch), self._layout
        device, why = self.model.trunk.device, self.why
        kept = self._recorded.kept(
            size,
            batch.tokens,
            lambda: Kept(layout.room(size, batch), torch.zeros((), device=device)),
        )
        kept.laid.fill(batch, targets)
        first = random_state(device) if not (self.computed or why) else None
        loss = self._recorded.run(
            kept, lambda: self._compute(kept, backward), self._gather, self._rounding
        )
        if first is not None and recomputes(self.model.trunk):
            self._recorded.why = "" if torch.equal(first, random_state(device)) else DRAWN
        if self.why != why:
            self.sizes = False
        return loss

    def _compute(self, kept: Kept, backward: Backward) -> None:
        loss = self._layout.loss(kept.laid)
        backward(loss)
        kept.loss.copy_(loss.detach())
        if self._flat is None:
            self._graded |= {n for n, p in enumerate(self.parameters) if p.grad is not None}

    def _rounding(self) -> AbstractContextManager[None]:
        """Round thin matrices once for a pass, where there are any."""
        if self._rounded is None or self._flat is None:
            return nullcontext()
        count = sum(each.numel() for each in self._rounded.trained)
        return self._rounded.within(self._flat[:count])

    def _hold(self) -> None:
        """Make room for the gradients of what has had one; what has none is left without."""
        if self._flat is not None:
            return
        graded = [self.parameters[n] for n in sorted(self._graded)]
        model = self.model.trunk.model
        if FAST not in vars(model):  # compiled blocks would have to be compiled anew
            found = blocks(model)
            self._rounded = margins_of(model, found, graded) or rounded(model, graded, model.dtype)
        first = [] if self._rounded is None else self._rounded.trained
        there = {id(each) for each in first}
        graded = [*first, *(each for each in graded if id(each) not in there)]
        sizes = [each.numel() for each in graded]
        self._flat = torch.zeros(sum(sizes), device=graded[0].device)
        pairs = zip(graded, self._flat.split(sizes), strict=True)
        self._slots = [(each, part.view_as(each)) for each, part in pairs]

    def _gather(self) -> None:
        """Let gradients be added in their own memory."""
        self._hold()
        assert self._flat is not None  # noqa: S101 - it is held
        if all(each.grad is None for each, _ in self._slots):
            self._flat.zero_()
        for each, slot in self._slots:
            if each.grad is not slot:
                if each.grad is not None:
                    slot.copy_(each.grad)
                each.grad = slot
