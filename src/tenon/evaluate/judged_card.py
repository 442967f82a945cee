"""Judged card: what a model card says of how good an adapter is, and of what is not known."""

from __future__ import annotations

from typing import Any

from tenon.data.findings import counted
from tenon.evaluate.evidence import worst
from tenon.evaluate.language import language
from tenon.evaluate.quantity import amount, bounds, difference, spoken, title
from tenon.evaluate.report import Report
from tenon.evaluate.scorers import SCORERS, Scorer
from tenon.evaluate.statistics import Interval, Paired
from tenon.evaluate.verdict import probability, strongest_first

DIGITS = 6
SHOWN_NOTES = 12
WORDS = language("en")
HUB_METRICS = {
    "answer_exact": "exact_match",
    "answer_f1": "f1",
    "entity_f1": "f1",
    "entity_precision": "precision",
    "entity_recall": "recall",
    "label_macro_f1": "f1",
    "label_micro_f1": "f1",
    "macro_f1": "f1",
    "mcc": "matthews_correlation",
    "pearson": "pearsonr",
    "rouge_1": "rouge",
    "rouge_2": "rouge",
    "rouge_l": "rouge",
    "spearman": "spearmanr",
    "tag_accuracy": "accuracy",
}
"""Scores that hubs know under another name; their own stands beside."""


def results(task: str, report: Report) -> list[dict[str, Any]]:
    """Give the results of a `model-index`: each part with every score and its interval.

    Args:
        task: as the hub names it.
        report: of the adapter; its figures are given as they are, rounded to six places.
    """
    return [
        {
            "task": {"type": task, "name": WORDS.name("task", report.task)},
            "dataset": {"name": f"{part} rows", "type": "local", "split": part},
            "metrics": [_metric(name, found, report) for name, found in metrics.items()],
        }
        for part, metrics in report.metrics.items()
        if metrics
    ]


def _metric(name: str, found: Interval, report: Report) -> dict[str, Any]:
    return {
        "type": HUB_METRICS.get(name, name),
        "name": title(SCORERS.get(name), WORDS),
        "value": round(found.value, DIGITS),
        "args": {
            "low": round(found.low, DIGITS),
            "high": round(found.high, DIGITS),
            "level": report.intervals["level"],
            "rows": found.n,
        },
    }


def judged(report: Report) -> list[str]:
    """Give the sections on how good an adapter is, and where that ends."""
    return [
        "## How good it is",
        "",
        report.verdict,
        "",
        *_scores(report),
        *_seeds(report),
        *_limits(report),
    ]


def _scores(report: Report) -> list[str]:
    """Give the scores on the leading part, with their strongest baseline."""
    metrics = report.metrics[report.part]
    lead = SCORERS.get(next(iter(metrics)))
    groups = report.baselines.items()
    order = strongest_first(lead, {n: g[lead.name].value for n, g in groups if lead.name in g})
    rival = next((name for name in order if name in report.paired), "")
    against = [f"over {spoken(rival, WORDS)}"] if rival else []
    level = f"{100 * report.intervals['level']:g} % interval"
    head = [report.part, "value", level, *against, "rows"]
    rows = [_score(SCORERS.get(name), found, report, rival) for name, found in metrics.items()]
    return [*_table(head, rows), ""]


def _score(scorer: Scorer, found: Interval, report: Report, rival: str) -> list[str]:
    pair = report.paired.get(rival, {}).get(scorer.name)
    against = [_gain(scorer, pair) if pair else "–"] if rival else []
    value = amount(scorer, found.value, WORDS)
    interval = bounds(scorer, found, WORDS)
    return [title(scorer, WORDS), value, interval, *against, f"{found.n:,}"]


def _gain(scorer: Scorer, pair: Paired) -> str:
    size, ends = difference(scorer, pair.difference, WORDS), bounds(scorer, pair, WORDS)
    return f"{size} ({ends}; {probability(pair.p)})"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines]


def _seeds(report: Report) -> list[str]:
    """Give the means over seeds, and what is due to them."""
    if not report.seeds:
        return []
    rows: list[list[str]] = []
    for name, found in report.seeds["scores"].items():
        scorer = SCORERS.get(name)
        mean = Interval(found["mean"], found["low"], found["high"], len(found["values"]))
        share = found.get("share_seed")
        rows.append(
            [
                title(scorer, WORDS),
                amount(scorer, mean.value, WORDS),
                bounds(scorer, mean, WORDS),
                "–" if share is None else f"{100 * share:.0f} %",
            ]
        )
    seeds = report.seeds["seeds"]
    head = [f"{len(seeds)} seeds", "mean", "interval", "variance due to the seed"]
    return [*_table(head, rows), ""]


def _limits(report: Report) -> list[str]:
    """Say what the figures do not tell."""
    rows = next(iter(report.metrics[report.part].values())).n
    lines = [
        f"The figures are of {counted(rows, 'row')} of {report.part}; rows of another kind may be "
        "answered worse."
    ]
    if report.slices and (said := worst(report, WORDS)):
        lines.append(f"{said}.")
    grave = [each for each in report.findings if each["severity"] != "note"]
    lines += [f"In the data: {each['what']}." for each in grave[:SHOWN_NOTES]]
    lines += [note if note.endswith(".") else f"{note}." for note in report.notes[:SHOWN_NOTES]]
    left = max(0, len(grave) - SHOWN_NOTES) + max(0, len(report.notes) - SHOWN_NOTES)
    more = [f"{left:,} further remarks are in the report."] if left else []
    return ["## Limits", "", *(f"* {line}" for line in [*lines, *more]), ""]
