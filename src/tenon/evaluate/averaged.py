"""Averaged: the reports of several seeds as one, whose scores are means over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tenon.evaluate.clusters import Grouping
from tenon.evaluate.correction import corrected
from tenon.evaluate.exam import EXAMS
from tenon.evaluate.language import language
from tenon.evaluate.prediction import Answers
from tenon.evaluate.report import Report
from tenon.evaluate.scorers import SCORERS
from tenon.evaluate.seeded import across_seeds
from tenon.evaluate.sentence import judge, of_seeds
from tenon.evaluate.settings import FULL
from tenon.evaluate.statistics import Interval, Paired

By = Mapping[int, Any]
"""By seed."""
SUMMED = ("seconds", "steps", "tokens")
METHOD = "mean over seeds; t interval and test over seeds and bootstrapped rows"


@dataclass(frozen=True)
class Drawn:
    """How rows are drawn again for intervals.

    Args:
        level: of confidence.
        resamples: how many.
        seed: of the drawing.
        grouping: which rows belong together; as the task has it where None.
    """

    level: float
    resamples: int
    seed: int
    grouping: Grouping | None = None

    def given(self, report: Report, part: str, answers: Answers) -> dict[str, Any]:
        """Give what `across_seeds` asks of a part of a report."""
        return {
            "scorers": [SCORERS.get(name) for name in report.metrics[part]],
            "grouping": self.grouping or EXAMS.get(report.task).together(answers),
            "level": self.level,
            "resamples": self.resamples,
            "seed": self.seed,
        }


def average(
    answers: By,
    rivals: By,
    reports: Mapping[int, Report],
    drawn: Drawn,
    *,
    kept: int,
    why: str,
) -> Report:
    """Give the report of the kept seed with the means over all seeds for its scores.

    Args:
        answers: part to the answers to it.
        rivals: baseline to part to its answers; full fine-tuning has seeds as well, all others
            are the same in each.
        reports: of each seed alone.
        drawn: how rows are.
        kept: whose adapter is the result; rows, classes and curves are of it alone.
        why: it is.
    """
    report, runs = reports[kept], list(reports)
    part = report.part
    across = {name: _across(name, answers, rivals, report, drawn) for name in report.metrics}
    metrics = {
        name: _intervals(report.metrics[name], found["scores"]) for name, found in across.items()
    }
    found: dict[str, Any] = {**across[part], "kept": kept, "why": why}
    baselines = {name: dict(group) for name, group in report.baselines.items()}
    if FULL in baselines:
        whole = _of(rivals, runs, FULL, part)
        told = across_seeds(whole, None, **drawn.given(report, part, whole[0]))
        baselines[FULL] = _intervals(baselines[FULL], told["scores"])
    paired = _paired(report, found["paired"])
    found["paired"] = {
        name: {
            scorer: {**found["paired"][name][scorer], "p": pair.p} for scorer, pair in group.items()
        }
        for name, group in paired.items()
    }
    return replace(
        report,
        metrics=metrics,
        baselines=baselines,
        paired=paired,
        **_verdict(report, metrics[part], baselines, paired, found, drawn.level),
        cost={**report.cost, **_costs(reports)},
        seeds=found,
        notes=[*_notes(runs, kept, why), *report.notes],
        title=f"{report.title}, {len(runs)} seeds",
    )


def _across(part: str, answers: By, rivals: By, report: Report, drawn: Drawn) -> dict[str, Any]:
    """Compare the seeds on a part, with each other and, on the leading one, with baselines."""
    runs = list(answers)
    leads = part == report.part
    others = {
        name: _of(rivals, runs if name == FULL else runs[:1], name, part)
        for name in (report.paired if leads else ())
    }
    mine = [answers[run][part] for run in runs]
    return across_seeds(mine, others, **drawn.given(report, part, mine[0]), seeds=runs)


def _of(rivals: By, runs: Sequence[int], name: str, part: str) -> list[Answers]:
    return [rivals[run][name][part] for run in runs]


def _intervals(
    known: Mapping[str, Interval], scores: Mapping[str, Mapping[str, Any]]
) -> dict[str, Interval]:
    """Give the means with their intervals; as many rows as one seed has answered."""
    return {
        name: Interval(found["mean"], found["low"], found["high"], known[name].n)
        for name, found in scores.items()
        if name in known
    }


def _paired(
    report: Report, found: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> dict[str, dict[str, Paired]]:
    """Give the differences of the means, corrected for the number of baselines."""
    return corrected(
        {
            name: {
                scorer: Paired(**group[scorer], n=known.n, method=METHOD, raw_p=group[scorer]["p"])
                for scorer, known in report.paired[name].items()
                if scorer in group
            }
            for name, group in found.items()
        }
    )


def _verdict(
    report: Report,
    metrics: Mapping[str, Interval],
    baselines: Mapping[str, Mapping[str, Interval]],
    paired: Mapping[str, Mapping[str, Paired]],
    found: Mapping[str, Any],
    level: float,
) -> dict[str, Any]:
    name = next(iter(metrics))
    lead = SCORERS.get(name)
    verdict = judge(
        lead,
        metrics[name],
        {rival: group[name] for rival, group in baselines.items() if name in group},
        {rival: group[name] for rival, group in paired.items() if name in group},
        part=report.part,
        level=level,
    )
    said = of_seeds(lead, found, language("en"))
    return {"outcome": verdict.outcome, "verdict": verdict.sentence + said}


def _costs(reports: Mapping[int, Report]) -> dict[str, Any]:
    """Give what all runs took together."""
    costs = [report.cost for report in reports.values()]
    return {
        name: sum(cost[name] for cost in costs)
        for name in SUMMED
        if all(name in cost for cost in costs)
    }


def _notes(runs: Sequence[int], kept: int, why: str) -> list[str]:
    return [
        f"scores are means of {len(runs)} seeds ({', '.join(map(str, runs))}), and intervals "
        "cover other seeds as well as other rows; time, steps and tokens are of all seeds",
        f"the adapter is that of seed {kept}, {why}; rows, classes, curves and calibration are "
        "its own",
    ]
