"""Evidence: what stands beside the scores: seeds, slices, forgetting, temperature, the plan.

Each field may be empty, and then has no place on the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from tenon.evaluate import plots, verdict
from tenon.evaluate.language import Language
from tenon.evaluate.plots import Bar
from tenon.evaluate.quantity import amount, bounds, chance, difference, plain, spoken, title
from tenon.evaluate.report import Report
from tenon.evaluate.scorers import SCORERS, Scorer
from tenon.evaluate.statistics import Interval, Paired

SIDE = 150
"""Room for the name of a slice, in the units of a drawing."""


def planned(report: Report, words: Language) -> list[dict[str, Any]]:
    """Give what was foretold beside what was measured."""
    return [_foretold(line, words) for line in report.planned]


def _foretold(line: Mapping[str, Any], words: Language) -> dict[str, Any]:
    said = partial(plain, key=str(line["unit"]), words=words)
    low, high, measured = line["low"], line["high"], line["measured"]
    known = low is not None and high is not None
    deviation = "–"
    if measured and line["value"] is not None:
        share = 100 * (line["value"] - measured) / measured
        deviation = f"{share:+.0f} %".replace("-", verdict.MINUS)
    return {
        "name": words.name("field", str(line["name"])),
        "value": said(line["value"]),
        "bounds": words("range", low=said(low), high=said(high)) if known else "–",
        "measured": said(measured),
        "deviation": deviation,
        "outside": known and measured is not None and not low <= measured <= high,
    }


def seeds(report: Report, words: Language) -> dict[str, Any]:
    """Give the scores of each seed, and what is due to the seed and what to the rows."""
    if not report.seeds:
        return {}
    scores = report.seeds["scores"]
    known = {name: SCORERS.get(name) for name in scores if name in SCORERS.names()}
    paired = report.seeds.get("paired") or {}
    return {
        "scores": [_seeded(known[name], scores[name], words) for name in known],
        "paired": [
            _seeded_pair(SCORERS.get(name), rival, pair, words)
            for rival, group in paired.items()
            for name, pair in group.items()
            if name in SCORERS.names()
        ],
    }


def _seeded(scorer: Scorer, found: Mapping[str, Any], words: Language) -> dict[str, Any]:
    mean = Interval(found["mean"], found["low"], found["high"], len(found["values"]))
    return {
        "title": title(scorer, words),
        "plot": plots.strip(found["values"], mean.value, mean.low, mean.high),
        "mean": amount(scorer, mean.value, words),
        "bounds": bounds(scorer, mean, words),
        "sd_seed": _spread(scorer, found.get("sd_seed")),
        "sd_sample": _spread(scorer, found.get("sd_sample")),
        "share": _percent(found.get("share_seed")),
    }


def _spread(scorer: Scorer, value: float | None) -> str:
    return "–" if value is None else verdict.signed(scorer, value).removeprefix("+")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _seeded_pair(scorer: Scorer, rival: str, pair: Mapping[str, Any], words: Language) -> str:
    found = Paired(pair["difference"], pair["low"], pair["high"], pair["p"], 0, "")
    return words(
        "test_line",
        scorer=title(scorer, words),
        rival=spoken(rival, words),
        difference=difference(scorer, found.difference, words),
        bounds=bounds(scorer, found, words),
        p=chance(found.p),
    )


def temperature(report: Report, words: Language) -> list[dict[str, Any]]:
    """Give scores before and after the logits were scaled."""
    before = report.temperature.get("before", {})
    after = report.temperature.get("after", {})
    names = [name for name in before if name in after and name in SCORERS.names()]
    return [
        {
            "title": title(SCORERS.get(name), words),
            "before": _value(SCORERS.get(name), before[name], words),
            "after": _value(SCORERS.get(name), after[name], words),
        }
        for name in names
    ]


def _value(scorer: Scorer, found: Mapping[str, Any], words: Language) -> dict[str, str]:
    interval = Interval(found["value"], found["low"], found["high"], found.get("n", 0))
    return {
        "value": amount(scorer, interval.value, words),
        "bounds": bounds(scorer, interval, words),
    }


def slices(report: Report, words: Language, most: int) -> list[dict[str, Any]]:
    """Draw the leading score of each slice, a drawing for each property; the worst is marked.

    Args:
        most: slices of a property that are drawn, the lowest first.
    """
    lead = SCORERS.get(next(iter(report.metrics[report.part])))
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for entry in report.slices:
        groups.setdefault(str(entry["by"]), []).append(entry)
    return [
        {
            "by": by,
            "left": max(0, len(entries) - most),
            "plot": _slices(report, lead, by, _kept(lead, entries, most), words),
        }
        for by, entries in groups.items()
    ]


def _kept(lead: Scorer, entries: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """Give the slices in their order; of too many, those with the worst scores."""
    sign = 1 if lead.better == "higher" else -1
    worst = sorted(range(len(entries)), key=lambda place: sign * entries[place]["value"])[:most]
    return [entries[place] for place in sorted(worst)]


def _slices(
    report: Report, lead: Scorer, by: str, entries: Sequence[Mapping[str, Any]], words: Language
) -> Any:
    whole = report.metrics[report.part][lead.name]
    bars = [Bar(words("all_rows"), whole.value, whole.low, whole.high, "adapter")]
    bars += [
        Bar(
            f"{_slice(entry, words)} ({entry['n']:,})",
            entry["value"],
            entry["low"],
            entry["high"],
            "worst" if entry.get("worst") else "adapter",
        )
        for entry in entries
    ]
    write, ticks = partial(amount, lead, words=words), partial(verdict.mark, lead)
    called = words("drawn.slices", by=words.name("slice", by))
    return plots.forest(bars, write, ticks, title=called, side=SIDE)


def _slice(entry: Mapping[str, Any], words: Language) -> str:
    """Give the name of a slice; that of a language or of a length is ours, others are data."""
    name = str(entry["slice"])
    if entry["by"] == "language":
        return words.words.get(f"noun.{name}", name)
    return words.said(name) if entry["by"] == "length" else name


def worst(report: Report, words: Language) -> str:
    """Say which slice is the worst; "" where none is."""
    lead = SCORERS.get(next(iter(report.metrics[report.part])))
    found = next((entry for entry in report.slices if entry.get("worst")), None)
    if found is None:
        return ""
    pair = found.get("difference")
    said = words(
        "worst_slice",
        by=words.name("by", str(found["by"])),
        slice=_slice(found, words),
        scorer=title(lead, words),
        value=amount(lead, found["value"], words),
        n=found["n"],
    )
    if pair is None or found.get("p") is None:
        return said
    return said + words(
        "worst_differs", difference=difference(lead, pair, words), p=chance(found["p"])
    )


def forgetting(report: Report, words: Language) -> list[dict[str, Any]]:
    """Give what the adapter changes on texts that it was not trained for."""
    return [_forgotten(line, words) for line in report.forgetting]


def _forgotten(line: Mapping[str, Any], words: Language) -> dict[str, Any]:
    name = str(line["metric"])
    scorer = SCORERS.get(name) if name in SCORERS.names() else None
    write: Any = "{:.4g}".format if scorer is None else partial(amount, scorer, words=words)
    signed: Any = "{:+.3g}".format if scorer is None else partial(verdict.signed, scorer)
    low, high = signed(line["low"]), signed(line["high"])
    return {
        "text": str(line["text"]),
        "metric": words.name("scorer", name, scorer.title if scorer else ""),
        "n": f"{line['n']:,}",
        "before": write(line["before"]),
        "after": write(line["after"]),
        "difference": signed(line["difference"]).replace("-", verdict.MINUS),
        "bounds": words("range", low=low, high=high).replace("-", verdict.MINUS),
        "p": "–" if line.get("p") is None else chance(line["p"]).removeprefix("p = "),
    }
