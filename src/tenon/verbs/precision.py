"""Precision: the number format in which a run holds its base on a CPU, where that is left open.

A base is held in float32, unless the CPU multiplies bfloat16 by instructions of its own, the run is
long enough, and a probe on rows of its own finds that steps are faster and as good as the same. The
plan keeps what was found: a run that goes on is never probed again.

Legend: B rows, G numbers of the adapter's gradient.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor

from tenon.adapters.kind import KINDS
from tenon.core.progress import Progress
from tenon.model.attach import unchanged_random_state
from tenon.model.halves import instructions
from tenon.model.model import Model
from tenon.plan.plan import Plan
from tenon.plan.work import layers_of, passes_of, work_of
from tenon.text.batch import batch
from tenon.text.order import Rows
from tenon.text.tokens import Tokens
from tenon.verbs.bared import bared
from tenon.verbs.folder import PLAN
from tenon.verbs.forecast import fresh
from tenon.verbs.workspace import Workspace, load_trunk, open_workspace

FULL, HALF = "float32", "bfloat16"
WORK = 1e13
"""Operations of a run's steps below which nothing is probed: some 100 seconds of one thread."""
MOST_PARAMETERS = 500_000_000
"""Of a base that is probed, which for a moment is held in both formats."""
MOST_ROWS, MOST_TOKENS = 32, 1024
"""Of the batch that is probed."""
TURNS = 2
FASTER = 0.85
"""Of the CPU time of a step in float32, the most that one in bfloat16 may take."""
MOST_APART = 0.01
"""Of the loss in float32, the most by which that in bfloat16 may differ."""
ALIKE = 0.99
"""Least cosine between the adapter's gradients in both."""


@dataclass(frozen=True)
class Tried:
    """What a batch gave in one number format.

    Args:
        loss: nats a target.
        gradient_G: of the adapter, in float32.
        seconds: CPU time of a step, forward and backward, the least of some.
    """

    loss: float
    gradient_G: Tensor
    seconds: float


@dataclass(frozen=True)
class Found:
    """What bfloat16 is against float32.

    Args:
        share: of the CPU time of a step.
        apart: difference of the loss, of its size in float32.
        cosine: between the adapter's gradients.
    """

    share: float
    apart: float
    cosine: float

    @property
    def fits(self) -> bool:
        """Whether it is faster, and near enough. What is no number is not."""
        return self.share <= FASTER and self.apart <= MOST_APART and self.cosine >= ALIKE

    def __str__(self) -> str:
        """Say so, with what would be enough."""
        return (
            f"probed, a step in bfloat16 takes {self.share:.2f} of its time in float32 (at most "
            f"{FASTER:g}), the loss differs by {self.apart:.2%} (at most {MOST_APART:.0%}), the "
            f"adapter's gradients have cosine {self.cosine:.4f} (at least {ALIKE:g})"
        )


def open_run(plan: Plan, progress: Progress | None = None, run: Path | None = None) -> Workspace:
    """Open the workspace of a plan, its base held in the number format that suits.

    Args:
        plan: what is wanted.
        progress: told of every stage.
        run: the folder of a run that may have begun, whose format is kept.

    Raises:
        TenonError: the data, the base or a setting cannot be used.
    """
    wanted = as_begun(plan, run)
    space = open_workspace(wanted, progress)
    if space.trunk.device.type != "cpu" or plan.model.dtype != "auto":
        return space
    if wanted.model.dtype != "auto":
        return replace(space, precision=f"{wanted.model.dtype}: as the run began")
    if why := _unprobed(space):
        return replace(space, precision=f"{FULL}: {why}")
    if progress:
        progress.start("number format", None)
    return decide(space)


def as_begun(plan: Plan, run: Path | None) -> Plan:
    """Give the plan with the number format that its run began with, where it is left open.

    Args:
        run: the folder of a run that may have begun.

    Raises:
        PlanError: the run's plan was changed by hand.
    """
    if run is None or plan.model.dtype != "auto" or not (run / PLAN).exists():
        return plan
    before = Plan.read(run / PLAN)
    if before.origins.get("model.dtype") != "measured":
        return plan
    return plan.decided({"model.dtype": before.model.dtype})


