"""Sentence: one plain sentence on whether the adapter is better than its strongest baseline.

It is composed from a report's own numbers, in the language that is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenon.evaluate.language import Language, language
from tenon.evaluate.quantity import about, amount, bounds, difference, spoken, title
from tenon.evaluate.report import Report
from tenon.evaluate.scorers import SCORERS, Scorer
from tenon.evaluate.statistics import Interval, Paired
from tenon.evaluate.verdict import (
    HUNDREDS,
    STRONGEST_FIRST,
    Outcome,
    decide,
    probability,
    signed,
    strongest_first,
)


@dataclass(frozen=True)
class Verdict:
    """The outcome and its sentence.

    Args:
        outcome: "unproved" where there was no baseline, or were too few rows, to compare with.
        sentence: for people.
    """

    outcome: Outcome
    sentence: str


def verdict(report: Report, words: Language) -> str:
    """Give the verdict of a report in a language.

    Args:
        report: its leading scorer is registered.
        words: of the language.
    """
    metrics = report.metrics[report.part]
    scorers = [SCORERS.get(name) for name in metrics]
    lead = scorers[0]
    judged = judge(
        lead,
        metrics[lead.name],
        {name: group[lead.name] for name, group in report.baselines.items() if lead.name in group},
        {name: group[lead.name] for name, group in report.paired.items() if lead.name in group},
        part=report.part,
        level=report.intervals["level"],
        words=words,
    )
    level = report.intervals["level"]
    told = unmatched(judged.outcome, scorers, report.paired, level, words)
    return judged.sentence + told + of_seeds(lead, report.seeds, words)


def of_seeds(scorer: Scorer, seeds: Mapping[str, Any], words: Language) -> str:
    """Say that scores are means of several seeds, and whose luck they vary by; "" of one seed.

    Args:
        seeds: as `Report.seeds` has them.
    """
    if not seeds:
        return ""
    spread = seeds["scores"][scorer.name]
    shown = {
        name: difference(scorer, spread[f"sd_{name}"], words).lstrip("+")
        for name in ("seed", "sample")
    }
    return words("verdict.seeds", n=len(seeds["seeds"]), **shown)


def judge(
    scorer: Scorer,
    value: Interval,
    baselines: Mapping[str, Interval],
    compared: Mapping[str, Paired],
    *,
    part: str,
    level: float,
    words: Language | None = None,
) -> Verdict:
    """Compare with the strongest baseline there is.

    A difference counts where both its test and its interval say so.

    Args:
        scorer: the leading one.
        value: the adapter's score.
        baselines: name to the baseline's score.
        compared: name to the paired difference, adapter minus baseline; none where the rows are
            too few for any.
        part: what was scored, "test".
        level: confidence; a p below 1 - level counts.
        words: of the language; English unless given.
    """
    words = words or language("en")
    shown = amount(scorer, value.value, words)
    lead = words("verdict.lead", scorer=title(scorer, words), part=part, value=shown)
    ordered = strongest_first(scorer, {name: baselines[name].value for name in compared})
    if not ordered:
        return Verdict("unproved", lead + _uncompared(value.n, baselines, words))
    strongest = ordered[0]
    pair = compared[strongest]
    outcome = decide(scorer, pair, level)
    told = _told(scorer, strongest, baselines[strongest], pair, words)
    sentence = lead + _compared(scorer, value, pair, outcome, told, words)
    lower = "majority" in ordered[1:] and decide(scorer, compared["majority"], level) != "better"
    return Verdict(outcome, sentence + words("verdict.no_better_than_majority") * lower)


def _uncompared(rows: int, baselines: Mapping[str, Interval], words: Language) -> str:
    if not baselines:
        return words("verdict.no_baseline")
    rival = next((name for name in STRONGEST_FIRST if name in baselines), next(iter(baselines)))
    return words("verdict.too_few", n=rows, rival=spoken(rival, words))


def _told(
    scorer: Scorer, rival: str, baseline: Interval, pair: Paired, words: Language
) -> dict[str, object]:
    """Give what a sentence says of a difference."""
    return {
        "rival": spoken(rival, words),
        "other": amount(scorer, baseline.value, words),
        "difference": difference(scorer, pair.difference, words),
        "bounds": bounds(scorer, pair, words),
        "p": probability(pair.p),
        "n": pair.n,
    }


def _compared(
    scorer: Scorer,
    value: Interval,
    pair: Paired,
    outcome: Outcome,
    told: Mapping[str, object],
    words: Language,
) -> str:
    """Say how the adapter and its strongest baseline differ."""
    if pair.n < value.n:
        return words(f"verdict.fewer_{outcome}", **told)
    if outcome == "no_difference":
        return words("verdict.no_difference", **told) + _reach(scorer, pair, words)
    ends = sorted((abs(pair.low), abs(pair.high)))
    near, far = (signed(scorer, end).lstrip("+") for end in ends)
    size = difference(scorer, abs(pair.difference), words).lstrip("+")
    sized = {"difference": size, "bounds": words("range", low=near, high=far)}
    return words(f"verdict.{outcome}", **{**told, **sized})


def _reach(scorer: Scorer, pair: Paired, words: Language) -> str:
    """Say which difference the rows could show, and how many would show a small one.

    A difference that is shown is found in four of five such comparisons.
    """
    if not pair.smallest:
        return ""
    smallest = difference(scorer, pair.smallest, words).lstrip("+")
    if pair.needed <= pair.n:
        return words("verdict.reach", smallest=smallest)
    goal = difference(scorer, pair.goal, words).lstrip("+")
    goal = words("verdict.one_point") if scorer.unit in HUNDREDS else goal
    return words("verdict.reach_needed", smallest=smallest, rows=about(pair.needed), goal=goal)


def unmatched(
    outcome: Outcome,
    scorers: Sequence[Scorer],
    compared: Mapping[str, Mapping[str, Paired]],
    level: float,
    words: Language | None = None,
) -> str:
    """Say that what is written is no better, where only its likelihood is shown to be."""
    words = words or language("en")
    lead = scorers[0]
    if lead.better == "higher" or outcome != "better":
        return ""  # what leads is what it writes
    rival = next((compared[name] for name in STRONGEST_FIRST if name in compared), {})
    others = [s for s in scorers if s.rows is not lead.rows and s.name in rival]
    found = [decide(scorer, rival[scorer.name], level) for scorer in others]
    if not others or "better" in found:
        return ""
    *first, last = (title(scorer, words) for scorer in others)
    listed = words("list.or", first=words("list.between").join(first), last=last) if first else last
    return words("verdict.writes_no_better", scorers=listed)
