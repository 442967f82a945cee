"""Near duplicates: rows that differ from an earlier one by little, found without keeping texts.

A text's signature is MinHash of its runs of three characters, or two in Chinese and Japanese; rows
are compared that share a band of it, and are near if at least 78 of 100 of the signature agree.
Rows that differ in their numbers, or in their second text, are not near: what one asks is not what
the other asks. N rows, P permutations.

Source: Broder 1997, "On the resemblance and containment of documents"; Leskovec, Rajaraman and
Ullman, "Mining of Massive Datasets", chapter 3, for the bands.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from zlib import crc32

import numpy as np
import numpy.typing as npt
from rensa import RMinHash  # pyright: ignore[reportAttributeAccessIssue] - it has no stubs

from tenon.data.finder import Seen
from tenon.data.findings import EXAMPLES, ROWS, Finding, agreed, share_of
from tenon.data.ledger import Ledger
from tenon.data.names import PARTS
from tenon.data.script import HAN, KANA

PERMUTATIONS = 126
BAND = 6
NEAR = 0.78
MANY = 0.05
"""The share of a part from which on near leaks are worth a warning; some are paraphrases."""
MOST_ROWS = 2_000_000
LONGEST = 2_000
"""Characters of a text that are looked at."""
_BATCH = 2_000
_BATCH_CHARACTERS = 300_000
_NEIGHBOURS = 6
_SEED = 20_171
_DIGITS = re.compile(r"\d+")
Signatures = npt.NDArray[np.uint16]
Pairs = dict[int, int]
"""A row to the earliest row that it is near to."""


@dataclass
class NearDuplicates:
    """Finds rows that are nearly the same as an earlier one, of the same part or of another.

    It keeps some 260 bytes a row, of the first two million rows.

    Args:
        signatures_NP: batches of signatures, shortened to 16 bits.
        tied: of each row a number that two near rows have in common.
        starts: source to the number of its first row.
    """

    signatures_NP: list[Signatures] = field(default_factory=list[Signatures])
    tied: array[int] = field(default_factory=lambda: array("Q"))
    starts: dict[str, int] = field(default_factory=dict[str, int])
    unseen: int = 0
    _waiting: list[list[str]] = field(default_factory=list[list[str]])
    _characters: int = 0

    def see(self, seen: Seen) -> None:
        """Take in one row."""
        if len(self.tied) >= MOST_ROWS:
            self.unseen += 1
            return
        self.starts.setdefault(seen.source, len(self.tied))
        text = seen.normal[:LONGEST]
        ties = f"{' '.join(_DIGITS.findall(text))}\x1f{seen.pair}"
        self.tied.append(crc32(ties.encode()))
        self._waiting.append(shingles(text))
        self._characters += len(text)
        if len(self._waiting) == _BATCH or self._characters > _BATCH_CHARACTERS:
            self._sign()

    def found(self, ledgers: Mapping[str, Ledger]) -> Iterator[Finding]:
        """Give what repeats within a part, and what leaks from one into another."""
        self._sign()
        if not self.tied:
            return
        rows = _Rows(self.starts, ledgers)
        distinct = _first_ones(rows.alike(len(self.tied)))
        near = near_pairs(
            np.concatenate(self.signatures_NP), np.array(self.tied, np.uint64), distinct
        )
        for later in ledgers:
            for earlier in (part for part in PARTS if part in ledgers):
                pairs = rows.between(near, earlier, later)
                if pairs and PARTS.index(earlier) <= PARTS.index(later):
                    yield _finding(earlier, later, pairs, rows)
        if self.unseen:
            what = f"near duplicates were looked for among the first {MOST_ROWS:,} rows alone"
            yield Finding("near-duplicates-unseen", "note", self.unseen, what)

    def _sign(self) -> None:
        if self._waiting:
            made = RMinHash.digest_matrix_from_token_sets(self._waiting, PERMUTATIONS, _SEED)
            full = np.array(made.to_rows(), np.uint32)
            self.signatures_NP.append((full & 0xFFFF).astype(np.uint16))
            self._waiting, self._characters = [], 0


def shingles(text: str) -> list[str]:
    """Give the runs of characters of a text in normal form; they may recur."""
    size = 2 if not text.isascii() and (HAN.search(text) or KANA.search(text)) else 3
    return [text[at : at + size] for at in range(max(1, len(text) - size + 1))]


def near_pairs(
    signatures_NP: Signatures, tied_N: npt.NDArray[np.uint64], rows: npt.NDArray[np.int64]
) -> Pairs:
    """Give each row that is near to an earlier one, with the earliest of those that were compared.

    Within a band's bucket each row is compared with the few before it, so that time grows with
    rows and not with pairs.

    Args:
        signatures_NP: of all rows.
        tied_N: of all rows; near ones have it in common.
        rows: those to compare, in their order.
    """
    near: Pairs = {}
    for first in range(0, signatures_NP.shape[1], BAND):
        band = np.ascontiguousarray(signatures_NP[rows, first : first + BAND]).astype(np.uint64)
        key = tied_N[rows] * np.uint64(0x9E3779B97F4A7C15)
        for column in range(BAND):
            key = (key ^ band[:, column]) * np.uint64(0x100000001B3)
        order = np.argsort(key, kind="stable")
        for step in range(1, _NEIGHBOURS + 1):
            same = np.flatnonzero(key[order[step:]] == key[order[:-step]])
            if not len(same):
                break
            _compare(signatures_NP, tied_N, rows[order[same]], rows[order[same + step]], near)
    return near


def _compare(
    signatures_NP: Signatures,
    tied_N: npt.NDArray[np.uint64],
    earlier: npt.NDArray[np.int64],
    later: npt.NDArray[np.int64],
    near: Pairs,
) -> None:
    """Enter those of some pairs of rows that are near."""
    for start in range(0, len(earlier), 1 << 16):
        a, b = earlier[start : start + (1 << 16)], later[start : start + (1 << 16)]
        agreeing = (signatures_NP[a] == signatures_NP[b]).mean(axis=1)
        for place in np.flatnonzero((agreeing >= NEAR) & (tied_N[a] == tied_N[b])):
            row, other = int(b[place]), int(a[place])
            near[row] = min(near.get(row, other), other)


def _first_ones(alike: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Give the rows that are equal to no earlier one in normal form."""
    _, first = np.unique(alike, return_index=True)
    return np.sort(first).astype(np.int64)