def _unprobed(space: Workspace) -> str:
    """Say why a run's base is held in float32 without a probe; "" where one is worth it."""
    plan, trunk = space.plan, space.trunk
    kind = KINDS.get(plan.adapter.kind)
    if _small(space):
        return "the run is too short for another format to pay"
    if not instructions():
        return "this CPU multiplies bfloat16 no faster (it has neither avx512_bf16 nor amx_bf16)"
    if trunk.quantize != "none" or trunk.holding is not None:
        return "the base is quantised"
    if space.writes:
        return "bfloat16 is not shown to be as good on a CPU where a base writes"
    if kind.reads_weights or kind.begins_from(plan.adapter.own):
        return "the adapter's first weights are computed from the base or from rows"
    if trunk.parameters > MOST_PARAMETERS:
        return 'the base is too large to be probed; set model.dtype = "bfloat16" to have it'
    return ""


def _small(space: Workspace) -> bool:
    """Whether a run is too short for a probe to pay."""
    plan, trunk = space.plan, space.trunk
    tokens = space.tokens["train"].total * plan.train.epochs * len(plan.training_seeds)
    passes = passes_of(plan.train.recompute, layers_of(trunk))
    return passes * work_of(trunk).per_token * tokens < WORK


def decide(space: Workspace) -> Workspace:
    """Try both formats on some rows, and hold the base in the one that suits.

    Args:
        space: its base in float32, without an adapter; nor has what is given back one.
    """
    full, space = _tried(space)
    half, other = _tried(_held_in(space, HALF))
    found = compared(full, half)
    chosen, name = (other, HALF) if found.fits else (space, FULL)
    return replace(chosen, precision=f"{name}: {found}")


def compared(full: Tried, half: Tried) -> Found:
    """Compare what a batch gave in float32 and in bfloat16."""
    cosine = torch.nn.functional.cosine_similarity(full.gradient_G, half.gradient_G, dim=0)
    apart = abs(half.loss - full.loss) / max(abs(full.loss), 1e-9)
    return Found(half.seconds / max(full.seconds, 1e-9), apart, float(cosine))


def _held_in(space: Workspace, dtype: str) -> Workspace:
    """Give the workspace with its base loaded in another number format."""
    plan = space.plan.decided({"model.dtype": dtype})
    trunk = load_trunk([plan], space.base, space.trunk.start[1:])
    measured = replace(space.measured, dtype=dtype)
    return replace(space, plan=plan, trunk=trunk, measured=measured)


def _tried(space: Workspace) -> tuple[Tried, Workspace]:
    """Take some steps without an update; give the workspace with its base as it was."""
    with unchanged_random_state():
        torch.manual_seed(space.plan.seed)
        model = fresh(space)
        rows = _rows(space.tokens["train"], space.plan.train.tokens_per_step)
        # Dropout of the adapter would differ by format.
        model.eval()
        loss, gradient_G = _step(model, space.tokens["train"], rows)
        model.train()
        took = [_timed(model, space.tokens["train"], rows) for _ in range(1 + TURNS)]
    tried = Tried(loss, gradient_G, min(took[1:]))
    return tried, bared(space, cast(PeftModel, model.peft), space)


def _rows(tokens: Tokens, most: int) -> Rows:
    """Give rows spread over a part, as many as a step has, or fewer."""
    spread = np.unique(np.linspace(0, len(tokens) - 1, MOST_ROWS).astype(np.int64))
    room = np.cumsum(tokens.lengths_R[spread]) <= min(most, MOST_TOKENS)
    return spread[: max(1, int(room.sum()))]


def _step(model: Model, tokens: Tokens, rows: Rows) -> tuple[float, Tensor]:
    """Give the loss of rows and the adapter's gradient, which is taken off again."""
    part = batch(tokens, rows)
    loss = model.nats(part) / max(1, model.targets(part))
    loss.backward()
    peft = cast(PeftModel, model.peft)
    gradients = [p.grad.float().flatten() for p in peft.parameters() if p.grad is not None]
    for parameter in model.parameters():
        parameter.grad = None
    return float(loss.detach()), torch.cat(gradients)


def _timed(model: Model, tokens: Tokens, rows: Rows) -> float:
    begun = time.process_time()
    _step(model, tokens, rows)
    return time.process_time() - begun
