"""Dialect: how a table's fields are separated and quoted, and whether its first row names them."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from tenon.data.names import LABEL_NAMES, PAIR_NAMES, TEXT_NAMES

Quoting = Literal["auto", "rfc4180", "none"]
_RIVALS = ("\t", ";", "|")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?")
_SENTENCE = re.compile(r"[.?!。？！，；]|\S\s+\S+\s+\S+\s+\S")
_KNOWN = (
    frozenset(TEXT_NAMES) | frozenset(LABEL_NAMES) | {name for pair in PAIR_NAMES for name in pair}
)
_LONGEST_NAME = 64


class Dialect(NamedTuple):
    """How the fields of a table are separated and quoted.

    Args:
        delimiter: one character.
        quoted: whether fields may stand within quotation marks (RFC 4180); where not, a quotation
            mark is a character like any other.
    """

    delimiter: str
    quoted: bool


def dialect_of(suffix: str, quoting: Quoting, sample: Sequence[str]) -> Dialect:
    """Choose the dialect of a table from its name and first lines.

    Args:
        suffix: "csv" or "tsv".
        quoting: "auto" is RFC 4180 for CSV and none for TSV.
        sample: the first physical lines; a CSV whose first line holds no comma, and whose lines all
            hold as many tabs, semicolons or bars, is separated by those.
    """
    quoted = suffix == "csv" if quoting == "auto" else quoting == "rfc4180"
    if suffix == "tsv":
        return Dialect("\t", quoted)
    if not sample or _widths(sample[:1], ",", quoted=quoted) != {1}:
        return Dialect(",", quoted)
    for rival in _RIVALS:
        widths = _widths(sample, rival, quoted=quoted)
        if len(widths) == 1 and min(widths) > 1:
            return Dialect(rival, quoted)
    return Dialect(",", quoted)


def _widths(sample: Sequence[str], delimiter: str, *, quoted: bool) -> set[int]:
    """Give the numbers of fields that the lines of `sample` have under `delimiter`."""
    mode = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    lines = [line.rstrip("\r\n") for line in sample if line.strip()]
    try:
        return {len(cells) for cells in csv.reader(lines, delimiter=delimiter, quoting=mode)}
    except csv.Error:
        return set()


def has_header(records: Sequence[Sequence[str]]) -> bool:
    """Tell whether the first of `records` names the columns.

    It does where one of its cells is a name that label files use ("text", "category" ...), or
    where each cell looks like a name: not a number, not a sentence, and not a value that its own
    column holds again further down.
    """
    first = [cell.strip() for cell in records[0]]
    if [str(place) for place in range(len(first))] == first:
        return True
    filled = [cell for cell in first if cell]
    if not filled or any(_NUMBER.fullmatch(cell) for cell in filled):
        return False
    if any(cell.casefold() in _KNOWN for cell in filled):
        return True
    if len(set(filled)) < len(filled) or len(first) - len(filled) > 1:
        return False
    if any(len(cell) > _LONGEST_NAME or _SENTENCE.search(cell) for cell in filled):
        return False
    return not _recurs(records)


def _recurs(records: Sequence[Sequence[str]]) -> bool:
    """Tell whether a cell of the first record stands again in its column."""
    return any(
        cell == other[place]
        for other in records[1:]
        if len(other) == len(records[0])
        for place, cell in enumerate(records[0])
    )


def usual_width(records: Sequence[Sequence[str]]) -> int:
    """Give the number of columns that most of `records` have."""
    return Counter(len(cells) for cells in records).most_common(1)[0][0]
