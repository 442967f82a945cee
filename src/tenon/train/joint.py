"""Joint: several runs over one trunk, side by side, with one pass over the trunk for all.

Each run keeps its own data, order, head, optimizer, rate, evaluations and checkpoints, and is what
it would be alone: a run that was begun here can go on alone, and the other way. What they share
are the forward and backward passes over the frozen trunk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import cast

import torch
from torch import Tensor, nn

from tenon.core.progress import Progress
from tenon.model.rack import Rack
from tenon.model.route import random_state
from tenon.text.batch import Batch, joined
from tenon.train.interrupt import Interrupt
from tenon.train.joint_passes import JointPasses
from tenon.train.loop import Loop, Trained
from tenon.train.step import Due, StepResult, count_targets, taken
from tenon.train.steplog import StepLog


@dataclass
class Going:
    """A run that has not come to its end.

    Args:
        loop: the run.
        log: of its steps.
        batches: the micro-batches of each step that is left.
        seconds: that its steps took, those of the others' share of a pass included.
        tokens: that it has stepped over.
    """

    loop: Loop
    log: StepLog
    batches: Iterator[list[Batch]]
    seconds: float = 0.0
    tokens: int = 0


@dataclass
class Joint:
    """Runs in step.

    Args:
        rack: holds the adapter of each run, under its name.
        loops: adapter to its run, at its position.
        progress: told of every step.
        going: the runs that have steps left.
        silent: those whose first step drew nothing at random, as they have no dropout.
        begun: those that have been put into training mode.
        sizes: lay micro-batches out in sizes even where none is recorded.
        passes: what is recorded of the passes.
    """

    rack: Rack
    loops: Mapping[str, Loop]
    progress: Progress | None = None
    going: dict[str, Going] = field(default_factory=dict[str, Going])
    silent: set[str] = field(default_factory=set[str])
    begun: set[str] = field(default_factory=set[str])
    sizes: bool = False
    passes: JointPasses = field(init=False)

    def __post_init__(self) -> None:
        loops = self.loops.values()
        why = next((each.course.unrecorded for each in loops if each.course.unrecorded), "")
        models = {name: loop.model for name, loop in self.loops.items()}
        trained = {name: loop.parameters for name, loop in self.loops.items()}
        self.passes = JointPasses(self.rack, models, trained, why, sizes=self.sizes)

    def run(self) -> dict[str, Trained]:
        """Train all to their ends; each model's parameters are then those of its best step.

        Raises:
            KeyboardInterrupt: on Ctrl-C or SIGTERM, after a checkpoint of each at its last step.
            RunError: a loss, a weight or a score on dev is not finite; the message names the
                adapter. The last checkpoints hold steps before.
            FileError: the disk refused. The last checkpoints are whole.
        """
        self.going = {
            name: Going(loop, loop.log(), loop.batches()) for name, loop in self.loops.items()
        }
        ended = dict(self.going)
        self._announce()
        with ExitStack() as stack, Interrupt() as interrupt:
            for loop in self.loops.values():
                stack.enter_context(loop.tracker)
            while steps := self._next():
                begun = time.perf_counter()
                results = self.step(steps)
                self._took(results, time.perf_counter() - begun)
                if interrupt.wished:
                    for each in self.going.values():
                        each.loop.save(each.log)
                    raise KeyboardInterrupt
        self.passes.release()
        for each in ended.values():
            told = each.loop.passes.notes
            each.loop.notes += [note for note in self.passes.recorded.notes if note not in told]
        return {name: each.loop.finish(each.seconds, each.tokens) for name, each in ended.items()}

    def step(self, steps: Mapping[str, list[Batch]]) -> dict[str, StepResult]:
        """Take one step of each run.

        Args:
            steps: adapter to the micro-batches of its step.

        Raises:
            RunError: a step has nothing to learn from, or its loss or norm is not finite. No
                weights have been updated, of no adapter.
        """
        targets = {n: count_targets(self.loops[n].model, steps[n]) for n in steps}
        losses: dict[str, list[Tensor]] = {name: [] for name in steps}
        self._to_training(steps)
        sized = self.passes.begin(steps)
        random = self._prepare(steps, sized=sized)
        begun = dict(random)
        with nullcontext() if sized else self._inside():
            for row in zip_longest(*steps.values()):
                part = {n: b for n, b in zip(steps, row, strict=True) if b is not None}
                found = (
                    self.passes.passed(part, targets, self._backward)
                    if sized
                    else self._passed(part, targets, random)
                )
                for name, loss in found.items():
                    losses[name].append(loss)
        self.silent |= {n for n, state in begun.items() if torch.equal(state, random[n])}
        results: dict[str, StepResult] = {}
        for name, (loss, norm) in self._updated(losses, sized=sized).items():
            self.loops[name].position += 1
            tokens = sum(batch.tokens for batch in steps[name])
            results[name] = StepResult(loss, targets[name], tokens, norm)
        return results

    @contextmanager
    def _inside(self) -> Iterator[None]:
        # Both walk through all modules: the fewer there are, and the fewer times, the better.
        with self.rack.trunk.attending(), self.rack.all():
            yield

    @property
    def _backward(self) -> Callable[[Tensor], None]:
        return next(iter(self.loops.values())).accelerator.backward

    def _prepare(self, steps: Mapping[str, list[Batch]], *, sized: bool) -> dict[str, Tensor]:
        """Set the rates; give the state of each one's generator at the beginning of its step.

        Where micro-batches are laid out in sizes, nothing is drawn.
        """
        random: dict[str, Tensor] = {}
        for name in steps:
            if sized:
                self.loops[name].set_rate()
                continue
            self.loops[name].prepare()
            if name not in self.silent:
                random[name] = random_state(self.rack.trunk.device)
        return random

    def _to_training(self, steps: Mapping[str, list[Batch]]) -> None:
        """Put into training mode what an evaluation has left in the other; each one alone."""
        for name in steps:
            model = self.loops[name].model
            # A fresh module is in training mode by default, the base's own dropout with it.
            if name not in self.begun or not cast(nn.Module, model).training:
                self.begun.add(name)
                with self.rack.only(name):
                    model.train()

    def _passed(
        self, part: Mapping[str, Batch], targets: Mapping[str, int], random: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Compute a micro-batch of each, and their gradients, in one pass over the trunk."""
        trunk = self.rack.trunk
        whole = joined(list(part.values())).to(trunk.device)
        owners = [name for name, batch in part.items() for _ in batch.lengths]
        with self.rack.router.on(self.rack.route(owners, whole.lengths), random):
            sizes = [batch.tokens for batch in part.values()]
            hidden = trunk.hidden_TD(whole).split(sizes)
            losses = {
                name: self.loops[name].model.nats_from(hidden_TD, batch) / targets[name]
                for (name, batch), hidden_TD in zip(part.items(), hidden, strict=True)
            }
            self._backward(torch.stack(list(losses.values())).sum())
        return {name: loss.detach() for name, loss in losses.items()}

    def _updated(
        self, losses: Mapping[str, list[Tensor]], *, sized: bool
    ) -> dict[str, tuple[float, float]]:
        """Clip each one's gradients and update; update none where one is not finite."""
        steps = {
            name: Due(
                parts,
                list(self.loops[name].parameters.values()),
                self.loops[name].optimizer,
                self.loops[name].course.settings.clip,
            )
            for name, parts in losses.items()
        }
        kept = False
        try:
            found = taken(steps, self._meanwhile)
            kept = sized  # gradients stay in the memory that recorded passes add to
        finally:
            for each in () if kept else steps.values():
                each.optimizer.zero_grad(set_to_none=True)
        return found

    def _meanwhile(self) -> None:
        """Lay the next batches out while the device computes."""
        for each in self.loops.values():
            if each.ahead is not None:
                each.ahead.make()

    def _next(self) -> dict[str, list[Batch]]:
        """Give the next step of each run that has one; those that have none are over."""
        steps: dict[str, list[Batch]] = {}
        for name, each in list(self.going.items()):
            batches = None if each.loop.over else next(each.batches, None)
            if batches is None:
                del self.going[name]
            else:
                steps[name] = batches
        return steps

    def _took(self, results: Mapping[str, StepResult], seconds: float) -> None:
        """Log the steps, and evaluate and save where each one's settings say so."""
        tokens = sum(result.tokens for result in results.values())
        for name, result in results.items():
            each = self.going[name]
            share = seconds * result.tokens / max(1, tokens)
            each.seconds += share
            each.tokens += result.tokens
            each.loop.note(each.log, result, share)
            if each.loop.evaluates:
                self.passes.make_room()
            with self.rack.only(name):
                each.loop.after_step(each.log)
        if self.progress:
            mean = sum(result.loss for result in results.values()) / len(results)
            pace = tokens / max(seconds, 1e-9)
            self.progress.advance(len(results), loss=mean, tokens_per_second=pace)

    def _announce(self) -> None:
        if self.progress:
            done = sum(loop.position for loop in self.loops.values())
            total = sum(loop.steps for loop in self.loops.values())
            self.progress.start(f"train {len(self.loops)} adapters", total, done=done)
