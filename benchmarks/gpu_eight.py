"""Eight adapters over one trunk: in one run, and one after another."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from gpu_ground import (
    ALPHA,
    CUDA,
    EACH,
    MANY,
    RANK,
    Setting,
    Turn,
    bytes_of,
    forget_accelerator,
    log,
    remembered,
    rows_of,
    tokens_of,
    wait,
)
from gpu_tenon import train_settings

from tenon.adapters.kind import settle
from tenon.model.attach import attach
from tenon.model.fused import fuse
from tenon.model.rack import Rack
from tenon.model.recompute import Recompute, recompute
from tenon.model.writer import Writer
from tenon.train.joint import Joint
from tenon.train.loop import Course, Loop
from tenon.train.recorded import Recorded
from tenon.train.step import StepResult


class Eight:
    """Eight adapters over one trunk, whose rows are their own.

    Args:
        again: layers that compute their states again.
        at_once: tokens of an adapter that are computed at once.
    """

    def __init__(
        self, setting: Setting, *, again: Recompute = False, at_once: int = 1 << 14
    ) -> None:
        forget_accelerator()
        self.rack = Rack(setting.fresh())
        self.loops: dict[str, Loop] = {}
        table = {"kind": "lora.v1", "rank": RANK, "alpha": ALPHA}
        for n in range(MANY):
            held = attach(self.rack.trunk, settle(f"a{n}", table), seed=n)
            model = Writer(self.rack.trunk, held.peft)
            settings = train_settings(EACH, at_once)
            course = Course(Path(tempfile.mkdtemp()), f"a{n}", n, settings, unrecorded="")
            self.loops[f"a{n}"] = Loop(model, tokens_of(rows_of(2048 if CUDA else 64, n)), course)
            self.rack.keep(f"a{n}", "lora.v1", held.peft)
        log(fuse(self.rack.trunk))
        recompute(self.rack.trunk, again)
        self.joint = Joint(self.rack, self.loops)
        self.batches = {name: loop.batches() for name, loop in self.loops.items()}
        self.setting = setting

    def owned(self, names: list[str]) -> int:
        """Give the bytes that a way holds between its steps, what is recorded left out."""
        tensors = list(self.rack.trunk.whole.parameters())
        held: list[object] = [self.joint.passes._wides] if len(names) > 1 else []  # noqa: SLF001
        for name in names:
            loop = self.loops[name]
            tensors += [*loop.parameters.values()]
            tensors += [t for s in loop.optimizer.state.values() for t in s.values()]
            if len(names) == 1:
                held += [loop.passes, loop.passes._rounded]  # noqa: SLF001
        kept = [t for each in held if each for t in vars(each).values() if torch.is_tensor(t)]
        return bytes_of([*tensors, *kept])

    def together(self, steps: int) -> Turn:
        """Take steps of all in one pass each."""

        def step() -> list[StepResult]:
            given = {name: next(batches) for name, batches in self.batches.items()}
            return list(self.joint.step(given).values())

        turn = Turn()
        self._take(turn, steps, step, self.joint.passes.recorded)
        turn.bytes += self.owned(list(self.loops))
        return turn

    def apart(self, steps: int) -> Turn:
        """Take steps of one of the runs by itself, as of each where they run one after another."""
        loop, turn = self.loops["a0"], Turn()
        with self.rack.only("a0"):
            loop.model.train()
            recorded = loop.passes._recorded  # noqa: SLF001
            self._take(turn, steps, lambda: [loop.step(next(self.batches["a0"]))], recorded)
        turn.bytes += self.owned(["a0"])
        return turn

    def _take(
        self, turn: Turn, steps: int, step: Callable[[], list[StepResult]], recorded: Recorded
    ) -> None:
        """Take steps; those in which a size is recorded are counted apart."""
        with remembered(turn):
            for _ in range(steps):
                before, begun = recorded.recorded + recorded.computed, time.perf_counter()
                results = step()
                wait()
                seconds = time.perf_counter() - begun
                assert all(result.norm > 0 for result in results)
                if recorded.recorded + recorded.computed > before and CUDA:
                    turn.recording += seconds
                    torch.cuda.reset_peak_memory_stats()
                    continue
                turn.seconds += seconds
                turn.steps += 1
                turn.tokens += sum(result.tokens for result in results)
                turn.learned += sum(result.targets for result in results)
        turn.bytes += recorded.bytes
        turn.recorded, turn.why = recorded.recorded, recorded.why
