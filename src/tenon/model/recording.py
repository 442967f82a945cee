"""Recording: passes over grids, which CUDA replays without the host taking part in each operation.

A pass of small products over many layers takes the host far longer to ask for than the device to
compute. A grid that is met again is therefore recorded as a CUDA graph, and from then on replayed:
its rows, their slots, cells and lengths are numbers in the grid's own memory. Where a base cannot
be recorded, passes over grids are computed as others are, and `why` says so.

Legend: R rows, Q new tokens of each, D hidden, V tokens of the vocabulary.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tenon.model import trunk as trunks
from tenon.model.attending import attention
from tenon.model.cached import ATTENTION
from tenon.model.cells import Cells
from tenon.model.continuing import continued_TD
from tenon.model.grid import Entry, Grid, Shape
from tenon.model.proving import faults
from tenon.model.rack import Rack
from tenon.model.route import Route, Segment
from tenon.model.slots import Pool
from tenon.model.slotted import Every

MOST_KEPT = 64
"""Grids that are kept; of more, that goes which was met longest ago."""
MOST_POOLS = 4
"""Pools whose slots all rows of a grid go through."""
Inside = Callable[[], AbstractContextManager[object]]


@dataclass(eq=False)
class Kept:
    """A grid with what was recorded of its pass.

    Args:
        grid: it.
        stamps: of the pools, when it was made.
        runs: how often it was computed.
        graph: what was recorded; None before the second time.
        outputs: of the graph.
    """

    grid: Grid
    stamps: tuple[object, ...]
    runs: int = 0
    graph: Any = None
    outputs: tuple[Tensor, Tensor] | None = None

    @property
    def valid(self) -> bool:
        """Whether the pools lie where they lay."""
        return self.stamps == tuple(pool.stamp for pool in self.grid.pools)


@dataclass(eq=False)
class Outcome:
    """What a pass over a grid gives; it may still be computed.

    Args:
        kept: the pass's grid.
        logits_RV: scores of the token that follows each row, until the next pass is launched.
        told_2R: float64 on the host: the likeliest token of each row, and its score.
        done: when `told_2R` is there; None where it is.
    """

    kept: Kept
    logits_RV: Tensor
    told_2R: Tensor
    done: Any = None

    def wait(self) -> list[int | None]:
        """Give the likeliest token of each row; None where its scores are not finite."""
        if self.done is not None:
            self.done.synchronize()
        ids, best = self.told_2R.tolist()
        return [
            int(token) if math.isfinite(most) else None
            for token, most in zip(ids, best, strict=True)
        ]


class Recordings:
    """Passes over grids of one base. One thread alone may use them.

    Args:
        rack: the base, with adapters in slots.
        cells: in which rows lie.
        inside: puts the adapters of the rack in for a pass.
        recording: whether to record at all; on CUDA alone.
    """

    def __init__(self, rack: Rack, cells: Cells, inside: Inside, *, recording: bool = True) -> None:
        self.rack, self.cells, self.inside = rack, cells, inside
        self.recorded = self.replayed = self.computed = 0
        self.why = "" if recording and rack.trunk.device.type == "cuda" else "it is not asked for"
        self._kept: OrderedDict[tuple[Shape, tuple[Pool, ...]], Kept] = OrderedDict()
        self._memory: Any = None
        self._positions = trunks.positions(rack.trunk)

    def pools(self, owners: Sequence[str | None]) -> tuple[Pool, ...] | None:
        """Give the pools through which rows of these adapters go; None where they cannot.

        They are all pools or none, so that few grids are made.
        """
        held = self.rack.slots.held
        if all(owner is None for owner in owners):
            return ()
        found = tuple(pool for pool in self.rack.slots.pools.values() if pool.numbers)
        # What stands around a module computes it anew, for rows of other pools as well.
        around = any(place == "around" for pool in found for place in pool.places.values())
        if len(found) > (1 if around else MOST_POOLS):
            return None
        return found if all(owner is None or owner in held for owner in owners) else None

    def launch(self, shape: Shape, entries: Sequence[Entry], pools: tuple[Pool, ...]) -> Outcome:
        """Compute a pass over rows; at least one.

        Args:
            shape: in which they have room.
            pools: as `pools` gives them.
        """
        key = (shape, pools)
        kept = self._kept.get(key)
        if kept is None or not kept.valid:
            trunk = self.rack.trunk
            grid = Grid(shape, self.cells, pools, trunk.device, self._positions)
            kept = self._kept[key] = Kept(grid, tuple(pool.stamp for pool in pools))
        self._kept.move_to_end(key)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        kept.grid.fill(entries)
        return self._run(kept)

    def again(self, outcome: Outcome) -> Outcome:
        """Compute the same rows' next token, where each goes on with its likeliest one.

        The pass before need not be done; its grid is valid, holds the same rows still, and has room
        for the next place of every one.
        """
        return self._run(outcome.kept)

    @torch.inference_mode()
    def _run(self, kept: Kept) -> Outcome:
        if kept.graph is None and kept.runs and not self.why:
            self._record(kept)
        kept.runs += 1
        if kept.graph is not None and kept.outputs is not None:
            kept.graph.replay()
            logits_RV, told_2R = kept.outputs
            self.replayed += 1
        else:
            logits_RV, told_2R = self._compute(kept.grid)
            self.computed += 1
        if not told_2R.is_cuda:
            return Outcome(kept, logits_RV, told_2R)
        host_2R = torch.empty_like(told_2R, device="cpu", pin_memory=True)
        host_2R.copy_(told_2R, non_blocking=True)
        done = torch.cuda.Event()
        done.record()
        return Outcome(kept, logits_RV, host_2R, done)

    def _record(self, kept: Kept) -> None:
        """Record the pass of a grid; it has been computed before, so that all it needs is there."""
        self._memory = self._memory or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may use the device meanwhile.
            with torch.cuda.graph(graph, self._memory, capture_error_mode="thread_local"):
                outputs = self._compute(kept.grid)
        except (*faults(), KeyError) as error:
            self.why = f"it cannot be recorded ({type(error).__name__}: {str(error)[:200]})"
            return
        kept.graph, kept.outputs = graph, outputs
        self.recorded += 1

    def _compute(self, grid: Grid) -> tuple[Tensor, Tensor]:
        """Give the scores of each row's next token, and the likeliest with its score."""
        trunk, shape = self.rack.trunk, grid.shape
        grid.begin()
        tokens = shape.rows * shape.new
        parts = tuple(
            Every(pool, grid.slots_R(place), shape.new) for place, pool in enumerate(grid.pools)
        )
        route = Route((Segment(None, tokens),), dim=1, parts=parts)
        with self.inside(), self.rack.router.on(route), attention(trunk.model, ATTENTION):
            hidden_TD = continued_TD(trunk, grid.ids_T, grid)
        if shape.new > 1:
            first_R = torch.arange(0, tokens, shape.new, device=hidden_TD.device)
            hidden_TD = hidden_TD[first_R + grid.count_R - 1]
        logits_RV = trunk.logits_UV(hidden_TD)
        best_R, ids_R = logits_RV.max(1)
        if shape.new == 1:
            grid.move(ids_R)
        return logits_RV, torch.stack([ids_R.double(), best_R.double()])
