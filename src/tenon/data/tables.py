"""Tables: the rows of CSV and TSV, each with the line it begins in."""

from __future__ import annotations

import csv
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tenon.core.errors import Faults
from tenon.data.dialect import Dialect, Quoting, dialect_of, has_header, usual_width
from tenon.data.example import Row
from tenon.data.lines import LINE_BYTES, REFUSED, Lines

SAMPLE_LINES = 200
BROKEN_RECORDS = 1_000
"""Broken quotations after which a file is given up: each may cost `LINE_BYTES` of look ahead."""

Record = tuple[int, list[str]]


def table_rows(lines: Lines, suffix: str, quoting: Quoting) -> Iterator[Row]:
    """Read the rows of a table; columns are named by its header, else "0", "1" ...

    Args:
        lines: the physical lines.
        suffix: "csv" or "tsv".
        quoting: see `dialect_of`.

    Yields:
        Every row with as many fields as there are columns; every other one is a fault.
    """
    source = iter(lines)
    head, dialect, trial = _tried(lines, source, suffix, quoting)
    records = Records(lines, itertools.chain(head, source), dialect, lines.faults)
    if not trial:
        deque(records, maxlen=0)
    elif names := _names(records, trial):
        yield from _rows(records, names)
    if records.blank:
        lines.notes.append(f"{lines.where}: {records.blank:,} blank lines are passed over")


def _tried(
    lines: Lines, source: Iterator[str], suffix: str, quoting: Quoting
) -> tuple[list[str], Dialect, list[list[str]]]:
    """Read on until there are records; give the lines read, their dialect, and those records."""
    head: list[str] = []
    dialect = dialect_of(suffix, quoting, [])
    while batch := list(itertools.islice(source, SAMPLE_LINES)):
        head += batch
        dialect = dialect_of(suffix, quoting, [line for line in batch if line != REFUSED])
        trial = [cells for _, cells in Records(lines, iter(batch), dialect, Faults())]
        if trial:
            if suffix == "csv" and dialect.delimiter != ",":
                told = f"fields are separated by {dialect.delimiter!r}, not by commas"
                lines.notes.append(f"{lines.where}: {told}")
            return head, dialect, trial
    return head, dialect, []


@dataclass(slots=True)
class Records:
    """Iterate over the records of a table: line of the first character, and the fields.

    Args:
        lines: the file's name and what is known of its lines.
        source: the physical lines.
        dialect: separator and quoting.
        faults: where broken quotation marks go.
    """

    lines: Lines
    source: Iterator[str]
    dialect: Dialect
    faults: Faults
    number: int = field(default=0, init=False)
    blank: int = field(default=0, init=False)
    _again: deque[str] = field(default_factory=deque[str], init=False)
    _held: list[str] = field(default_factory=list[str], init=False)
    _broken: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[Record]:
        delimiter, quoted = self.dialect
        csv.field_size_limit(LINE_BYTES)
        for line in self._feed():
            first = self.number
            if quoted and '"' in line:
                cells = self._quotation(line)
                if cells is not None:
                    yield first, cells
                if self._broken >= BROKEN_RECORDS:
                    self._give_up()
                    return
                continue
            body = line.rstrip("\r\n")
            if not body:
                self.blank += 1
            elif self.lines.stray_returns and "\r" in line[:-2]:
                self._stray_return(first)
            elif line != REFUSED:
                yield first, body.split(delimiter)

    def at_end(self) -> bool:
        """Tell whether no line follows."""
        if not self._again and (following := next(self.source, None)) is not None:
            self._again.append(following)
        return not self._again

    def reread(self, first: int) -> None:
        """Go back to the line after `first`, where the record just given began."""
        self._broken += 1
        self._again.extendleft(reversed(self._held[1:]))
        self.number = first

    def _feed(self) -> Iterator[str]:
        """Give the lines in order, those put back first."""
        while True:
            if self._again:
                line = self._again.popleft()
            elif (following := next(self.source, None)) is not None:
                line = following
            else:
                return
            self.number += 1
            yield line

    def _quotation(self, line: str) -> list[str] | None:
        """Read the record that begins with `line`, over as many lines as its quotation marks span.

        Where they do not close, the line is a fault and reading goes on with the next line.
        """
        first, self._held = self.number, [line]
        try:
            cells = next(csv.reader(self._spanned(), delimiter=self.dialect.delimiter, strict=True))
        except csv.Error as error:
            self._misquoted(first, line, str(error))
            self.reread(first)
            return None
        refused = len(self._held) > 1 and any("\0" in cell for cell in cells)
        return None if refused else cells

    def _spanned(self) -> Iterator[str]:
        """Give the lines of one record and hold them, up to the cap of a line."""
        yield self._held[0]
        size = len(self._held[0])
        for line in self._feed():
            self._held.append(line)
            size += len(line)
            if size > LINE_BYTES:
                raise csv.Error("unexpected end of data")
            yield line

    def _misquoted(self, number: int, line: str, message: str) -> None:
        where = f"{self.lines.where}:{number}"
        if self.lines.unended and len(self._held) == 1 and self.at_end():
            what = f"the file ends within a quoted field: {excerpt(line)}"
            self.faults.add(where, what, "the file was cut short; fetch or write it again")
            return
        if "unexpected end" in message or "field larger" in message:
            what = f"a quotation mark opens here and is never closed: {excerpt(line)}"
        else:
            what = f"a quotation mark neither ends its field nor is doubled: {excerpt(line)}"
        self.faults.add(
            where,
            what,
            'close it, or double a mark that belongs to the text (""); '
            'if the file quotes nothing, set data.quoting = "none"',
        )

    def _stray_return(self, number: int) -> None:
        self.faults.add(
            f"{self.lines.where}:{number}",
            "a carriage return (CR) stands within the line",
            "save the file with line feeds (LF or CR LF) at the ends of lines",
        )

    def _give_up(self) -> None:
        self.faults.add(
            f"{self.lines.where}:{self.number + 1}",
            f"reading stops here: {BROKEN_RECORDS:,} rows have broken quotation marks",
            'if the file quotes nothing, set data.quoting = "none"',
        )


