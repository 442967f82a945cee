"""Page: a report as one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from markupsafe import Markup, escape

from tenon.core.errors import DataError
from tenon.evaluate import board, evidence, plots, quantity, sentence
from tenon.evaluate.differing import differing
from tenon.evaluate.environment import environment
from tenon.evaluate.language import Language, language
from tenon.evaluate.marks import hues, marked
from tenon.evaluate.report import Report
from tenon.evaluate.scatter import scatter

MOST_BYTES = 2_000_000
MOST_CLASSES = 300
LABEL_CHARACTERS = 120
TEXT_CHARACTERS = 400
SECTIONS = (
    "findings", "planned", "preflight", "curves", "scores", "seeds", "classes", "calibration",
    "slices", "forgetting", "changes", "sample", "errors", "notes", "facts",
)  # fmt: skip
"""In their order below the verdict."""


@dataclass(frozen=True)
class Caps:
    """How much of each list is shown; what is left out is counted.

    Args:
        rows: of each list of rows; `open` of them at once.
        tokens: of a row of the preflight.
        findings, notes: of these.
        classes: rows of the table of classes; `classes_open` of them at once.
        cells: of the confusion matrix.
        points: of the scatter plot.
        slices: of each property.
        sections: those that are shown where a report has them.
    """

    rows: int = 50
    open: int = 8
    tokens: int = 300
    findings: int = 60
    notes: int = 60
    classes: int = MOST_CLASSES
    classes_open: int = 10
    cells: int = plots.MOST_CELLS
    points: int = 1_500
    slices: int = 25
    sections: tuple[str, ...] = SECTIONS


SHRINKING = (
    Caps(),
    Caps(rows=20, tokens=150, classes=150, cells=1_500, points=700),
    Caps(8, 8, 60, 20, 20, 40, 10, 400, 200, 10),
    Caps(2, 2, 20, 5, 5, 10, 10, 100, 100, 5, ("curves", "scores")),
)
"""The first whose page is small enough is taken."""


def html(report: Report, code: str = "en") -> str:
    """Give the report's page; every text of the user's is escaped.

    Args:
        report: as made, or as read from `report.json`.
        code: the language of the page, "en" or "zh".

    Raises:
        PlanError: the report has a scorer that is not registered here, or the language is none.
        DataError: even the shortest page takes more than 2 MB.
    """
    words = language(code)
    return within(lambda caps: _report(report, words, caps))


def within(render: Callable[[Caps], str]) -> str:
    """Give the longest page that is small enough.

    Raises:
        DataError: none is.
    """
    for caps in SHRINKING:
        page = render(caps)
        if len(page.encode()) < MOST_BYTES:
            return page
    raise DataError(
        f"report: its page would take more than {MOST_BYTES:,} bytes; shorten its texts"
    )


def _report(report: Report, words: Language, caps: Caps) -> str:
    return render(
        "report.html",
        words,
        caps,
        report=report,
        headline=words(f"outcome.{report.outcome}"),
        verdict=sentence.verdict(report, words),
        sections=[name for name in caps.sections if _has(report, name)],
        marked=partial(marked, colours=hues(entry["label"] for entry in report.per_class)),
        **_drawings(report, words, caps),
        **_shown(report, words, caps),
    )


def render(template: str, words: Language, caps: Caps, **values: Any) -> str:
    """Fill a template of ours.

    Args:
        values: what it shows; `marked` marks spans in a text.
    """
    made = environment(words.code)
    filters: dict[str, Any] = {
        "amount": lambda value, scorer: quantity.amount(scorer, value, words),
        "clip": clip,
        "plain": lambda value, key="": quantity.plain(value, key, words),
        "soft": soft,
        "visible": visible,
        "words": lambda key: str(key).replace("_", " "),
    }
    made.filters.update(filters)
    shared = {"t": words, "caps": caps, "differing": differing, "share": plots.share}
    return made.get_template(template).render({**shared, **values})


def _has(report: Report, section: str) -> bool:
    """Whether a section has anything to show."""
    match section:
        case "curves":
            return any(report.learning_curve.values())
        case "scores":
            return True
        case "classes":
            return bool(report.per_class or report.confusion or report.scatter)
        case "calibration":
            return bool(report.calibration or report.temperature)
        case "changes":
            return bool(report.won)
        case "errors":
            return bool(report.surest_errors and report.surest_errors["rows"])
        case "facts":
            return bool(report.cost or report.data or report.environment or report.command)
        case _:
            return bool(getattr(report, section))


def _drawings(report: Report, words: Language, caps: Caps) -> dict[str, Any]:
    """Give what a page draws."""
    points = {**report.scatter, "points": report.scatter.get("points", [])[: caps.points]}
    heat = partial(plots.heat, most=caps.cells)
    return {
        "cards": board.cards(report, words),
        "tables": board.tables(report, words),
        "curves": board.curves(report, words),
        "reliability": _drawn(
            partial(plots.reliability, words=words), report.calibration, words("drawn.reliability")
        ),
        "heat": _drawn(heat, report.confusion, words("drawn.heat")),
        "scatter": _drawn(
            partial(scatter, words=words),
            points if report.scatter else {},
            words("drawn.scatter"),
        ),
        "points": len(points["points"]),
        "cells": min(caps.cells, len(report.confusion.get("cells", []))),
    }


def _drawn(draw: Callable[..., Markup], values: Any, title: str) -> Markup:
    return draw(values, title=title) if values else Markup("")


def _shown(report: Report, words: Language, caps: Caps) -> dict[str, Any]:
    """Give what a page lists."""
    against = report.won.get("against", "")
    return {
        "findings": report.findings[: caps.findings],
        "planned": evidence.planned(report, words),
        "seeds": evidence.seeds(report, words),
        "temperature": evidence.temperature(report, words),
        "slices": evidence.slices(report, words, caps.slices) if report.slices else [],
        "worst": evidence.worst(report, words) if report.slices else "",
        "forgetting": evidence.forgetting(report, words),
        "classes": _classes(report, caps.classes),
        "hidden_classes": max(0, len(report.per_class) - caps.classes),
        "reading": report.task == "question-answering",
        "writes": writes(report),
        "manner": manner(report),
        "rival": quantity.spoken(against, words) if against else words("baseline"),
    }


def writes(report: Report) -> bool:
    """Whether the rows of a report are texts that were written."""
    rows = report.sample.get("rows", [])
    return bool(rows) and "reference" in rows[0]


def manner(report: Report) -> str:
    """Say how rows are won: by what the words of a page differ from task to task."""
    if writes(report):
        return "written"
    if report.scatter:
        return "numbers"
    if any("threshold" in entry for entry in report.per_class):
        return "several"
    known = {"question-answering": "answers", "token-classification": "spans"}
    return known.get(report.task, "classes")


def _classes(report: Report, most: int) -> list[dict[str, Any]]:
    """Number the classes, weakest F1 first; those without rows or answers come last."""
    numbered = [{"number": place, **entry} for place, entry in enumerate(report.per_class, 1)]
    weakest = sorted(numbered, key=lambda entry: (entry["f1"] is None, entry["f1"] or 0.0))
    return weakest[:most]


def soft(label: str) -> Markup:
    """Let a long label break after underscores, slashes and dots."""
    short = clip(str(label), LABEL_CHARACTERS)
    return Markup(re.sub(r"([_/.])", r"\1<wbr>", str(escape(short))))


def clip(text: str, characters: int = TEXT_CHARACTERS) -> str:
    """Cut a text that is too long to be read."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def visible(token: str) -> str:
    """Show what in a token is not seen."""
    return token.replace("\n", "↵\n").replace("\t", "⇥")
