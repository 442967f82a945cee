"""Findings page: what is in the data, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from tenon.data.findings import Finding, Findings, counted
from tenon.terminal.number import count
from tenon.terminal.place import short
from tenon.terminal.sheet import heading, page, sheet

MARKS = {"error": ("✗", "red"), "warning": ("!", "yellow"), "note": ("·", "dim")}
SHOWN_LABELS = 12
SHOWN_ORIGINS = 3


def findings_page(findings: Findings) -> RenderableType:
    """Lay out rows, labels, lengths, and the findings with what to do."""
    return page(
        _rows(findings), _labels(findings), _lengths(findings), found(findings), _mended(findings)
    )


def several_page(several: Sequence[Findings]) -> RenderableType:
    """Lay out the findings of each adapter's data."""
    return page(*(findings_page(each) for each in several))


def _rows(findings: Findings) -> RenderableType:
    columns = findings.columns
    said = [f"{name} = {column}" for name, column in columns.named().items()] if columns else []
    said = said or ["columns not known"]
    rows = [
        (part, count(number), count(findings.refused.get(part, 0)), short(findings.sources[part]))
        for part, number in findings.rows.items()
    ]
    head = ("part", "rows", "refused", "source")
    return Group(
        heading("Rows", ", ".join(said)), sheet(*head, rows=rows, numbers=head[1:3], clip=head[3])
    )


def _labels(findings: Findings) -> RenderableType | None:
    parts = [part for part, labels in findings.labels.items() if labels]
    if not parts:
        return None
    total: dict[str, int] = {}
    for part in parts:
        for label, number in findings.labels[part].items():
            total[label] = total.get(label, 0) + number
    ranked = sorted(total, key=lambda label: (-total[label], label))
    shown = ranked if len(ranked) <= SHOWN_LABELS else [*ranked[: SHOWN_LABELS - 2], *ranked[-2:]]
    rows = [
        (Text(label), *(count(findings.labels[part].get(label, 0)) for part in parts))
        for label in shown
    ]
    if len(ranked) > len(shown):
        rows.insert(
            -2, (Text(f"… {len(ranked) - len(shown)} more", style="dim"), *("" for _ in parts))
        )
    title = heading("Labels", f"{len(ranked)}, the most frequent first")
    return Group(title, sheet("label", *parts, rows=rows, numbers=parts))


def _lengths(findings: Findings) -> RenderableType | None:
    if not findings.lengths:
        return None
    rows = [
        (each.unit, *(count(n) for n in (each.median, each.p95, each.p99, each.longest, each.rows)))
        for each in findings.lengths
    ]
    head = ("lengths in", "median", "95 %", "99 %", "longest", "rows")
    return sheet(*head, rows=rows, numbers=head[1:])


def _mended(findings: Findings) -> RenderableType | None:
    """Lay out what a mended copy is, and what was not mended."""
    copy = findings.mended
    if copy is None:
        return None
    title = heading("Mended copy", f"{short(str(copy.out))}, {counted(copy.rows, 'row')}")
    done = [(Text("✓", style="green"), Text(line)) for line in copy.said()]
    if not done:
        done = [(Text("·", style="dim"), Text("nothing was to be mended"))]
    left = [(Text("·", style="dim"), Text(line, style="dim")) for line in copy.left]
    told = Text(f"each is listed in {short(str(copy.fixes))}", style="dim")
    return Group(title, sheet("", "", rows=[*done, (Text(""), told), *left]))


def found(findings: Findings) -> RenderableType:
    """Lay out the findings alone, each with what to do."""
    if not findings.findings:
        return Text("✓ nothing found that is wrong", style="green")
    said = f"{counted(findings.errors, 'error')}, {counted(findings.warnings, 'warning')}"
    title = heading("Findings", said)
    rows = [_finding(each) for each in findings.findings]
    return Group(title, sheet("", "", rows=rows))


def _finding(finding: Finding) -> tuple[RenderableType, RenderableType]:
    mark, colour = MARKS[finding.severity]
    origins = short(", ".join(finding.examples[:SHOWN_ORIGINS]))
    more = ", …" if len(finding.examples) > SHOWN_ORIGINS else ""
    text = Text(short(finding.what), style="dim" if finding.severity == "note" else "")
    if finding.remedy:
        text.append(f"\n→ {finding.remedy}", style="cyan" if finding.severity == "error" else "dim")
    if origins:
        text.append(f"\n  {origins}{more}", style="dim")
    return Text(mark, style=colour), text
