"""Tenon's loop, whole or with some of what makes it fast left out."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from gpu_ground import (
    ALPHA,
    CUDA,
    RANK,
    RATE,
    ROWS,
    SEED,
    Setting,
    Turn,
    bytes_of,
    forget_accelerator,
    log,
    remembered,
    renew,
    wait,
)

from tenon.adapters.kind import settle
from tenon.adapters.lean import Lean
from tenon.model import attention_math
from tenon.model import writer as writers
from tenon.model.attach import attach
from tenon.model.compiled import compile_blocks
from tenon.model.fused import fuse
from tenon.model.writer import Writer
from tenon.train.loop import Course, Loop
from tenon.train.settings import TrainSettings


class WithTenon:
    """The same LoRA in Tenon's loop, with some of what makes it fast left out where told."""

    def __init__(
        self, setting: Setting, *, at_once: int = 1 << 14, peft: bool = False,
        scores: bool = False, compiled: bool = False, steps: int = 1, fused: bool = True,
        graphs: bool = True, margins: bool = True, tiled: bool = True,
    ) -> None:  # fmt: skip
        trunk = setting.fresh()
        table = {"kind": "lora.v1", "rank": RANK, "alpha": ALPHA}
        held = attach(trunk, settle("bench", table), seed=1)
        count = sum(isinstance(module, Lean) for module in trunk.model.modules())
        assert count == 7 * trunk.model.config.num_hidden_layers
        if peft:
            as_peft(trunk.model)
        if compiled:
            compile_blocks(trunk.model)
        elif fused:
            with contextlib.nullcontext() if tiled else attending_as_torch():
                log(fuse(trunk, margins=margins and graphs))
        # Until all sizes that are met often have been recorded.
        self.warm = 60 if graphs and CUDA else 2
        self.scores = scores
        self.model = Writer(trunk, held.peft)
        step = steps * ROWS * int(setting.tokens.lengths_R.mean())
        settings = train_settings(step, at_once)
        course = Course(
            Path(tempfile.mkdtemp()),
            "bench",
            SEED,
            settings,
            unrecorded="" if graphs else "left out",
        )
        forget_accelerator()
        self.loop = Loop(self.model, setting.tokens, course)
        self.model.train()
        self.batches = self.loop.batches()
        self.tokens = setting.tokens

    def gradients(self) -> dict[str, torch.Tensor]:
        """Give the gradients of the first step, before anything is learned."""
        for _ in range(2):  # the second time by a recorded pass, where there are any
            self.loop.optimizer.zero_grad(set_to_none=True)
            with keeping_scores() if self.scores else contextlib.nullcontext():
                for batch in next(self.loop.batches()):
                    self.loop.passes.passed(batch, 1000, torch.Tensor.backward)
        found = {name: p.grad.clone() for name, p in self.loop.parameters.items()}
        self.loop.optimizer.zero_grad(set_to_none=True)
        return found

    def step(self) -> Any:
        with keeping_scores() if self.scores else contextlib.nullcontext():
            batches = next(self.batches)
            result = self.loop.step(batches)
        assert result.norm > 0
        return result

    def take(self, seconds: float) -> Turn:
        turn = Turn()
        state = [t for s in self.loop.optimizer.state.values() for t in s.values()]
        owned = bytes_of([*self.model.parameters(), *state])
        renew([self.loop])
        with remembered(turn, owned):
            for _ in range(self.warm):
                self.step()
            self.warm = 2
            wait()
            begun = time.perf_counter()
            while time.perf_counter() - begun < seconds:
                recorded = self.loop.passes.recorded
                result = self.step()
                if self.loop.passes.recorded > recorded and CUDA:
                    # What was allocated while a size was recorded is counted as its memory below.
                    torch.cuda.reset_peak_memory_stats()
                turn.tokens += result.tokens
                turn.learned += result.targets
                turn.steps += 1
            wait()
            turn.seconds = time.perf_counter() - begun
        turn.bytes += self.loop.passes.bytes
        return turn


def train_settings(step: int, at_once: int) -> TrainSettings:
    return TrainSettings(
        epochs=1000, tokens_per_step=step, micro_batch_tokens=at_once, learning_rate=RATE,
        warmup=0.0, schedule="constant", metric="perplexity",
    )  # fmt: skip


def as_peft(model: Any) -> None:
    from peft.tuners.lora import Linear

    for module in model.modules():
        if type(module) is Lean:
            module.__class__ = Linear


@contextlib.contextmanager
def keeping_scores() -> Iterator[None]:
    """Compute scores again on the way back, as for a base that changes them."""
    before = writers._plain  # noqa: SLF001
    writers._plain = lambda *_: False  # noqa: SLF001
    try:
        yield
    finally:
        writers._plain = before  # noqa: SLF001


@contextlib.contextmanager
def attending_as_torch() -> Iterator[None]:
    """Let blocks that are fused meanwhile attend by torch's variable-length kernel."""
    before = attention_math.CHANNELS
    attention_math.CHANNELS = ()
    try:
        yield
    finally:
        attention_math.CHANNELS = before


def plain(setting: Setting, **own: Any) -> WithTenon:
    """Give Tenon's loop without blocks in few kernels and without graphs."""
    return WithTenon(setting, fused=False, graphs=False, **own)
