"""RateTest: which learning rate suits, by steps on real rows at rates that grow, taken back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenon.core.errors import PlanError, RunError
from tenon.core.progress import Progress
from tenon.evaluate.predict import inference
from tenon.model.model import Model
from tenon.text.batch import Batch, batch
from tenon.text.order import Order, micro_batches
from tenon.text.tokens import Tokens
from tenon.train import optim
from tenon.train.settings import TrainSettings
from tenon.train.step import clipped, count_targets, gradients
from tenon.train.trial_checks import SANE
from tenon.train.untouched import untouched

STEPS = 100
LEAST_STEPS = 60
DECADES = 3
"""The rates go from so many decades below what suits the kind to as many above it."""
SMOOTHING = 0.9
DIVERGED = 0.5
"""A loss that is higher than at the start by so much of it has diverged."""
LOST = 0.02
"""Of the loss at the start: what must be gained for a rate to be told from none."""
FIGURES = 2
WINDOW = 4
"""Steps to each side over which a fall is measured."""
BELOW = 3.0
"""How many times less than the rate at which the loss is lowest is suggested: there the loss has
begun to turn. Half a decade, chosen on three curves (docs/log.md)."""


@dataclass(frozen=True)
class RateTest:
    """What was found.

    Args:
        rates: of the steps that were taken.
        changes: of each step the loss less that of the fresh adapter on the same rows, in nats.
        smoothed: the same, with those before it.
        fresh: mean loss of the fresh adapter, in nats.
        steepest: rate at which the loss falls most; None where it does not fall.
        lowest: rate at which it is lowest; likewise.
        suggestion: the rate to take; likewise, and None where it is so far from what suits the
            kind that a preflight would refuse it.
        default: the rate that suits the kind.
        told: how the test ended, one clause.
    """

    rates: tuple[float, ...]
    changes: tuple[float, ...]
    smoothed: tuple[float, ...]
    fresh: float
    steepest: float | None
    lowest: float | None
    suggestion: float | None
    default: float
    told: str

    @property
    def setting(self) -> str:
        """The suggestion, ready to be pasted behind a command; empty where there is none."""
        return "" if self.suggestion is None else f"train.learning_rate={self.suggestion:g}"

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON-able values, `setting` among them."""
        return {**asdict(self), "setting": self.setting}


def rate_test(
    model: Model,
    tokens: Tokens,
    settings: TrainSettings,
    *,
    default: float,
    factors: Mapping[str, float],
    seed: int,
    progress: Progress | None = None,
) -> RateTest:
    """Try rates on the first steps of a run; the model is afterwards bit for bit what it was.

    The rate grows from step to step by the same factor, the head stays as it is, and the loss of
    each step is compared with the fresh adapter's on the same rows, so that what rows differ in is
    not taken for what the rate does.

    Args:
        model: fresh.
        tokens: of train.
        settings: of training; its rates are not read.
        default: the rate that suits the kind.
        factors: as of `tenon.train.loop.Course`.
        seed: of the run.

    Raises:
        PlanError: the run has too few steps, or too few rows have targets.
    Source: Smith 2017, Cyclical Learning Rates (arXiv:1506.01186), for the test; comparing with
        the fresh adapter on the same rows is ours.
    """
    steps = _steps(tokens, settings, seed)
    rates = np.geomspace(default / 10**DECADES, default * 10**DECADES, len(steps)).tolist()
    if progress:
        progress.start("trying learning rates", 2 * len(steps))
    fresh = _fresh(model, steps, progress)
    changes, ended = _tried(model, steps, rates, fresh, settings, factors, seed, progress)
    return _found(rates, changes, float(np.mean(fresh)), default, ended)


def _steps(tokens: Tokens, settings: TrainSettings, seed: int) -> list[list[Batch]]:
    """Give the micro-batches of the run's first steps.

    Raises:
        PlanError: there are too few.
    """
    order = Order(tokens.lengths_R, seed, settings.tokens_per_step)
    whole = settings.epochs * order.steps_per_epoch
    if whole < LEAST_STEPS:
        raise PlanError(
            f"--find-lr: the run has {whole} steps, and a test of rates takes {LEAST_STEPS}; keep "
            "the kind's own rate, give more rows, or lower train.tokens_per_step"
        )
    found: list[list[Batch]] = []
    for epoch in range(settings.epochs):
        for rows in order.epoch(epoch)[: STEPS - len(found)]:
            parts = micro_batches(rows, tokens.lengths_R, settings.micro_batch_tokens)
            found.append([batch(tokens, part) for part in parts])
    return found


def _fresh(model: Model, steps: Sequence[list[Batch]], progress: Progress | None) -> list[float]:
    """Give the loss of the fresh adapter at each step."""
    found: list[float] = []
    with untouched(model), inference(model):
        for batches in steps:
            nats = sum(float(model.nats(part)) for part in batches)
            found.append(nats / count_targets(model, batches))
            if progress:
                progress.advance(1)
    return found


def _tried(
    model: Model,
    steps: Sequence[list[Batch]],
    rates: Sequence[float],
    fresh: Sequence[float],
    settings: TrainSettings,
    factors: Mapping[str, float],
    seed: int,
    progress: Progress | None,
) -> tuple[list[float], str]:
    """Take the steps; give what each changes, and how it ended."""
    changes: list[float] = []
    unit = settings.model_copy(update={"learning_rate": 1.0, "head_learning_rate": 0.0})
    with untouched(model):
        model.train()
        torch.manual_seed(seed)
        held = model.trainable()
        optimizer = optim.adamw(held, unit, factors)
        for batches, rate, before in zip(steps, rates, fresh, strict=True):
            optim.set_rate(optimizer, rate)
            optimizer.zero_grad(set_to_none=True)
            try:
                _, losses = gradients(model, batches, Tensor.backward)
                loss, _ = clipped(losses, held.values(), settings.clip)
            except RunError:
                return changes, f"at {rate:.1e} the loss is not finite"
            optimizer.step()
            changes.append(loss - before)
            if progress:
                progress.advance(1, loss=loss)
            if _smoothed(changes)[-1] > DIVERGED * float(np.mean(fresh)):
                return changes, f"at {rate:.1e} the loss has diverged"
    return changes, f"up to {rates[-1]:.1e} the loss has not diverged"


def _smoothed(changes: Sequence[float]) -> list[float]:
    """Give exponential means of what came before, the beginning not drawn towards 0."""
    found, mean = list[float](), 0.0
    for place, change in enumerate(changes, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * change
        found.append(mean / (1 - SMOOTHING**place))
    return found


def _found(
    rates: Sequence[float], changes: Sequence[float], fresh: float, default: float, ended: str
) -> RateTest:
    smoothed = _smoothed(changes)
    steepest = lowest = suggestion = None
    if smoothed and min(smoothed) < -LOST * fresh:
        place = int(np.argmin(smoothed))
        ends = [min(at + WINDOW, place) for at in range(place + 1)]
        falls = [smoothed[end] - smoothed[max(0, at - WINDOW)] for at, end in enumerate(ends)]
        lowest, steepest = rates[place], rates[int(np.argmin(falls))]
        rate = float(f"{lowest / BELOW:.{FIGURES}g}")
        suggestion = rate if default / SANE <= rate <= default * SANE else None
    return RateTest(
        tuple(rates[: len(changes)]),
        tuple(changes),
        tuple(smoothed),
        fresh,
        steepest,
        lowest,
        suggestion,
        default,
        ended,
    )
