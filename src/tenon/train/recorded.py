"""Recorded: passes of few sizes as CUDA graphs that share their memory.

What a pass of a size asks of the device is recorded when the size is met, and from then on asked
for at once. All passes but the first are recorded, as one that is computed beside those takes
memory of its own. What cannot be recorded is computed as ever, and `why` says so.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tenon.model.proving import faults
from tenon.model.sized import Size, grown_size_of, rounded, size_of
from tenon.text.batch import Batch

MOST = 64
"""Sizes whose passes are kept; of more, that goes which was met longest ago."""
TOO_MANY = 4 * MOST
"""Recordings after which each must have been replayed a few times, or nothing more is recorded."""
FEW = 4
COARSE = 4
"""Sizes between a number and its double, of those that are met seldom."""
WORTH = 1 << 13
"""Tokens of filling that take about as long as to record a size."""
ROOM = 0.25
"""Share of a device's memory that is free when the model is evaluated; else graphs let go of it."""


@dataclass(eq=False)
class Kept:
    """A size with what was recorded of its pass.

    Args:
        laid: memory of what the pass reads.
        loss: of the last pass; of several adapters, that of each.
        graph: what was recorded; None where it was not.
    """

    laid: Any
    loss: Tensor
    graph: Any = None


class Recorded:
    """What is recorded of one model's passes.

    Args:
        device: that computes them.
        why: why nothing is to be recorded; empty where it may be.
    """

    def __init__(self, device: torch.device, why: str) -> None:
        self.device, self.why = device, why
        self.recorded = self.replayed = self.computed = self.filling = self.tokens = 0
        self._kept: OrderedDict[Size, Kept] = OrderedDict()
        self._memory: Any = None
        self._most, self._eighths = 0, 1
        self._wasted: Counter[Size] = Counter()

    def size(self, batch: Batch) -> Size:
        """Give the size for a batch, with regard to those before, so that few are recorded.

        Where more of a batch is learned than ever before, later ones have room for as much. A batch
        of more tokens than all before has room for a few more, as what was recorded of smaller ones
        is let go of. Others are laid out in coarse sizes, until filling has taken as long as to
        record a size of their own.
        """
        size = size_of(batch, self._eighths)
        if size.tokens > self._most:
            size = grown_size_of(batch, self._eighths)
        elif size not in self._kept:
            least = min(self._most, rounded(size.tokens, COARSE))
            coarse = size_of(batch, self._eighths, least)
            self._wasted[size] += coarse.tokens - size.tokens
            size = coarse if self._wasted[size] <= WORTH else size
        self._eighths = size.eighths
        return size

    def kept(self, size: Size, real: int, make: Callable[[], Kept]) -> Kept:
        """Give what is kept of a size.

        Args:
            size: of a batch.
            real: its tokens without filling.
            make: gives memory for it, where it has not been met.
        """
        if size.tokens > self._most:
            # Smaller sizes find room in the memory of a larger one, but not the other way.
            self.forget()
            self._most = size.tokens
        if size not in self._kept:
            self._kept[size] = make()
        self._kept.move_to_end(size)
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)
        self.filling += size.tokens - real
        self.tokens += size.tokens
        return self._kept[size]

    def run(
        self,
        kept: Kept,
        compute: Callable[[], None],
        ready: Callable[[], None],
        around: Callable[[], AbstractContextManager[None]],
    ) -> Tensor:
        """Take a pass over what is laid out; give its loss.

        Args:
            kept: of the size.
            compute: adds the gradients of what is laid out, and writes its loss.
            ready: lets gradients be added where a recorded pass adds them.
            around: entered where a pass is recorded.
        """
        if kept.graph is None and self.computed and not self.why:
            self._record(kept, compute, ready, around)
        if kept.graph is None:
            compute()
            self.computed += 1
        else:
            ready()
            kept.graph.replay()
            self.replayed += 1
        return kept.loss.clone()

    def _record(
        self,
        kept: Kept,
        compute: Callable[[], None],
        ready: Callable[[], None],
        around: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """Record the pass of a size; one has been computed, so that what all need is there."""
        if self.recorded >= TOO_MANY and self.replayed < FEW * self.recorded:
            self.why = "its micro-batches are of too many sizes"
            self.forget()
            return
        self._memory = self._memory or torch.cuda.graph_pool_handle()
        ready()
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may use the device meanwhile.
            with (
                torch.cuda.graph(graph, self._memory, capture_error_mode="thread_local"),
                around(),
            ):
                compute()
        except (*faults(), KeyError) as error:
            self.why = f"a pass cannot be recorded ({type(error).__name__}: {str(error)[:200]})"
            # What was recorded holds memory, of which there may be too little.
            self.forget()
            return
        kept.graph = graph
        self.recorded += 1

    def make_room(self, least: float = ROOM) -> None:
        """Let go of what is recorded where the device has little left for other work.

        Args:
            least: share of its memory that is to be free.
        """
        if self._memory is None:
            return
        free, whole = torch.cuda.mem_get_info(self.device)
        if free < least * whole:
            self.forget()

    def forget(self) -> None:
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
        cuda = self.device.type == "cuda"
        return [f"CUDA graphs: none, {self.why}"] if cuda and self.why else []
