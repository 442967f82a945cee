"""Sentence: a report's verdict in the language of the page, from the report's own numbers."""

from __future__ import annotations

from tenon.evaluate.board import spoken
from tenon.evaluate.language import Language
from tenon.evaluate.quantity import amount, bounds, difference, title
from tenon.evaluate.report import Report
from tenon.evaluate.scorers import SCORERS, Scorer
from tenon.evaluate.statistics import Interval, Paired
from tenon.evaluate.verdict import STRONGEST_FIRST, decide, probability, signed, strongest_first


def verdict(report: Report, words: Language) -> str:
    """Give the verdict of a report in a language.

    Args:
        report: its leading scorer is registered.
        words: of the language.
    """
    metrics = report.metrics[report.part]
    lead = SCORERS.get(next(iter(metrics)))
    value = metrics[lead.name]
    compared = {
        name: group[lead.name] for name, group in report.paired.items() if lead.name in group
    }
    baselines = {n: group[lead.name] for n, group in report.baselines.items() if lead.name in group}
    said = words(
        "verdict.lead",
        scorer=title(lead, words),
        part=report.part,
        value=amount(lead, value.value, words),
    )
    order = strongest_first(lead, {name: baselines[name].value for name in compared})
    if not order:
        return said + _uncompared(value.n, baselines, words)
    rival = order[0]
    parts = [_compared(lead, said, value, rival, baselines[rival], compared[rival], report, words)]
    if "majority" in order[1:] and _level(report, lead, compared["majority"]) != "better":
        parts.append(words("verdict.no_better_than_majority"))
    return "".join([*parts, _unmatched(report, lead, words)])


def _level(report: Report, scorer: Scorer, pair: Paired) -> str:
    return decide(scorer, pair, report.intervals["level"])


def _uncompared(rows: int, baselines: dict[str, Interval], words: Language) -> str:
    if not baselines:
        return words("verdict.no_baseline")
    rival = next((name for name in STRONGEST_FIRST if name in baselines), next(iter(baselines)))
    return words("verdict.too_few", n=rows, rival=spoken(rival, words))


def _compared(
    lead: Scorer,
    said: str,
    value: Interval,
    rival: str,
    baseline: Interval,
    pair: Paired,
    report: Report,
    words: Language,
) -> str:
    """Say how the adapter and its strongest baseline differ."""
    outcome = _level(report, lead, pair)
    told = {
        "rival": spoken(rival, words),
        "other": amount(lead, baseline.value, words),
        "difference": difference(lead, pair.difference, words),
        "bounds": bounds(lead, pair, words),
        "p": probability(pair.p),
        "n": pair.n,
    }
    if pair.n < value.n:
        return said + words(f"verdict.fewer_{outcome}", **told)
    if outcome == "no_difference":
        return said + words("verdict.no_difference", **told)
    ends = sorted((abs(pair.low), abs(pair.high)))
    near, far = (signed(lead, end).lstrip("+") for end in ends)
    told["bounds"] = words("range", low=near, high=far)
    told["difference"] = difference(lead, abs(pair.difference), words).lstrip("+")
    return said + words(f"verdict.{outcome}", **told)


def _unmatched(report: Report, lead: Scorer, words: Language) -> str:
    """Say that what is written is no better, where only its likelihood is shown to be."""
    rival = next((report.paired[name] for name in STRONGEST_FIRST if name in report.paired), {})
    if lead.better == "higher" or report.outcome != "better":
        return ""
    others = [SCORERS.get(name) for name in report.metrics[report.part] if name in rival]
    others = [scorer for scorer in others if scorer.rows is not lead.rows]
    if not others or any(_level(report, each, rival[each.name]) == "better" for each in others):
        return ""
    *first, last = (title(each, words) for each in others)
    listed = words("list.or", first=words("list.between").join(first), last=last) if first else last
    return words("verdict.writes_no_better", scorers=listed)