def _names(records: Records, trial: list[list[str]]) -> list[str]:
    """Give the column names, by the header or by number; none where the header is at fault."""
    if has_header(trial):
        return _header(next(iter(records)), records.lines)
    return _numbered(usual_width(trial), records.lines)


def _rows(records: Records, names: list[str]) -> Iterator[Row]:
    width, where = len(names), records.lines.where
    for number, values in records:
        if len(values) == width:
            yield Row(dict(zip(names, values, strict=True)), f"{where}:{number}")
        else:
            _misfit(records, number, values, names)


def _numbered(width: int, lines: Lines) -> list[str]:
    names = [str(place) for place in range(width)]
    lines.notes.append(
        f"{lines.where}: the first line is a row, not a header; columns are {', '.join(names)}"
    )
    return names


def _header(record: Record, lines: Lines) -> list[str]:
    """Give the column names, or none where two are the same."""
    names = [cell.strip() for cell in record[1]]
    if names != record[1]:
        lines.notes.append(f"{lines.where}: blanks around column names are left out")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        lines.faults.add(
            f"{lines.where}:{record[0]}",
            f"the header names {', '.join(map(repr, twice))} twice: {', '.join(names)}",
            "give each column its own name",
        )
        return []
    return names


def _misfit(records: Records, number: int, values: Sequence[str], names: Sequence[str]) -> None:
    """Record a row that has more or fewer fields than there are columns."""
    lines, delimiter = records.lines, records.dialect.delimiter
    where = f"{lines.where}:{number}"
    shown = excerpt(delimiter.join(values))
    columns = f"{_counted(len(names), 'column')} ({', '.join(names)})"
    spread = records.number - number
    if len(values) < len(names) and lines.unended and records.at_end():
        lines.faults.add(
            where,
            f"the last line ends after {len(values)} of {columns}: {shown}",
            "the file was cut short; fetch or write it again",
        )
        return
    what = f"{_counted(len(values), 'field')}, but the file has {columns}: {shown}"
    if records.dialect.quoted and spread > 0:
        records.reread(number)
        remedy = f"its quotation mark closes only {_counted(spread, 'line')} further down; mend it"
    elif len(values) > len(names):
        remedy = _surplus(records.dialect, values)
    elif delimiter == "\t" and not records.dialect.quoted:
        remedy = "write line breaks in texts as blanks; "
        remedy += 'if the file quotes its fields, set data.quoting = "rfc4180"'
    else:
        remedy = "give the row all of its fields"
    lines.faults.add(where, what, remedy)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _surplus(dialect: Dialect, values: Sequence[str]) -> str:
    if not dialect.quoted:
        return f"no field may hold {dialect.delimiter!r}; write it as a blank"
    if any(value.startswith(' "') for value in values):
        return f"remove the blank between {dialect.delimiter!r} and the quotation mark"
    example = f'"one{dialect.delimiter} two"'
    return f"put a field that holds {dialect.delimiter!r} within quotation marks: {example}"


def excerpt(text: str) -> str:
    """Give the beginning of `text` as it would stand in source code, at most 60 characters."""
    body = text.rstrip("\r\n")
    return repr(body if len(body) <= 60 else body[:57] + "...")
