"""Preflight page: what was looked at before a run, and its first rows as coloured tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from tenon.core.proof import Check
from tenon.evaluate.report import Report
from tenon.terminal.number import duration
from tenon.terminal.place import short
from tenon.terminal.sheet import heading, sheet
from tenon.train.preflight import Preflight

TRAINED = ("bold green", "bold green underline")
READ = ("dim", "dim underline")
"""Neighbouring tokens differ, so that one sees where each begins."""
BEGIN, END = "⟦", "⟧"
"""Around what is learned, for where there are no colours."""


def preflight_part(found: Preflight) -> RenderableType:
    """Lay out each check, and the first rows."""
    return Group(
        heading("Preflight", told(found)),
        sheet("", "", "", rows=[_line(check) for check in found.checks]),
        Text(""),
        heading("First rows", f"learned is what is green, {BEGIN}…{END}; the rest is read"),
        sheet("", "", rows=[(short(row["origin"]), _tokens(row["tokens"])) for row in found.rows]),
    )


def preflight_line(report: Report) -> RenderableType | None:
    """Say how the preflight of a run ended, each check that failed in full; None without one."""
    if not report.preflight:
        return None
    found = Preflight.from_json(report.preflight)
    line = Text(f"preflight: {told(found)}", style="red" if found.failed else "dim")
    if not found.failed:
        return line
    return Group(line, sheet("", "", "", rows=[_line(check) for check in found.failed]))


def told(found: Preflight) -> str:
    """Say in short how a preflight ended."""
    failed, number = len(found.failed), len(found.checks)
    ended = f"{failed} of {number} checks failed" if failed else f"{number} checks passed"
    return f"{ended} in {duration(found.seconds)}"


def _line(check: Check) -> tuple[RenderableType, ...]:
    if check.passed:
        return Text("✓", style="green"), check.name, Text(short(check.what), style="dim")
    said = Text.assemble((short(check.what), "red"), ("\n" + check.remedy, "bold"))
    return Text("✗", style="bold red"), Text(check.name, style="bold"), said


def _tokens(tokens: Sequence[Mapping[str, Any]]) -> Text:
    made, inside = Text(), False
    for place, token in enumerate(tokens):
        if token["trained"] is not inside:
            made.append(END if inside else BEGIN, style=TRAINED[0])
            inside = not inside
        styles = TRAINED if inside else READ
        made.append(_visible(token["text"]), style=styles[place % 2])
    return made.append(END, style=TRAINED[0]) if inside else made


def _visible(text: str) -> str:
    """Give a token with signs for what one would not see."""
    return text.replace("\n", "⏎").replace("\t", "⇥")
