"""Eight adapters over one trunk: in one run, and one after another."""

from __future__ import annotations

import tempfile
import time
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
        turn, passes = Turn(steps=steps), self.joint.passes.recorded
        with remembered(turn):
            wait()
            begun = time.perf_counter()
            for _ in range(steps):
                given = {name: next(batches) for name, batches in self.batches.items()}
                results = self.joint.step(given)
                assert all(result.norm > 0 for result in results.values())
                turn.tokens += sum(result.tokens for result in results.values())
                turn.learned += sum(result.targets for result in results.values())
            wait()
            turn.seconds = time.perf_counter() - begun
        turn.bytes += passes.bytes + self.owned(list(self.loops))
        turn.recorded, turn.why = passes.recorded, passes.why
        return turn

    def apart(self, steps: int, runs: int = 1) -> Turn:
        """Take steps of some of the runs one after another, each by itself."""
        turn = Turn(steps=steps)
        with remembered(turn):
            for name in list(self.loops)[:runs]:
                loop = self.loops[name]
                with self.rack.only(name):
                    loop.model.train()
                    wait()
                    begun = time.perf_counter()
                    for _ in range(steps):
                        result = loop.step(next(self.batches[name]))
                        assert result.norm > 0
                        turn.tokens += result.tokens
                        turn.learned += result.targets
                    wait()
                    turn.seconds += time.perf_counter() - begun
        first = self.loops["a0"].passes
        turn.bytes += first.bytes + self.owned(["a0"])
        turn.recorded, turn.why = first.recorded, first.why
        return turn
