"""Eight adapters over one trunk: in one run, and one after another."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from gpu_ground import (
    ALPHA,
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
from tenon.model.recompute import recompute
from tenon.model.writer import Writer
from tenon.train.joint import Joint
from tenon.train.loop import Course, Loop


class Eight:
    """Eight adapters over one trunk, whose rows are their own."""

    def __init__(self, setting: Setting, *, again: bool) -> None:
        forget_accelerator()
        self.rack = Rack(setting.fresh())
        self.loops: dict[str, Loop] = {}
        table = {"kind": "lora.v1", "rank": RANK, "alpha": ALPHA}
        for n in range(MANY):
            held = attach(self.rack.trunk, settle(f"a{n}", table), seed=n)
            model = Writer(self.rack.trunk, held.peft)
            course = Course(
                Path(tempfile.mkdtemp()), f"a{n}", n, train_settings(EACH, 1 << 14), unrecorded=""
            )
            self.loops[f"a{n}"] = Loop(model, tokens_of(rows_of(512, n)), course)
            self.rack.keep(f"a{n}", "lora.v1", held.peft)
        log(fuse(self.rack.trunk))
        if again:
            recompute(self.rack.trunk)
        self.joint = Joint(self.rack, self.loops)
        self.batches = {name: loop.batches() for name, loop in self.loops.items()}
        self.setting = setting

    def owned(self, names: list[str]) -> int:
        tensors = list(self.rack.trunk.whole.parameters())
        for name in names:
            loop = self.loops[name]
            tensors += [*loop.parameters.values()]
            tensors += [t for s in loop.optimizer.state.values() for t in s.values()]
        return bytes_of(tensors)

    def together(self, steps: int) -> Turn:
        turn = Turn(steps=steps)
        with remembered(turn, self.owned(list(self.loops))):
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
        return turn

    def apart(self, steps: int) -> Turn:
        turn = Turn(steps=steps)
        with remembered(turn, self.owned(["a0"])):
            for name, loop in self.loops.items():
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
        turn.bytes += self.loops["a0"].passes.bytes
        return turn
