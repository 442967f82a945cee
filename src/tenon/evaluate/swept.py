"""Swept: what a sweep found, each trial with its values, and whether the winner's lead is real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tenon.core.errors import DataError
from tenon.evaluate.correction import holm
from tenon.evaluate.scorers import SCORERS, Scorer
from tenon.evaluate.statistics import Paired
from tenon.evaluate.verdict import Outcome, decide

FORMAT = 1
AS_IT_STANDS = "the plan as it stands"
FEWEST_SEEDS = 2
"""Seeds without which nothing can be said of other seeds."""


@dataclass(frozen=True)
class Open:
    """A setting that is swept.

    Args:
        key: its dotted name.
        spec: its values, as `--over` says them.
        choices: of a list; empty for a range.
        low, high: ends of a range.
        log: whether a range is even by its logarithm.
    """

    key: str
    spec: str
    choices: list[Any]
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    @property
    def short(self) -> str:
        """Its name without its table."""
        return self.key.rpartition(".")[2]


@dataclass(frozen=True)
class Tried:
    """A trial.

    Args:
        number: from 0, in the order in which they were begun.
        values: dotted name of each swept setting to its value.
        state: "complete", "pruned" or "failed".
        value: the best of its evaluations on dev; None if it has none.
        curve: its evaluations, each the share of its steps and the value.
        steps, seconds, tokens, parameters: its cost.
        reason: why it failed.
    """

    number: int
    values: dict[str, Any]
    state: str
    value: float | None
    curve: list[list[float]] = field(default_factory=list[list[float]])
    steps: int = 0
    seconds: float = 0.0
    tokens: int = 0
    parameters: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Finalist:
    """A choice that was trained again with fresh seeds.

    Args:
        name: "trial 7", or the plan as it stands.
        number: of the trial; None for the plan as it stands.
        values: dotted name of each swept setting to its value.
        seeds: each fresh seed and the value on dev; one that failed has none.
    """

    name: str
    number: int | None
    values: dict[str, Any]
    seeds: list[list[Any]]

    @property
    def scores(self) -> list[float]:
        """The values on dev."""
        return [value for _, value in self.seeds if value is not None]

    @property
    def mean(self) -> float | None:
        """Their mean; None where a seed failed."""
        scores = self.scores
        return sum(scores) / len(scores) if scores and len(scores) == len(self.seeds) else None


@dataclass(frozen=True)
class Lead:
    """The winner beside another finalist.

    Args:
        rival: the other's name.
        difference: winner minus rival, of the means over seeds.
        low, high: bounds of its interval.
        p: two-sided, as corrected for the number of rivals.
        n: seeds of each.
        outcome: in one word.
    """

    rival: str
    difference: float
    low: float
    high: float
    p: float
    n: int
    outcome: Outcome = "no_difference"


@dataclass(frozen=True)
class Swept:
    """What `sweep.json` holds.

    Args:
        metric: of dev, by which trials are compared.
        space: what is swept.
        trials: in the order in which they were begun.
        importance: swept setting to the share of variance that it explains; may be empty.
        finalists: what was trained again, the winner first.
        leads: the winner beside each other finalist.
        outcome: whether the winner is better than the plan as it stands, in one word.
        verdict: the same in sentences.
        settings: the winner's, as one pastes them into a command.
        notes: what was given up, failed or left out, each with its number.
        command: what goes on with, or repeats, the sweep.
        title: what was swept.
        rules: what else decides the search.
    """

    metric: str
    space: list[Open]
    trials: list[Tried]
    importance: dict[str, float]
    finalists: list[Finalist]
    leads: list[Lead]
    outcome: Outcome
    verdict: str
    settings: list[str]
    notes: list[str]
    command: str
    title: str
    rules: dict[str, Any]

    @property
    def scorer(self) -> Scorer:
        """The scorer of the metric."""
        return SCORERS.get(self.metric)

    @property
    def best_first(self) -> list[Tried]:
        """The trials by their values; those that were given up and those that failed come last."""
        return best_first(self.trials, self.scorer)

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON-able values, `format` first."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Swept:
        """Read what `to_json` gave.

        Raises:
            DataError: another format, or a field is missing or unknown.
        """
        given = dict(value)
        if given.pop("format", None) != FORMAT:
            what = f"sweep: format is {value.get('format')!r}"
            raise DataError(f"{what}; this Tenon reads format {FORMAT}")
        try:
            given["space"] = [Open(**each) for each in given["space"]]
            given["trials"] = [Tried(**each) for each in given["trials"]]
            given["finalists"] = [Finalist(**each) for each in given["finalists"]]
            given["leads"] = [Lead(**each) for each in given["leads"]]
            return cls(**given)
        except (TypeError, KeyError) as error:
            raise DataError(f"sweep: fields are missing or unknown ({error})") from error


def shown(value: Any) -> str:
    """Give a value of a setting as a table has it, without quotation marks."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return " ".join(map(shown, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def best_first(trials: Sequence[Tried], scorer: Scorer) -> list[Tried]:
    """Order trials: complete ones by value, then those given up, then those that failed."""
    order = {"complete": 0, "pruned": 1, "failed": 2}
    sign = -1 if scorer.better == "higher" else 1

    def place(trial: Tried) -> tuple[int, float, int]:
        value = 0.0 if trial.value is None else sign * trial.value
        return order[trial.state], value, trial.number

    return sorted(trials, key=place)


def judged(leads: Sequence[Lead], scorer: Scorer, level: float) -> list[Lead]:
    """Say of each lead whether it is more than noise, its p corrected for the number of them."""
    ps = holm([lead.p for lead in leads])
    return [_judged(lead, p, scorer, level) for lead, p in zip(leads, ps, strict=True)]


def _judged(lead: Lead, p: float, scorer: Scorer, level: float) -> Lead:
    pair = Paired(lead.difference, lead.low, lead.high, p, lead.n, "")
    return replace(lead, p=p, outcome=decide(scorer, pair, level))
