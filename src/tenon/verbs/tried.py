"""Tried: a plan's fresh model, looked at and, if asked, tried at many learning rates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tenon.adapters.kind import KINDS
from tenon.core.progress import Progress
from tenon.evaluate.baselines import Baselines
from tenon.train.preflight import Preflight, preflight
from tenon.train.rate_test import RateTest, rate_test
from tenon.verbs.preflight import subject_of
from tenon.verbs.train import build, fit_baselines, from_probe
from tenon.verbs.workspace import Workspace

PROBE_ROWS = 1_000
"""Rows of train to which a head is fitted that only lets rates be tried."""


def tried(
    space: Workspace, progress: Progress | None = None, *, find_lr: bool = False
) -> tuple[Preflight, RateTest | None]:
    """Put the plan's adapter on the base, look at it, and try rates if that is wanted.

    The head starts at random, or where rates are tried from a probe of some rows.

    Raises:
        PlanError: rates are to be tried, and the run has too few steps.
    """
    known = _probe(space, progress) if find_lr and from_probe(space) else None
    model, attached = build(space, known)
    if progress:
        progress.start("preflight", None)
    subject = subject_of(space, model, attached)
    found = preflight(subject)
    if not find_lr or found.failed:
        return found, None
    kind = KINDS.get(space.plan.adapter.kind)
    rates = rate_test(
        model,
        space.tokens["train"],
        space.plan.train,
        default=kind.learning_rate,
        factors=subject.factors,
        seed=space.plan.seed,
        progress=progress,
    )
    return found, rates


def _probe(space: Workspace, progress: Progress | None) -> Baselines | None:
    """Fit the linear probe to some rows, spread over train; none where the base writes."""
    if space.writes:
        return None
    train = space.tokens["train"]
    rows = np.unique(np.linspace(0, len(train) - 1, PROBE_ROWS).astype(np.int64))
    part = train.take(rows)
    return fit_baselines(replace(space, tokens={"train": part, "dev": part}), progress)
