"""Comparison: several systems on the same rows, every pair of them, corrected for their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from typing import Any, Literal

from tenon.evaluate.clusters import Grouping
from tenon.evaluate.correction import holm
from tenon.evaluate.disagreement import disagreement, worths
from tenon.evaluate.kept import Kept, scorers_of
from tenon.evaluate.scorers import SCORERS, Scorer
from tenon.evaluate.settings import FEWEST_ROWS
from tenon.evaluate.statistics import Interval, Paired, intervals, paired
from tenon.evaluate.verdict import decide

FORMAT = 1
Found = Literal["leads", "shared", "no_difference", "unproved"]


@dataclass(frozen=True)
class System:
    """What is compared.

    Args:
        name: what it is called here; no two are called the same.
        title: what was evaluated.
        source: folder of its report.
        metrics: scorer to interval.
    """

    name: str
    title: str
    source: str
    metrics: Mapping[str, Interval]


@dataclass(frozen=True)
class Duel:
    """Two systems by one scorer.

    Args:
        first, second: their names.
        scorer: by which.
        paired: first minus second.
        holm: p, corrected for the number of pairs.
    """

    first: str
    second: str
    scorer: str
    paired: Paired
    holm: float


@dataclass(frozen=True)
class Comparison:
    """Several systems on the same rows.

    Args:
        task: as the hub names it.
        part: which part the rows are.
        rows: how many there are.
        level: confidence of the intervals; a corrected p below 1 - level counts.
        systems: the best first, by the leading scorer, which is the first of its metrics.
        duels: every pair by every scorer; none below ten rows.
        outcome: "leads" where the first is shown to be better than every other; "shared" where it
            is not better than some; "no_difference" where no pair differs; "unproved" where the
            rows are too few for any comparison.
        rivals: systems that the first is not shown to differ from.
        wins: of each pair, how many rows the first has better, and how many the second.
        differing: `count` and `rows`, those in which the systems differ most.
    """

    task: str
    part: str
    rows: int
    level: float
    systems: tuple[System, ...]
    duels: tuple[Duel, ...]
    outcome: Found
    rivals: tuple[str, ...]
    wins: Mapping[tuple[str, str], tuple[int, int]]
    differing: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def lead(self) -> Scorer:
        """The scorer that decides."""
        return SCORERS.get(next(iter(self.systems[0].metrics)))

    def duel(self, first: str, second: str, scorer: str) -> Duel | None:
        """Give a pair by a scorer, in the order in which it is kept."""
        wanted = {first, second}
        return next(
            (d for d in self.duels if {d.first, d.second} == wanted and d.scorer == scorer), None
        )

    def to_json(self) -> dict[str, Any]:
        """Give the comparison as JSON-able values."""
        return {
            "format": FORMAT,
            "task": self.task,
            "part": self.part,
            "rows": self.rows,
            "level": self.level,
            "systems": [asdict(system) for system in self.systems],
            "pairs": [
                {
                    "first": duel.first,
                    "second": duel.second,
                    "scorer": duel.scorer,
                    **asdict(duel.paired),
                    "p_holm": duel.holm,
                }
                for duel in self.duels
            ],
            "wins": [
                {"first": first, "second": second, "won": won, "lost": lost}
                for (first, second), (won, lost) in self.wins.items()
            ],
            "outcome": self.outcome,
            "leader": self.systems[0].name,
            "not_better_than": list(self.rivals),
            "differing": dict(self.differing),
        }


def compare(
    systems: Sequence[tuple[str, str, str]],
    kept: Sequence[Kept],
    answers: Sequence[Sequence[Mapping[str, Any]]],
    scorers: Sequence[str],
    *,
    task: str,
    part: str,
    level: float,
    resamples: int,
    seed: int,
    grouping: Grouping | None = None,
) -> Comparison:
    """Compare systems on the same rows.

    Args:
        systems: name, title and source of each.
        kept: what its scores are made of; the rows of all are the same, in the same order.
        answers: entries of `predictions.jsonl`, one for each row.
        scorers: by name; the first one decides.
        task, part: of all of them.
        level, resamples, seed: of intervals and tests.
        grouping: which rows belong together.
    """
    kinds = scorers_of(scorers)
    sampled: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    sampled["grouping"] = grouping
    scored = [
        System(*named, intervals(rows, kinds, **sampled))
        for named, rows in zip(systems, kept, strict=True)
    ]
    lead = kinds[0]
    sign = -1 if lead.better == "higher" else 1
    order = sorted(range(len(scored)), key=lambda at: sign * scored[at].metrics[lead.name].value)
    ranked = [scored[at] for at in order]
    duels = _duels(ranked, [kept[at] for at in order], kinds, sampled)
    worth = [worths(task, answers[at]) for at in order]
    rivals = _rivals(ranked, duels, lead, level)
    return Comparison(
        task=task,
        part=part,
        rows=len(kept[0]),
        level=level,
        systems=tuple(ranked),
        duels=tuple(duels),
        outcome=_outcome(ranked, duels, rivals, lead, level),
        rivals=rivals,
        wins={
            (ranked[one].name, ranked[two].name): (
                int((worth[one] > worth[two]).sum()),
                int((worth[two] > worth[one]).sum()),
            )
            for one, two in combinations(range(len(ranked)), 2)
        },
        differing=disagreement([s.name for s in ranked], [answers[at] for at in order], worth),
    )


def _duels(
    systems: Sequence[System],
    kept: Sequence[Kept],
    scorers: Sequence[Scorer],
    sampled: Mapping[str, Any],
) -> list[Duel]:
    """Compare every pair; p-values of one scorer are corrected together."""
    if len(kept[0]) < FEWEST_ROWS:
        return []
    pairs = list(combinations(range(len(systems)), 2))
    found = [paired(kept[one], kept[two], scorers, **sampled) for one, two in pairs]
    duels: list[Duel] = []
    for scorer in scorers:
        known = [at for at, each in enumerate(found) if scorer.name in each]
        corrected = holm([found[at][scorer.name].p for at in known])
        for at, p in zip(known, corrected, strict=True):
            one, two = (systems[place].name for place in pairs[at])
            duels.append(Duel(one, two, scorer.name, found[at][scorer.name], p))
    return duels


def decided(duel: Duel, scorer: Scorer, level: float) -> str:
    """Say whether a pair differs, by its corrected p and its interval."""
    corrected = replace(duel.paired, p=duel.holm)
    return decide(scorer, corrected, level)


def _rivals(
    systems: Sequence[System], duels: Sequence[Duel], lead: Scorer, level: float
) -> tuple[str, ...]:
    """Give the systems that the first one is not shown to differ from."""
    first = systems[0].name
    mine = [duel for duel in duels if duel.scorer == lead.name and duel.first == first]
    return tuple(duel.second for duel in mine if decided(duel, lead, level) == "no_difference")


def _outcome(
    systems: Sequence[System],
    duels: Sequence[Duel],
    rivals: Sequence[str],
    lead: Scorer,
    level: float,
) -> Found:
    leading = [duel for duel in duels if duel.scorer == lead.name]
    if not leading:
        return "unproved"
    if not rivals:
        return "leads"
    same = all(decided(duel, lead, level) == "no_difference" for duel in leading)
    return "no_difference" if same or len(systems) == 2 else "shared"
