"""Page: a report as one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from tenon.evaluate import plots, verdict
from tenon.evaluate.differing import differing
from tenon.evaluate.marks import hues, marked
from tenon.evaluate.plots import Bar
from tenon.evaluate.report import Report
from tenon.evaluate.scatter import scatter
from tenon.evaluate.scorers import SCORERS, Scorer
from tenon.evaluate.statistics import Interval, Paired

SHOWN_CLASSES = 10
MOST_CLASSES = 300
SHOWN_ROWS = 8
HEADLINES = {
    "better": "Better than the baseline",
    "no_difference": "No difference shown",
    "worse": "Worse than the baseline",
    "unproved": "Not compared",
}
NAMES = {
    "full": "Full fine-tuning",
    "linear_probe": "Linear probe",
    "majority": "Majority",
    "label_frequency": "Label frequency",
    "train_mean": "Mean of train",
    "question_overlap": "Question overlap",
    "always_no_answer": "Always no answer",
    "frequent_tag": "Frequent tag",
    "zero_shot": "Base alone",
    "few_shot": "Base, 3 shots",
    "copy_source": "Text copied",
    "lead_3": "First 3 sentences",
}
DRAWN = ("adapter", "linear_probe", "majority")
"""Systems that have a colour of their own; all others share one."""
FREQUENT = ("label_frequency", "train_mean", "frequent_tag", "always_no_answer")
"""Baselines that know only what is frequent, and are drawn as the majority is."""
METHODS = {
    "wilson": "Wilson interval",
    "log": "Student's, on the scale of the logarithm",
    "bca": "bootstrap, bias-corrected and accelerated",
    "inverted": "bootstrap, test inversion",
}


def html(report: Report) -> str:
    """Give the report's page; every text of the user's is escaped.

    Args:
        report: as made, or as read from `report.json`.

    Raises:
        PlanError: the report has a scorer that is not registered here.
    """
    environment = Environment(
        loader=PackageLoader("tenon.evaluate", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["plain"] = plain
    environment.filters["words"] = words
    environment.filters["soft"] = soft
    return environment.get_template("report.html").render(
        report=report,
        headline=HEADLINES[report.outcome],
        cards=[_card(report, name) for name in report.metrics[report.part]],
        tables=[_numbers(report, name) for name in report.metrics[report.part]],
        curves=[_curve(name, points) for name, points in report.learning_curve.items() if points],
        reliability=_drawn(plots.reliability, report.calibration, "accuracy against confidence"),
        heat=_drawn(plots.heat, report.confusion, "confusion matrix"),
        scatter=_drawn(scatter, report.scatter, "answers against gold"),
        several=any("threshold" in entry for entry in report.per_class),
        marked=partial(marked, colours=hues(entry["label"] for entry in report.per_class)),
        differing=differing,
        classes=_classes(report),
        hidden_classes=max(0, len(report.per_class) - MOST_CLASSES),
        shown_classes=SHOWN_CLASSES,
        shown_rows=SHOWN_ROWS,
        share=plots.share,
        methods=METHODS,
        rival=verdict.spoken(report.won.get("against", "")).removeprefix("the ") or "base",
    )


def _drawn(draw: Callable[..., Markup], values: Any, title: str) -> Markup:
    return draw(values, title=title) if values else Markup("")


def _card(report: Report, name: str) -> dict[str, Any]:
    """Draw one scorer: all systems with error bars, and each difference with its own."""
    scorer = SCORERS.get(name)
    bars = [_bar("Adapter", "adapter", report.metrics[report.part][name])]
    scored = {rival: group[name] for rival, group in report.baselines.items() if name in group}
    order = verdict.strongest_first(scorer, {rival: i.value for rival, i in scored.items()})
    bars += [_bar(named(rival), rival, scored[rival]) for rival in order]
    write, ticks = partial(verdict.amount, scorer), partial(verdict.mark, scorer)
    compared = [
        _difference(scorer, rival, report.paired[rival][name])
        for rival in order
        if name in report.paired.get(rival, {})
    ]
    return {
        "scorer": scorer,
        "forest": plots.forest(bars, write, ticks, title=f"{scorer.title} with intervals"),
        "compared": compared,
    }


def _difference(scorer: Scorer, rival: str, pair: Paired) -> dict[str, Any]:
    bar = Bar("difference", pair.difference, pair.low, pair.high, "adapter")
    write, ticks = partial(verdict.signed, scorer), partial(verdict.step, scorer)
    return {
        "rival": verdict.spoken(rival),
        "text": verdict.difference(scorer, pair.difference),
        "bounds": f"{write(pair.low)} to {write(pair.high)}",
        "p": verdict.probability(pair.p).replace(" ", "\N{NO-BREAK SPACE}"),
        "method": pair.method,
        "plot": plots.forest([bar], write, ticks, title=f"difference to {rival}", zero=True),
    }


def _bar(name: str, style: str, interval: Interval) -> Bar:
    known = "majority" if style in FREQUENT else style
    drawn = known if known in DRAWN else "other"
    return Bar(name, interval.value, interval.low, interval.high, drawn)


def named(baseline: str) -> str:
    """Give a baseline's name as a table has it."""
    return NAMES.get(baseline, baseline.replace("_", " ").capitalize())


