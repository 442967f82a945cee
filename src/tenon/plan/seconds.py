"""Seconds: how long a run takes, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tenon.evaluate.baselines import SAMPLE_ROWS
from tenon.evaluate.predict import by_length
from tenon.evaluate.settings import BY_TASK
from tenon.model.trunk import Trunk
from tenon.plan.compiling import Compiling
from tenon.plan.devices import CPU, Device
from tenon.plan.kernels import replays
from tenon.plan.pace import NOTHING, Pace, Span, about
from tenon.plan.plan import Plan
from tenon.plan.work import Work, layers_of, passes_of, steps_of
from tenon.plan.writing import writing
from tenon.text.order import Order, Rows
from tenon.text.tokens import Tokens

PROBE_SECONDS = 4e-8
"""Of the linear probe's fit, for each unit, channel and class: its solver's passes, at several
strengths."""
STARTING_SECONDS = 6.0
"""Of the program and the libraries it stands on, torch and transformers above all, on a machine
that is not here."""
REPORT_SECONDS = 1.5
"""Of what follows the answers, however few rows there are: intervals, plots, files."""
CHECK_SECONDS = 1.1e-4
"""Of checking a row of the data; a million take two minutes (benchmarks/doctor.md)."""
ROUGH = 0.6
"""Spread of what was not timed here."""
FOREIGN = 0.7
"""Spread of times on a device that is not here."""
EFFICIENCY = 0.35
"""Share of a device's peak that passes over a base reach. Source: 0.3 to 0.5 are common for large
models (Chowdhery et al. 2022, arXiv:2204.02311, table 3); adapters and short rows take from it."""
REPLAYED = 8
"""How many times faster kernels are started that were recorded; and there are fewer of them where
blocks are fused. Source: docs/performance.md, "What each part brings" on a GPU: a step of 28 layers
whose 2,740 kernels take 3 microseconds each at least, instead of 8,400 that the host asks for."""
FEW_SHOT = 3.0
"""How many times longer prompts with examples are."""


@dataclass(frozen=True)
class Computed:
    """What of a base a step computes.

    Args:
        below: share of its layers that lie below all adapters, to which no gradients go.
        spared: share of its layers whose states are stored.
    """

    below: float = 0.0
    spared: float = 0.0


WHOLE = Computed()


@dataclass(frozen=True)
class Paces:
    """How fast a device is.

    Args:
        training: forward and backward.
        judging: forward alone.
        updating: seconds of an optimizer step.
        writing: seconds for each new token of a batch, by its rows; None where nothing is written.
        together: whether answers are gone on from together, and not in padded batches.
        device: its type, "cpu" or "cuda".
        starting: seconds of the program's start.
        opening: seconds of reading data and base, which have passed or will again.
        timed: whether it was timed on this device.
    """

    training: Pace
    judging: Pace
    updating: float
    writing: Pace | None
    starting: float
    opening: float
    timed: bool
    together: bool = True
    device: str = "cpu"


@dataclass(frozen=True)
class Seconds:
    """How long a run takes.

    Args:
        stages: name to its time; `training` among them, and `total`.
        tokens_per_second: real tokens, while training.
        timed: whether it follows from passes that were timed on this device.
    """

    stages: Mapping[str, Span]
    tokens_per_second: float
    timed: bool

    @property
    def total(self) -> Span:
        """All of it."""
        whole = NOTHING
        for span in self.stages.values():
            whole = whole + span
        return whole

    def preceded(self, seconds: float) -> Seconds:
        """Give the time with a preflight before it, which takes so long."""
        return replace(self, stages={**self.stages, "preflight": about(seconds, ROUGH)})

    def compiled(self, found: Compiling) -> Seconds:
        """Give the time with blocks that are compiled first; no compiled pass was timed."""
        share = 1 - found.saved / max(1e-9, found.plain)
        plain = self.stages["training"].seconds
        training = about(plain * share, FOREIGN)
        stages = {**self.stages, "compiling": about(found.seconds, FOREIGN), "training": training}
        return replace(self, stages=stages, tokens_per_second=self.tokens_per_second / share)

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON-able values."""
        spans = {**self.stages, "total": self.total}
        return {
            "stages": {
                name: {"seconds": span.seconds, "low": span.low, "high": span.high}
                for name, span in spans.items()
            },
            "tokens_per_second": self.tokens_per_second,
            "timed": self.timed,
        }


