"""Passes: forward and backward passes over micro-batches, replayed as CUDA graphs if possible.

A step over a small base asks for thousands of kernels, which takes the host longer than the device
takes to compute them. A decoder's micro-batch is therefore laid out in one of few sizes
(`tenon.model.sized`); what a pass of a size asks for is recorded when it is met, and from then on
asked for at once. All passes but the first are recorded, as one that is computed beside those
takes memory of its own; recorded ones share theirs. Gradients are added in a place of their own.
What cannot be recorded is computed as ever, and `why` says so.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tenon.adapters.rounded import Rounded, rounded
from tenon.model.compiled import FAST
from tenon.model.entry import blocks
from tenon.model.margined import Margins, margins_of
from tenon.model.model import Model
from tenon.model.packing import VARLEN
from tenon.model.sized import Laid, Size, size_of, sized_nats, unfit
from tenon.model.trunk import Trunk
from tenon.model.writer import Writer
from tenon.text.batch import Batch

MOST = 64
"""Sizes whose passes are kept; of more, that goes which was met longest ago."""
TOO_MANY = 4 * MOST
"""Recordings after which each must have been replayed a few times, or nothing more is recorded."""
FEW = 4
HALVES = (torch.bfloat16, torch.float16)
ROOM = 0.25
"""Share of a device's memory that is free when the model is evaluated; else graphs let go of it."""
Backward = Callable[[Tensor], None]


@dataclass(eq=False)
class Kept:
    """A size with what was recorded of its pass.

    Args:
        laid: its memory.
        loss: of the last pass.
        graph: what was recorded; None where it was not.
    """

    laid: Laid
    loss: Tensor
    graph: Any = None


def unrecordable(trunk: Trunk, *, writes: bool) -> str:
    """Say why passes over a trunk cannot be recorded; empty where they may be.

    Args:
        writes: whether what is trained is a decoder that writes.
    """
    if trunk.device.type != "cuda":
        return "they are for CUDA"
    if not writes:
        return "they are for decoders that write"
    if VARLEN is None or trunk.model.dtype not in HALVES:
        return "rows attend in groups of their lengths"
    return unfit(trunk)


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
        self.recorded = self.replayed = self.computed = self.filling = self.tokens = 0
        self.why = why or self._unfit()
        self.sizes = sizes or not self.why
        self._kept: OrderedDict[Size, Kept] = OrderedDict()
        self._memory: Any = None
        self._flat: Tensor | None = None
        self._slots: list[tuple[nn.Parameter, Tensor]] = []
        self._graded: set[int] = set()
        self._eighths = 1
        self._most = 0
        self._rounded: Rounded | Margins | None = None

    def _unfit(self) -> str:
        if any(each.dtype != torch.float32 for each in self.parameters):
            return "what is trained is not in float32"
        return unrecordable(self.model.trunk, writes=isinstance(self.model, Writer))

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
        # Where more of a batch is learned than ever before, later ones have room for as much, so
        # that there are few sizes.
        size = size_of(batch, self._eighths)
        self._eighths = size.eighths
        kept = self._kept.get(size)
        if size.tokens > self._most:
            # Smaller sizes find room in the memory of a larger one, but not the other way.
            self._forget()
            self._most = size.tokens
        if kept is None:
            device = self.model.trunk.device
            kept = self._kept[size] = Kept(Laid(size, device), torch.zeros((), device=device))
        self._kept.move_to_end(size)
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)
        self.filling += size.tokens - batch.tokens
        self.tokens += size.tokens
        kept.laid.fill(batch, targets)
        return self._run(kept, backward)

    def _run(self, kept: Kept, backward: Backward) -> Tensor:
        if kept.graph is None and self.computed and not self.why:
            self._record(kept, backward)
        if kept.graph is None:
            self._compute(kept, backward)
            self.computed += 1
            self._graded |= {n for n, p in enumerate(self.parameters) if p.grad is not None}
        else:
            self._gather()
            kept.graph.replay()
            self.replayed += 1
        return kept.loss.clone()

    def _compute(self, kept: Kept, backward: Backward) -> None:
        loss = sized_nats(self.model.trunk, kept.laid)
        backward(loss)
        kept.loss.copy_(loss.detach())

    def _record(self, kept: Kept, backward: Backward) -> None:
        """Record the pass of a size; one has been computed, so that what all need is there."""
        if self.recorded >= TOO_MANY and self.replayed < FEW * self.recorded:
            self.why, self.sizes = "its micro-batches are of too many sizes", False
            self._forget()
            return
        self._memory = self._memory or torch.cuda.graph_pool_handle()
        self._hold()
        self._gather()
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may use the device meanwhile.
            with (
                torch.cuda.graph(graph, self._memory, capture_error_mode="thread_local"),
                self._rounding(),
            ):
                self._compute(kept, backward)
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            self.why = f"a pass cannot be recorded ({type(error).__name__}: {str(error)[:200]})"
            self.sizes = False
            # What was recorded holds memory, of which there may be too little.
            self._forget()
            return
        kept.graph = graph
        self.recorded += 1

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
        assert self._flat is not None  # noqa: S101 - what is recorded holds it
        if all(each.grad is None for each, _ in self._slots):
            self._flat.zero_()
        for each, slot in self._slots:
            if each.grad is not slot:
                if each.grad is not None:
                    slot.copy_(each.grad)
                each.grad = slot

    def make_room(self, least: float = ROOM) -> None:
        """Let go of what is recorded where the device has little left for other work.

        Args:
            least: share of its memory that is to be free.
        """
        if self._memory is None:
            return
        free, whole = torch.cuda.mem_get_info(self.model.trunk.device)
        if free < least * whole:
            self._forget()

    def _forget(self) -> None:
        """Let go of all that is recorded, and give its memory back."""
        self._kept.clear()
        held, self._memory = self._memory, None
        if held is not None:
            torch.cuda.empty_cache()

    @property
    def bytes(self) -> int:
        """Bytes of the device that what is recorded computes in."""
        if self._memory is None:
            return 0
        segments: list[Any] = torch.cuda.memory_snapshot()
        return sum(s["total_size"] for s in segments if s["segment_pool_id"] == self._memory)

    @property
    def notes(self) -> list[str]:
        """Say what was replayed, in sentences."""
        if self.replayed:
            share = self.filling / max(1, self.tokens)
            return [
                f"CUDA graphs: {self.replayed:,} of {self.replayed + self.computed:,} passes were "
                f"replayed, {self.recorded} sizes recorded, {share:.1%} of the tokens are filling"
            ]
        cuda = self.model.trunk.device.type == "cuda"
        return [f"CUDA graphs: none, {self.why}"] if cuda and self.why else []