def _numbers(report: Report, name: str) -> dict[str, Any]:
    """Give one scorer's numbers in words: each part and each baseline."""
    scorer = SCORERS.get(name)
    systems = [
        (f"Adapter, {part}", group[name]) for part, group in report.metrics.items() if name in group
    ]
    if name in report.unseen:
        systems.append((f"Adapter, {report.part} rows not in train", report.unseen[name]))
    systems += [
        (f"{named(key)}, {report.part}", group[name])
        for key, group in report.baselines.items()
        if name in group
    ]
    write: Callable[[float], str] = partial(verdict.amount, scorer)
    return {
        "scorer": scorer,
        "lines": [
            {
                "system": system,
                "value": write(interval.value),
                "bounds": f"{write(interval.low)} – {write(interval.high)}",
                "n": f"{interval.n:,}",
            }
            for system, interval in systems
        ],
    }


def _curve(name: str, points: list[list[float]]) -> dict[str, Any]:
    write, ticks, best = "{:.3g}".format, "{:.3g}".format, ""
    title = "Train loss, nats" if name == "loss" else name.replace("_", " ").capitalize()
    if name in SCORERS.names():
        scorer = SCORERS.get(name)
        write, ticks = partial(verdict.amount, scorer), partial(verdict.mark, scorer)
        best = "highest" if scorer.better == "higher" else "lowest"
        title = f"{scorer.title} on dev"
    return {"title": title, "plot": plots.curve(points, write, ticks, title=title, best=best)}


def _classes(report: Report) -> list[dict[str, Any]]:
    """Number the classes, weakest F1 first; those without rows or answers come last."""
    numbered = [{"number": place, **entry} for place, entry in enumerate(report.per_class, 1)]
    weakest = sorted(numbered, key=lambda entry: (entry["f1"] is None, entry["f1"] or 0.0))
    return weakest[:MOST_CLASSES]


def soft(label: str) -> Markup:
    """Let a long label break after underscores, slashes and dots."""
    return Markup(re.sub(r"([_/.])", r"\1<wbr>", str(escape(label))))


def words(key: str) -> str:
    """Give a field's name as people read it: "peak_bytes" to "peak memory"."""
    return {"peak_bytes": "peak memory", "seconds": "time"}.get(key, key.replace("_", " "))


def plain(value: object, key: str = "") -> str | Markup:
    """Give a number with the unit that its field's name tells, or any other value as text."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int | float):
        if key.endswith("seconds"):
            return duration(value)
        if key.endswith("bytes"):
            return memory(value)
        return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
    return str(value)


def duration(seconds: float) -> str:
    """Give a time: "0.8 s", "3 min 12 s", "2 h 5 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def memory(bytes: float) -> str:
    """Give a size: "812 MiB", "1.4 GiB"."""
    size = float(bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
