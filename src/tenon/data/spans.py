"""Spans: labelled stretches with doubtful borders, or labelled otherwise than elsewhere."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast
from unicodedata import category

from tenon.data.example import Example
from tenon.data.finder import Seen, Sightings, Sort
from tenon.data.findings import EXAMPLES, ROWS, Finding, said
from tenon.data.gold import Span
from tenon.data.ledger import Ledger
from tenon.data.script import HAN, KANA
from tenon.data.secrets import masked

SPANS: dict[str, Sort] = {
    "spans-inside-words": Sort(
        "warning",
        "span",
        "have a border within a word",
        "mend the offsets; they may count bytes, or tokens of another tokenizer",
    ),
    "spans-inside-characters": Sort(
        "warning",
        "span",
        "have a border within a character that is written as several",
        "mend the offsets: a letter and its accent belong together",
    ),
}
MOST_SURFACES = 200_000
FEWEST = 5
"""Times that a stretch must be labelled so that another label of it stands out."""
RARE = 0.1
"""Largest share of a stretch's places that stand out from the others."""
_LONGEST_WORDS = 3
_HAN_SIZES = (2, 3, 4)
_KEPT = 50
_WORD = re.compile(r"\w+(?:[-'’.]\w+)*")
_JOINER = "\u200d"


@dataclass
class Spans:
    """Finds spans whose borders or labels are doubtful.

    Args:
        labels: a stretch of text to how often it has each label.
        places: a stretch and a label to the first rows in which it has that; of the label "", to
            those in which it has none.
    """

    sightings: Sightings = field(default_factory=lambda: Sightings(SPANS))
    labels: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    places: dict[tuple[str, str], list[str]] = field(
        default_factory=dict[tuple[str, str], list[str]]
    )

    def see(self, seen: Seen) -> None:
        """Take in one row."""
        example = seen.example
        spans = cast("tuple[Span, ...]", example.gold or ())
        if example.words is None:
            self._borders(example, spans)
        for surface, label in _surfaces(example.text, spans):
            if surface in self.labels or len(self.labels) < MOST_SURFACES:
                self._enter(surface, label, example.origin)
        for surface in _unlabelled(example.text, spans, self.labels):
            self._enter(surface, "", example.origin)

    def found(self, ledgers: Mapping[str, Ledger]) -> Iterator[Finding]:
        """Give doubtful borders, and stretches that few rows label otherwise than the others."""
        del ledgers
        yield from self.sightings.findings()
        torn = [(s, label) for s, counts in self.labels.items() for label in _standing_out(counts)]
        yield from self._torn("inconsistent-spans", [pair for pair in torn if pair[1]])
        yield from self._torn("unlabelled-spans", [pair for pair in torn if not pair[1]])

    def _enter(self, surface: str, label: str, origin: str) -> None:
        counts = self.labels.setdefault(surface, Counter())
        counts[label] += 1
        # Only what is rare is shown, so that some places are enough.
        if counts[label] <= _KEPT:
            self.places.setdefault((surface, label), []).append(origin)

    def _borders(self, example: Example, spans: tuple[Span, ...]) -> None:
        for span in spans:
            for at in (span.start, span.end):
                if parts_character(example.text, at):
                    self.sightings.add("spans-inside-characters", example.origin)
                    break
                if parts_word(example.text, at):
                    self.sightings.add("spans-inside-words", example.origin)
                    break

    def _torn(self, code: str, pairs: list[tuple[str, str]]) -> Iterator[Finding]:
        if not pairs:
            return
        rows = [origin for pair in pairs for origin in self.places[pair]]
        shown = tuple(self._told(*pair) for pair in pairs[:EXAMPLES])
        count = sum(self.labels[surface][label] for surface, label in pairs)
        does = "have another label than the same text has elsewhere"
        if code == "unlabelled-spans":
            does = "have no label where the same text has one nearly always"
        remedy = "look at them: some are rightly so, others were missed or mistyped"
        what = said(count, "place", does)
        yield Finding(code, "note", count, what, remedy, shown, tuple(rows[:ROWS]))

    def _told(self, surface: str, label: str) -> str:
        usual, times = self.labels[surface].most_common(1)[0]
        named = label or "no label"
        where = self.places[surface, label][0]
        return f"{where} ({masked(surface)!r} has {named}, elsewhere {usual} {times:,} times)"


def parts_word(text: str, at: int) -> bool:
    """Tell whether two letters, or two digits, of one word stand on both sides of a place."""
    if not 0 < at < len(text):
        return False
    before, after = text[at - 1], text[at]
    if HAN.match(before) or HAN.match(after) or KANA.match(before) or KANA.match(after):
        return False
    return (before.isalpha() and after.isalpha()) or (before.isdigit() and after.isdigit())


def parts_character(text: str, at: int) -> bool:
    """Tell whether a place lies within what is written as several code points and read as one."""
    if not 0 < at < len(text):
        return False
    after = text[at]
    joined = after == _JOINER or text[at - 1] == _JOINER
    return joined or category(after)[0] == "M" or "\U0001f3fb" <= after <= "\U0001f3ff"


def _standing_out(counts: Counter[str]) -> Iterator[str]:
    """Give the labels of a stretch that a tenth of its places have, or fewer."""
    total = sum(counts.values())
    usual, times = counts.most_common(1)[0]
    if usual and times >= FEWEST:
        yield from (label for label, n in counts.items() if label != usual and n <= RARE * total)


def _surfaces(text: str, spans: tuple[Span, ...]) -> Iterator[tuple[str, str]]:
    for span in spans:
        yield text[span.start : span.end], span.label


def _unlabelled(text: str, spans: tuple[Span, ...], known: Collection[str]) -> Iterator[str]:
    """Give the known stretches, of a few words or Chinese characters, that touch no span."""
    start = 0
    for span in (*spans, Span(len(text), len(text), "")):
        free = text[start : span.start]
        if HAN.search(free):
            yield from (
                run
                for at in range(len(free) - 1)
                for size in _HAN_SIZES
                if (run := free[at : at + size]) in known and len(run) == size
            )
        else:
            words = [match.span() for match in _WORD.finditer(free)]
            yield from (
                phrase
                for at, (first, _) in enumerate(words)
                for _, end in words[at : at + _LONGEST_WORDS]
                if (phrase := free[first:end]) in known
            )
        start = span.end