@dataclass(frozen=True)
class _Rows:
    """Rows of all parts under one numbering."""

    starts: Mapping[str, int]
    ledgers: Mapping[str, Ledger]

    def alike(self, count: int) -> npt.NDArray[np.uint64]:
        return np.concatenate([self.ledgers[part].alike for part in self.starts])[:count]

    def part(self, row: int) -> str:
        return [part for part, start in self.starts.items() if start <= row][-1]

    def origin(self, row: int) -> str:
        part = self.part(row)
        return self.ledgers[part].origin(row - self.starts[part])

    def between(self, near: Pairs, earlier: str, later: str) -> list[tuple[int, int]]:
        """Give the pairs of which the first row stands in `later`, the second in `earlier`."""
        parts = {earlier, later}
        held = sorted((row, other) for row, other in near.items())
        placed = [(row, other, self.part(row), self.part(other)) for row, other in held]
        return [
            (row, other) if at == later else (other, row)
            for row, other, at, by in placed
            if {at, by} == parts
        ]


def _finding(earlier: str, later: str, pairs: list[tuple[int, int]], rows: _Rows) -> Finding:
    total, count = len(rows.ledgers[later]), len(pairs)
    placed = [(rows.origin(row), rows.origin(other)) for row, other in pairs[:ROWS]]
    shown = tuple(f"{row} ~ {other}" for row, other in placed[:EXAMPLES])
    origins = tuple(row for row, _ in placed)
    if earlier == later:
        what = f"{share_of(count, total)} rows of {later} {agreed(count, 'repeat')} an earlier one "
        what += "but for a few characters"
        remedy = "look at them; they are kept"
        return Finding("near-duplicates", "note", count, what, remedy, shown, origins)
    what = f"{share_of(count, total)} rows of {later} {agreed(count, 'stand')} in {earlier} "
    what += "but for a few characters"
    severity = "warning" if count > MANY * total else "note"
    remedy = f"training keeps them; a score on {later} is too high by what they are worth"
    return Finding("near-leak", severity, count, what, remedy, shown, origins)
