"""Finals: the best trials and the plan as it stands, trained again with fresh seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenon.core.errors import TenonError
from tenon.evaluate.scorers import Scorer
from tenon.evaluate.swept import (
    AS_IT_STANDS,
    FEWEST_SEEDS,
    Finalist,
    Lead,
    Tried,
    best_first,
    judged,
)
from tenon.plan.plan import Plan
from tenon.plan.space import Space
from tenon.verbs.engine import Engine
from tenon.verbs.folder import PLAN
from tenon.verbs.grouping import grouped
from tenon.verbs.study import FINALS
from tenon.verbs.trial import Result, Trial

BEST_TRIALS = 2


@dataclass(frozen=True)
class Candidate:
    """A choice that is trained again.

    Args:
        name: "trial 7", or the plan as it stands.
        number: of the trial; None for the plan as it stands.
        plan: of it.
        runs: one for each fresh seed.
    """

    name: str
    number: int | None
    plan: Plan
    runs: tuple[Trial, ...]


def candidates(
    space: Space, trials: Sequence[Tried], scorer: Scorer, out: Path, seeds: int
) -> list[Candidate]:
    """Give the two best trials that came to their ends, and the plan as it stands.

    A trial whose plan is the one that stands is no rival of it. Fresh seeds are those after the
    plan's own.
    """
    default = space.default
    ended = [trial for trial in best_first(trials, scorer) if trial.state == "complete"]
    plans = [(trial.number, space.plan(trial.values)) for trial in ended]
    others = [(number, plan) for number, plan in plans if plan.digest != default.digest]
    chosen: list[tuple[str, int | None, Plan]] = [
        (f"trial {number}", number, plan) for number, plan in others[:BEST_TRIALS]
    ]
    chosen.append((AS_IT_STANDS, None, default))
    return [
        Candidate(name, number, plan, _runs(plan, out, number, seeds))
        for name, number, plan in chosen
    ]


def _runs(plan: Plan, out: Path, number: int | None, seeds: int) -> tuple[Trial, ...]:
    name = "default" if number is None else f"trial-{number}"
    fresh = range(plan.seed + 1, plan.seed + 1 + seeds)
    return tuple(Trial(plan, out / FINALS / f"{name}-seed-{seed}", seed) for seed in fresh)


def play(
    made: Sequence[Candidate], engine: Engine, together: int, done: Callable[[Result], None]
) -> list[list[Result]]:
    """Train every candidate from every seed; give their results in the candidates' order."""
    runs = [trial for each in made for trial in each.runs]
    groups = grouped(runs, together)
    found = {
        trial.folder: result
        for group, results in zip(groups, engine.run(groups, done), strict=True)
        for trial, result in zip(group, results, strict=True)
    }
    return [[found[trial.folder] for trial in each.runs] for each in made]


def ranked(
    made: Sequence[Candidate], results: Sequence[Sequence[Result]], space: Space, scorer: Scorer
) -> list[tuple[Candidate, Finalist]]:
    """Give the candidates with what they scored, the best mean first.

    Of equals the plan as it stands is first: nothing has to be changed for it.
    """
    pairs = [
        (each, Finalist(each.name, each.number, _values(each, space), _seeds(each, found)))
        for each, found in zip(made, results, strict=True)
    ]
    sign = -1 if scorer.better == "higher" else 1

    def place(pair: tuple[Candidate, Finalist]) -> tuple[bool, float, bool]:
        candidate, mean = pair[0], pair[1].mean
        return mean is None, 0.0 if mean is None else sign * mean, candidate.number is not None

    return sorted(pairs, key=place)


def _seeds(candidate: Candidate, results: Sequence[Result]) -> list[list[Any]]:
    return [
        [run.seed, result.value if result.state == "complete" else None]
        for run, result in zip(candidate.runs, results, strict=True)
    ]


def _values(candidate: Candidate, space: Space) -> dict[str, Any]:
    """Give the swept settings as they were settled, where the candidate has been run."""
    plan = candidate.plan
    for run in candidate.runs:
        try:
            plan = Plan.read(run.folder / PLAN)
        except TenonError:
            continue
        break
    known = {name: value for name, value, _ in plan.settings()}
    return {span.key: known.get(span.key) for span in space.spans}


def leads(
    pairs: Sequence[tuple[Candidate, Finalist]], engine: Engine, scorer: Scorer, level: float
) -> list[Lead]:
    """Compare the winner with each other finalist; none where seeds are too few or one failed."""
    (winner, first), *others = pairs
    if len(winner.runs) < FEWEST_SEEDS or first.mean is None:
        return []
    found = [
        Lead(each.name, n=len(each.runs), **engine.compare(winner.runs, each.runs))
        for each, scored in others
        if scored.mean is not None
    ]
    return judged(found, scorer, level)
