"""Board: the scores of a report as cards, tables and curves, in the language of the page."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from tenon.evaluate import plots, verdict
from tenon.evaluate.language import Language
from tenon.evaluate.plots import Bar
from tenon.evaluate.quantity import amount, bounds, chance, difference, spoken, title
from tenon.evaluate.report import Report
from tenon.evaluate.scorers import SCORERS, Scorer
from tenon.evaluate.statistics import Interval, Paired

DRAWN = ("adapter", "linear_probe", "majority")
"""Systems that have a colour of their own; all others share one."""
FREQUENT = ("label_frequency", "train_mean", "frequent_tag", "always_no_answer")
"""Baselines that know only what is frequent, and are drawn as the majority is."""


def cards(report: Report, words: Language) -> list[dict[str, Any]]:
    """Give a card for each scorer of the leading part."""
    return [_card(report, name, words) for name in report.metrics[report.part]]


def _card(report: Report, name: str, words: Language) -> dict[str, Any]:
    """Draw one scorer: all systems with error bars, and each difference with its own."""
    scorer = SCORERS.get(name)
    mine = report.metrics[report.part][name]
    scored = {rival: group[name] for rival, group in report.baselines.items() if name in group}
    order = verdict.strongest_first(scorer, {rival: i.value for rival, i in scored.items()})
    bars = [_bar(words("adapter"), "adapter", mine)]
    bars += [_bar(named(rival, words), rival, scored[rival]) for rival in order]
    write, ticks = partial(amount, scorer, words=words), partial(verdict.mark, scorer)
    called = words("drawn.scores", scorer=title(scorer, words))
    return {
        "scorer": scorer,
        "title": title(scorer, words),
        "n": mine.n,
        "forest": plots.forest(bars, write, ticks, title=called),
        "compared": [
            _difference(scorer, rival, report.paired[rival][name], words)
            for rival in order
            if name in report.paired.get(rival, {})
        ],
    }


def _difference(scorer: Scorer, rival: str, pair: Paired, words: Language) -> dict[str, Any]:
    bar = Bar(words("difference"), pair.difference, pair.low, pair.high, "adapter")
    write, ticks = partial(verdict.signed, scorer), partial(verdict.step, scorer)
    called = words("drawn.difference", rival=spoken(rival, words))
    return {
        "rival": spoken(rival, words),
        "text": difference(scorer, pair.difference, words),
        "bounds": bounds(scorer, pair, words),
        "p": chance(pair.p),
        "method": pair.method,
        "plot": plots.forest([bar], write, ticks, title=called, zero=True),
    }


def _bar(name: str, style: str, interval: Interval) -> Bar:
    known = "majority" if style in FREQUENT else style
    drawn = known if known in DRAWN else "other"
    return Bar(name, interval.value, interval.low, interval.high, drawn)


def named(baseline: str, words: Language) -> str:
    """Give a baseline's name as a table has it."""
    return words.name("rival", baseline, baseline.replace("_", " ").capitalize())


def tables(report: Report, words: Language) -> list[dict[str, Any]]:
    """Give each scorer's numbers in words: of each part and each baseline."""
    return [
        {
            "title": title(SCORERS.get(name), words),
            "method": report.intervals["methods"][name],
            "lines": [
                _line(SCORERS.get(name), system, interval, words)
                for system, interval in _systems(report, name, words)
            ],
        }
        for name in report.metrics[report.part]
    ]


def _systems(report: Report, name: str, words: Language) -> Iterator[tuple[str, Interval]]:
    for part, group in report.metrics.items():
        if name in group:
            yield words("system_on", system=words("adapter"), part=part), group[name]
    if name in report.unseen:
        yield words("unseen", part=report.part), report.unseen[name]
    for key, group in report.baselines.items():
        if name in group:
            yield words("system_on", system=named(key, words), part=report.part), group[name]


def _line(scorer: Scorer, system: str, interval: Interval, words: Language) -> dict[str, str]:
    return {
        "system": system,
        "value": amount(scorer, interval.value, words),
        "bounds": bounds(scorer, interval, words),
        "n": f"{interval.n:,}",
    }


def curves(report: Report, words: Language) -> list[dict[str, Any]]:
    """Draw what was logged on the way."""
    logged = report.learning_curve.items()
    return [_curve(name, points, words) for name, points in logged if points]


def _curve(name: str, points: list[list[float]], words: Language) -> dict[str, Any]:
    write, ticks, best = "{:.3g}".format, "{:.3g}".format, ""
    called = words.name("curve", name, name.replace("_", " ").capitalize())
    if name in SCORERS.names():
        scorer = SCORERS.get(name)
        write, ticks = partial(amount, scorer, words=words), partial(verdict.mark, scorer)
        best = "highest" if scorer.better == "higher" else "lowest"
        called = words("on_dev", scorer=title(scorer, words))
    return {"title": called, "plot": plots.curve(points, write, ticks, title=called, best=best)}
