"""Report page: how good an adapter is, against what, and at what cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from tenon.data.findings import counted
from tenon.evaluate.report import Report
from tenon.evaluate.scorers import SCORERS, Scorer
from tenon.evaluate.statistics import Interval, Paired
from tenon.evaluate.verdict import amount, probability, signed, strongest_first
from tenon.terminal.number import count, duration, size
from tenon.terminal.sheet import heading, notes, page, sheet

PROBE = "linear_probe"
SHORT = {
    PROBE: "probe",
    "frequent_tag": "frequent",
    "zero_shot": "base",
    "few_shot": "shots",
    "copy_source": "copied",
    "lead_3": "lead 3",
    "full": "full",
}
SHOWN_BASELINES = 2
COLOURS = {"better": "bold green", "worse": "bold red"}
COSTS = {
    "seconds": ("", duration),
    "tokens": (" tokens", count),
    "trainable_parameters": (" parameters trained", count),
    "peak_bytes": (" at most", size),
}


def report_page(report: Report, files: Sequence[tuple[str, str]] = ()) -> RenderableType:
    """Lay out verdict, metrics against baselines, cost, and where the files are.

    Args:
        report: as evaluated.
        files: what it is, and its path.
    """
    return page(
        Text(report.verdict, style=COLOURS.get(report.outcome, "bold")),
        *(_part(report, part) for part in report.metrics),
        _cost(report),
        notes(report.notes) if report.notes else None,
        paths(files) if files else None,
    )


def paths(files: Sequence[tuple[str, str]]) -> RenderableType:
    """Lay out what lies where."""
    return sheet("", "", rows=[(Text(what, style="dim"), Text(path)) for what, path in files])


def value_of(name: str, interval: Interval) -> str:
    """Give a score as people read it, without nats."""
    return amount(scorer_of(name), interval.value).removesuffix(" nats")


def bounds_of(name: str, interval: Interval) -> str:
    """Give a score's interval: 90.1–92.3."""
    scorer = scorer_of(name)
    low, high = (amount(scorer, end).split(" ")[0] for end in (interval.low, interval.high))
    return f"{low}–{high}"


def gain_of(name: str, paired: Paired) -> str:
    """Give a paired difference with its evidence: +3.1 (p < 0.001)."""
    return f"{signed(scorer_of(name), paired.difference)} ({probability(paired.p)})"


def scorer_of(name: str) -> Scorer:
    """Give the scorer of a name in a report."""
    return SCORERS.get(name)


def _part(report: Report, part: str) -> RenderableType:
    metrics = report.metrics[part]
    leading = part == report.part
    order = _strongest(report)
    shown = order[:SHOWN_BASELINES] if leading else []
    baselines = {name: group for name, group in report.baselines.items() if name in shown}
    paired = report.paired if leading else {}
    rival = next((name for name in order if name in paired), "")
    rows = [
        (
            name.replace("_", " "),
            Text(value_of(name, metric), style="bold"),
            bounds_of(name, metric),
            *(value_of(name, each[name]) if name in each else "–" for each in baselines.values()),
            *([_gain(name, paired[rival])] if rival else []),
        )
        for name, metric in metrics.items()
    ]
    known = [_short(name) for name in baselines]
    against = [f"over {_short(rival)}"] if rival else []
    head = ("metric", "value", "interval", *known, *against)
    n = max((metric.n for metric in metrics.values()), default=0)
    return Group(heading(part, counted(n, "row")), sheet(*head, rows=rows, numbers=head[1:]))


def _strongest(report: Report) -> list[str]:
    """Give the baselines by the leading score, the best first: a terminal has no room for all."""
    lead = next(iter(report.metrics[report.part]))
    values = {name: group[lead].value for name, group in report.baselines.items() if lead in group}
    return list(dict.fromkeys([*strongest_first(scorer_of(lead), values), *report.baselines]))


def _gain(name: str, paired: Mapping[str, Paired]) -> str:
    return gain_of(name, paired[name]) if name in paired else "–"


def _short(baseline: str) -> str:
    return SHORT.get(baseline, baseline.replace("_", " "))


def _cost(report: Report) -> RenderableType | None:
    said = [
        f"{form(report.cost[name])}{what}"
        for name, (what, form) in COSTS.items()
        if isinstance(report.cost.get(name), int | float)
    ]
    return Text(" · ".join(said), style="dim") if said else None
