"""Findings: what is in the data, and what is wrong with it, as values that a page or JSON shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from tenon.data.settings import Columns

if TYPE_CHECKING:
    from tenon.data.mended_copy import Mended

Severity = Literal["error", "warning", "note"]
SEVERITIES = ("error", "warning", "note")
EXAMPLES = 5
ROWS = 1_000
_SINGULAR = {"have": "has", "are": "is", "do": "does"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    Args:
        code: a short name, the same at each check: "near-duplicates".
        severity: an error stops training; a warning spoils a result; a note is worth knowing.
        count: how many rows, texts or labels it is about.
        what: what is there, in a sentence.
        remedy: what to do, or what training does about it.
        examples: up to five origins, or names of labels, as a page shows them.
        rows: origins of the rows it is about, at most the first thousand; none where it is about
            no single rows.
    """

    code: str
    severity: Severity
    count: int
    what: str
    remedy: str = ""
    examples: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long texts are, of a pair both together.

    Args:
        unit: "characters" or "tokens".
        rows: rows that were measured.
        median, p95, p99, longest: in `unit`.
    """

    unit: str
    rows: int
    median: int
    p95: int
    p99: int
    longest: int


@dataclass(frozen=True, slots=True)
class Findings:
    """All that a check found.

    Args:
        sources: part to the source that feeds it.
        share: share of train that becomes dev; 0 where dev has its own source, or there is none.
        columns: meaning of the columns, or None where they could not be told.
        rows: part to rows that can be used.
        refused: part to rows that cannot.
        labels: part to label to rows.
        lengths: of all usable rows in characters; of a sample in tokens, if a tokenizer was given.
        findings: errors first, then warnings, then notes.
        faults: every unusable row with its origin, at most the first thousand.
        mended: the mended copy that was written, if one was asked for.
    """

    sources: Mapping[str, str]
    share: float
    columns: Columns | None
    rows: Mapping[str, int]
    refused: Mapping[str, int]
    labels: Mapping[str, Mapping[str, int]]
    lengths: tuple[Lengths, ...]
    findings: tuple[Finding, ...]
    faults: tuple[str, ...]
    mended: Mended | None = None

    @property
    def errors(self) -> int:
        """How many findings stop a training."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        """How many findings spoil a result."""
        return sum(finding.severity == "warning" for finding in self.findings)

    def with_more(self, found: Iterable[Finding]) -> Findings:
        """Give these findings and some others, the gravest first."""
        every = sorted([*self.findings, *found], key=lambda each: SEVERITIES.index(each.severity))
        return replace(self, findings=tuple(every))

    def of(self, code: str) -> list[Finding]:
        """Give the findings with one code."""
        return [finding for finding in self.findings if finding.code == code]

    def shown(self) -> list[dict[str, Any]]:
        """Give what a report shows: all findings but those about how the files were read."""
        return [
            {name: value for name, value in asdict(each).items() if name != "rows"}
            | {"examples": list(each.examples)}
            for each in self.findings
            if each.code != "reading"
        ]

    def to_json(self) -> dict[str, Any]:
        """Give everything as values that JSON has."""
        return {
            "format": 1,
            "sources": dict(self.sources),
            "dev_share": self.share,
            "columns": self.columns.model_dump() if self.columns else None,
            "rows": dict(self.rows),
            "refused": dict(self.refused),
            "labels": {part: dict(counts) for part, counts in self.labels.items()},
            "lengths": {lengths.unit: asdict(lengths) for lengths in self.lengths},
            "findings": [
                asdict(finding) | {"examples": list(finding.examples), "rows": list(finding.rows)}
                for finding in self.findings
            ],
            "faults": list(self.faults),
            **({"mended": self.mended.to_json()} if self.mended else {}),
        }


def counted(count: int, noun: str) -> str:
    """Give a number with its noun: "1 row", "2,000 rows"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def agreed(count: int, does: str) -> str:
    """Give a verb as its subject's number asks: "has" for 1, "have" for all others."""
    return does if count != 1 else _SINGULAR.get(does, f"{does}s")


def said(count: int, noun: str, does: str) -> str:
    """Give a sentence about so many things: "1 row has no label", "2 rows have no label".

    Args:
        count: of the things.
        noun: what one of them is called.
        does: what several of them do or have; the verb first.
    """
    verb, _, rest = does.partition(" ")
    return f"{counted(count, noun)} {agreed(count, verb)} {rest}"


def share_of(count: int, total: int) -> str:
    """Give "331 of 1,200 (27.6 %)"."""
    return f"{count:,} of {total:,} ({100 * count / max(total, 1):.1f} %)"
