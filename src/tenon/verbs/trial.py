"""Trial: one run of a sweep, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal

from tenon.plan.plan import Plan
from tenon.train.loop import LOWER_IS_BETTER, Hopeless

ENDED = "trial.json"
"""Written last: a folder that has it is of a trial that has ended."""
FEWEST_EARLIER = 4
"""Trials that must have ended before one is given up."""

State = Literal["complete", "pruned", "failed"]
Curve = Sequence[tuple[float, float]]
"""Evaluations on dev: the share of the run's steps that is done, and the value."""


@dataclass(frozen=True)
class Trial:
    """One run of a sweep, to be done.

    Args:
        plan: as resolved; it decides the rows, which are those of every other trial.
        folder: of its run.
        seed: of order, dropout and first weights, where that is not the plan's.
        earlier: evaluations of the trials that it is measured by; it is given up where it falls
            behind them.
    """

    plan: Plan
    folder: Path
    seed: int | None = None
    earlier: tuple[Curve, ...] = ()

    @property
    def hopeless(self) -> Hopeless | None:
        """What ends it before its time."""
        if len(self.earlier) < FEWEST_EARLIER:
            return None
        lower = lower_is_better(self.plan)
        return lambda seen: behind(seen, self.earlier, lower=lower)

    def to_json(self) -> dict[str, Any]:
        """Give the trial as JSON-able values."""
        return {
            "plan": self.plan.to_json(),
            "folder": str(self.folder.absolute()),
            "seed": self.seed,
            "earlier": [list(map(list, curve)) for curve in self.earlier],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Trial:
        """Read what `to_json` gave."""
        earlier = tuple(tuple((share, each) for share, each in c) for c in value["earlier"])
        plan, folder = Plan.from_json(value["plan"]), Path(value["folder"])
        return cls(plan, folder, value["seed"], earlier)


@dataclass(frozen=True)
class Result:
    """What came of a trial.

    Args:
        state: "pruned" where it was given up, "failed" where it could not go on.
        value: the best of its evaluations on dev; None if it has none.
        curve: its evaluations.
        steps: taken.
        seconds: of its steps.
        tokens: of its steps.
        parameters: trained.
        reason: why it failed.
        data: digest of its rows; that of every other trial, unless files have changed.
    """

    state: State
    value: float | None
    curve: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    steps: int = 0
    seconds: float = 0.0
    tokens: int = 0
    parameters: int = 0
    reason: str = ""
    data: str = ""

    def to_json(self) -> dict[str, Any]:
        """Give the result as JSON-able values."""
        return {**asdict(self), "curve": [list(each) for each in self.curve]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Result:
        """Read what `to_json` gave."""
        curve: list[tuple[float, float]] = [(share, each) for share, each in value["curve"]]
        known: dict[str, Any] = {**value, "curve": curve}
        return cls(**known)


def lower_is_better(plan: Plan) -> bool:
    """Whether a plan's metric on dev is the better the lower it is."""
    return plan.train.metric in LOWER_IS_BETTER


def behind(seen: Curve, earlier: Sequence[Curve], *, lower: bool) -> bool:
    """Whether a run falls behind the median of earlier ones at the same share of their steps.

    Compared are the best values until then. Runs of other lengths compare by share.

    Args:
        seen: evaluations of the run.
        earlier: of runs that have come to their ends.
        lower: whether lower values are better.

    Source: the median stopping rule of Golovin et al. 2017, Google Vizier, section 3.2.2, with
    the best value in place of the mean, as in Optuna's MedianPruner.
    """
    if not seen:
        return False
    best = min if lower else max
    share = seen[-1][0]
    reached = [[v for at, v in curve if at <= share + 1e-9] for curve in earlier]
    others = [best(values) for values in reached if values]
    if len(others) < FEWEST_EARLIER:
        return False
    own, middle = best(value for _, value in seen), median(others)
    return own > middle if lower else own < middle