def seconds_of(
    plan: Plan,
    tokens: Mapping[str, Tokens],
    classes: int,
    trunk: Trunk,
    work: Work,
    paces: Paces,
    *,
    spared: float = 0.0,
) -> Seconds:
    """Give how long a run of a plan takes.

    Args:
        plan: settled.
        tokens: of each part.
        classes: of the head; 0 without one.
        trunk: of the base.
        work: what passes over it compute.
        paces: of the device; that of training is of steps that find stored states.
        spared: share of the base's layers whose states are stored for train and dev.
    """
    train, settings = tokens["train"], plan.train
    steps = steps_of(plan, train)
    parts = work.batches([rows for step in steps for rows in step], train.lengths_R)
    epochs = settings.epochs
    training = paces.training.of(parts, epochs)
    updates = about(paces.updating * len(steps) * epochs, paces.training.spread)
    training = training + updates
    read = {part: _reading(plan, rows, work, paces) for part, rows in tokens.items()}
    stages = {
        "starting": about(paces.starting, ROUGH),
        "opening": about(paces.opening, ROUGH),
    }
    writes = BY_TASK[plan.data.task].writes
    if not writes:
        stages["baselines"] = _baselines(tokens, classes, trunk.hidden_size, read)
    if spared:
        stored = [span for part, span in read.items() if part in ("train", "dev")]
        stages["states"] = sum(stored, NOTHING).times(spared)
    stages["training"] = training
    judgements = _judgements(plan, train) * (1 - spared)
    stages["dev"] = read["dev"].times(judgements) if "dev" in read else NOTHING
    stages["answers"] = _answers(plan, tokens, read, paces)
    rows = sum(len(part) for part in tokens.values())
    stages["report"] = about(REPORT_SECONDS + CHECK_SECONDS * rows, ROUGH)
    pace = train.total * epochs / max(1e-9, training.seconds)
    return Seconds(stages, pace, paces.timed)


def _reading(plan: Plan, part: Tokens, work: Work, paces: Paces) -> Span:
    batches = by_length(part, plan.evaluate.batch_tokens)
    return paces.judging.of(work.batches(batches, part.lengths_R))


def _baselines(
    tokens: Mapping[str, Tokens], classes: int, channels: int, read: Mapping[str, Span]
) -> Span:
    train = tokens["train"]
    share = min(1.0, SAMPLE_ROWS / max(1, len(train)))
    whole = read["train"].times(share)
    for part, span in read.items():
        whole = whole if part == "train" else whole + span
    return whole + about(PROBE_SECONDS * share * len(train) * channels * max(1, classes), ROUGH)


def _judgements(plan: Plan, train: Tokens) -> int:
    settings = plan.train
    order = Order(train.lengths_R, plan.seed, settings.tokens_per_step)
    steps = settings.epochs * order.steps_per_epoch
    return -(-steps // (settings.evaluate_every or order.steps_per_epoch))


def _answers(
    plan: Plan, tokens: Mapping[str, Tokens], read: Mapping[str, Span], paces: Paces
) -> Span:
    """Give what answering the parts takes, and on the last one what the base writes as well."""
    parts = [part for part in ("dev", "test") if part in tokens]
    whole = NOTHING
    for part in parts:
        whole = whole + read[part]
    if paces.writing is None or not parts:
        return whole
    last = tokens[parts[-1]]
    against = plan.evaluate.against or ()
    rivals = ("zero_shot" in against) + FEW_SHOT * ("few_shot" in against)
    whole = whole + read[parts[-1]].times(rivals)
    how = writing(plan, last, paces.device, together=paces.together)
    prompts = read[parts[-1]].times(how.asked / max(1, len(last)) * (1 + rivals))
    once = paces.writing.of(np.array([how.rows], float))
    own = Span(once.seconds * how.passes, once.low * how.passes, once.high * how.most)
    # A base that was not trained to end its answers goes on for longer.
    middle = (how.passes + how.most) / 2
    base = Span(once.seconds * middle, once.low * how.passes, once.high * how.most)
    writers = sum(name in against for name in ("zero_shot", "few_shot"))
    return whole + prompts + own + base.times(writers)


def paces_of(
    device: Device, plan: Plan, trunk: Trunk, work: Work, computed: Computed = WHOLE
) -> Paces:
    """Give how fast a device is taken to be that is not here."""
    halves = plan.model.dtype != "float32"
    slope = 1 / (EFFICIENCY * (device.halves if halves else device.singles))
    layers = layers_of(trunk)
    started = layers * device.launches
    passes = passes_of(plan.train.recompute, layers, computed.below, computed.spared)
    sort = "cpu" if device is CPU else "cuda"
    first = started / REPLAYED if replays(plan, trunk, sort) else started
    training = Pace(first * passes, slope * passes, FOREIGN)
    item = 2 if halves else 4
    once = work.per_token / 2 * item / device.bandwidth
    writes = BY_TASK[plan.data.task].writes
    written = Pace(max(started, once), 0.0, FOREIGN) if writes else None
    return Paces(
        training, Pace(started, slope, FOREIGN), started, written, STARTING_SECONDS, 30.0,
        timed=False, together=not trunk.seq2seq, device=sort,
    )  # fmt: skip


def longest_batches(parts: list[Rows], lengths_R: Rows) -> list[Rows]:
    """Give micro-batches spread evenly over their sizes, the largest first."""
    sizes = np.array([int(lengths_R[rows].sum()) for rows in parts])
    chosen = np.argsort(-sizes, kind="stable")
    spread = np.unique(np.linspace(0, len(chosen) - 1, min(len(chosen), 6)).astype(int))
    return [parts[int(chosen[place])] for place in spread]
