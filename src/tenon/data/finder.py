"""Finder: what sees each row of a check once, and says what it found when all are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from tenon.data.example import Example
from tenon.data.findings import EXAMPLES, ROWS, Finding, Severity, said
from tenon.data.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Seen:
    """One row as a check sees it.

    Args:
        source: the part whose source it stands in.
        example: the row.
        texts: all that is said in it, answers included.
        normal: its text in normal form.
        pair: its second text in normal form; "" without one.
    """

    source: str
    example: Example
    texts: tuple[str, ...]
    normal: str
    pair: str


class Finder(Protocol):
    """Looks for one sort of fault, in memory that does not grow with the texts."""

    def see(self, seen: Seen) -> None:
        """Take in one row; every usable row comes once, source by source, in its order."""
        ...

    def found(self, ledgers: Mapping[str, Ledger]) -> Iterator[Finding]:
        """Give what was found.

        Args:
            ledgers: part to its rows, in the order in which they were seen.
        """
        ...


def texts_of(example: Example, *, written: bool) -> tuple[str, ...]:
    """Give all texts of a row.

    Args:
        written: whether its answer is a text as well.
    """
    if example.turns is not None:
        return tuple(turn.text for turn in example.turns)
    texts = (example.text,) if example.pair is None else (example.text, example.pair)
    if written and isinstance(example.gold, tuple):
        return texts + tuple(answer for answer in example.gold if isinstance(answer, str))
    return texts


def answer_of(example: Example, *, written: bool) -> str | None:
    """Give the answer of a row that is learned, where it is a text.

    Args:
        written: whether it is one.
    """
    gold = example.gold
    first = gold[0] if written and isinstance(gold, tuple) and gold else None
    return first if isinstance(first, str) else None


class Sort(NamedTuple):
    """One sort of fault in words.

    Args:
        severity: how grave it is.
        noun: what one such thing is called.
        does: what several of them do; the verb first.
        remedy: what to do.
    """

    severity: Severity
    noun: str
    does: str
    remedy: str


@dataclass(slots=True)
class Sightings:
    """How often each sort of fault was met, and in which rows first.

    Args:
        sorts: code to the words for it; findings come in its order.
    """

    sorts: Mapping[str, Sort]
    counts: Counter[str] = field(default_factory=Counter[str])
    rows: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    examples: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def add(self, code: str, origin: str, shown: str = "", times: int = 1) -> None:
        """Count a fault.

        Args:
            code: of its sort.
            origin: of the row.
            shown: what an example says of it beside its origin.
            times: how many such faults the row has.
        """
        self.counts[code] += times
        rows = self.rows.setdefault(code, [])
        if len(rows) < ROWS:
            rows.append(origin)
        if len(rows) <= EXAMPLES:
            self.examples.setdefault(code, []).append(f"{origin} ({shown})" if shown else origin)

    def findings(self) -> Iterator[Finding]:
        """Give a finding for each sort that was met."""
        for code, sort in self.sorts.items():
            if count := self.counts[code]:
                what = said(count, sort.noun, sort.does)
                shown, rows = tuple(self.examples[code]), tuple(self.rows[code])
                yield Finding(code, sort.severity, count, what, sort.remedy, shown, rows)
