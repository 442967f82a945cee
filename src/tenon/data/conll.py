"""CoNLL: sentences of one token a line, with its columns and its tag."""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tenon.data.conll_layout import (
    BLANKS,
    BORDERS,
    Layout,
    blank_cells,
    body_of,
    is_comment,
    is_header,
    layout_of,
    looks_like_conll,
    tab_cells,
)
from tenon.data.example import Row
from tenon.data.lines import LINE_BYTES, REFUSED, Lines
from tenon.data.tables import excerpt

SAMPLE_LINES = 1_000
SENTENCE_TOKENS = 100_000
"""The longest sentence: a file without empty lines is one, and it must not fill the memory."""
DOCUMENT = "document"
"""The number of a sentence's document, where the file parts documents."""
_BREAKS = re.compile("[\r\v\f\x1c-\x1e\x85\u2028\u2029]")


def conll_rows(lines: Lines, *, token: int = 0, tag: int = 0) -> Iterator[Row]:
    """Read one token a line, its columns separated by tabs or blanks.

    A sentence ends at an empty line, a line that holds only blanks or tabs, or a `-DOCSTART-`
    line. Comments (`# ...`) stand before a sentence's first token. A sentence with a faulty line
    is no row: its other tokens would be another sentence.

    Columns are separated by tabs where that gives each line of the file's beginning the same
    number of columns, and then a token may hold blanks; by blanks where only that does. Where both
    do, and the numbers differ, the file can be read in two ways, and is a fault.

    Args:
        lines: the physical lines.
        token, tag: the column of each, counted from 1. Where 0, the token is the first column, or
            the second behind one that counts the tokens of each sentence, and the tag is the
            last; in CoNLL-U (10 columns) the tag is the fourth, UPOS, and lines of contractions
            (`1-2`) and of empty nodes (`8.1`) are passed over and counted.

    Yields:
        For each sentence `{"tokens": [...], "tags": [...]}`, further columns as "column 2" ...,
        and the number of its "document" where lines part them,
        with the line of the first token as origin; see `token_origin` for that of each token.
    """
    source = iter(lines)
    head = list(_sample(source))
    layout = layout_of(head, lines, token - 1, tag - 1)
    if layout is None:
        deque(source, maxlen=0)
        return
    sentences = _Sentences(lines, layout)
    yield from sentences.rows(itertools.chain(head, source))
    sentences.tell()


def token_origin(row: Row, place: int) -> str:
    """Give `file:line` of a token of a row that `conll_rows` read.

    The tokens of a sentence stand in consecutive lines; where others lie between (CoNLL-U), the
    row has the lines' numbers as "lines".

    Args:
        row: a sentence.
        place: of the token in it, from 0.
    """
    where, _, first = row.origin.rpartition(":")
    numbers = row.values.get("lines")
    line = numbers[place] if isinstance(numbers, list) else int(first) + place
    return f"{where}:{line}"


def _sample(source: Iterator[str]) -> Iterator[str]:
    """Give the first lines, as many as are needed and as fit into the cap of one line."""
    size = 0
    for line in itertools.islice(source, SAMPLE_LINES):
        yield line
        size += len(line)
        if size > LINE_BYTES:
            return


@dataclass(slots=True)
class _Sentences:
    """The sentence that is being read, and what was met on the way."""

    lines: Lines
    layout: Layout
    held: list[list[str]] = field(default_factory=list[list[str]])
    numbers: list[int] = field(default_factory=list[int])
    begun: int = 0
    document: int = 0
    size: int = 0
    spoiled: bool = False
    sentences: int = 0
    longest: int = 0
    borders: int = 0
    comments: int = 0
    nodes: int = 0
    blank_ends: int = 0
    trimmed: int = 0

    def rows(self, source: Iterable[str]) -> Iterator[Row]:
        """Give each sentence of `source` that is whole."""
        for number, line in enumerate(source, 1):
            body = body_of(line)
            ends = self._ends(body, number)
            if ends and (row := self._sentence()):
                yield row
            if ends or self._passed_over(line, body):
                continue
            if not self.begun:
                self.begun, self.document = number, self.borders
            if line == REFUSED:
                self.spoiled = True
            else:
                self._take(number, body, ended=line.endswith("\n"))
        if row := self._sentence():
            yield row

    def tell(self) -> None:
        """Add to the notes what was met and accepted."""
        told = (
            (self.borders, f"lines part documents ({BORDERS[0]} and its like) and are passed over"),
            (self.comments, "comment lines are passed over"),
            (self.nodes, "lines of contractions and empty nodes are passed over"),
            (self.blank_ends, "of the lines that end sentences hold blanks or tabs"),
            (self.trimmed, "lines have blanks around their columns, which are left out"),
        )
        notes = [f"{count:,} {what}" for count, what in told if count]
        if self.sentences == 1 and self.longest > SAMPLE_LINES:
            notes.append(f"no empty line ends a sentence: all {self.longest:,} tokens are one")
        self.lines.notes += [f"{self.lines.where}: {note}" for note in notes]

    def _ends(self, body: str, number: int) -> bool:
        """Tell whether a line ends the sentence before it and is no token."""
        if not body.strip(BLANKS):
            self.blank_ends += bool(body)
            return True
        if body.startswith(BORDERS):
            self.borders += 1
            return True
        return number == 1 and is_header(self.layout.reading.cells(body))

    def _passed_over(self, line: str, body: str) -> bool:
        if line == REFUSED:
            return False
        if not self.begun and is_comment(body, self.layout.reading):
            self.comments += 1
            return True
        if self.layout.universal and self.layout.is_node(body):
            self.nodes += 1
            return True
        return False

    def _take(self, number: int, body: str, *, ended: bool) -> None:
        """Add a line to the sentence, or say why it is no token."""
        self.size += len(body)
        if self.spoiled and self._too_long():
            return
        cells = self.layout.reading.cells(body)
        if (odd := _BREAKS.search(body)) is not None:
            self._fault(number, *_line_break(odd.group()))
        elif len(cells) != self.layout.reading.width or any(map(_is_blank, cells)):
            self._fault(number, *_misfit(body, cells, self.layout, ended=ended))
        elif not self.spoiled:
            self.trimmed += " \t" in body or "\t " in body or body != body.strip(BLANKS)
            self.held.append(cells)
            self.numbers.append(number)
            if self._too_long():
                self._fault(self.begun, *_endless())

    def _too_long(self) -> bool:
        return len(self.held) > SENTENCE_TOKENS or self.size > LINE_BYTES

    def _fault(self, number: int, what: str, remedy: str) -> None:
        self.lines.faults.add(f"{self.lines.where}:{number}", what, remedy)
        self.spoiled = True

    def _sentence(self) -> Row | None:
        """Give the sentence that ends here, if it is whole, and begin another."""
        held, numbers, whole = self.held, self.numbers, not self.spoiled
        self.held, self.numbers, self.begun, self.size, self.spoiled = [], [], 0, 0, False
        if not held or not whole:
            return None
        self.sentences += 1
        self.longest = max(self.longest, len(held))
        columns = [list(column) for column in zip(*held, strict=True)]
        token, tag = self.layout.token, self.layout.tag
        values: dict[str, object] = {"tokens": columns[token], "tags": columns[tag]}
        for place, column in enumerate(columns):
            if place not in (token, tag):
                values[f"column {place + 1}"] = column
        if numbers[-1] - numbers[0] != len(numbers) - 1:
            values["lines"] = numbers
        if self.document:
            values[DOCUMENT] = self.document
        return Row(values, f"{self.lines.where}:{numbers[0]}")


def _is_blank(cell: str) -> bool:
    return not cell or cell.isspace()


def _endless() -> tuple[str, str]:
    what = f"the sentence that begins here has more than {SENTENCE_TOKENS:,} lines "
    what += f"or {LINE_BYTES:,} characters"
    return what, "end each sentence with an empty line"


def _line_break(odd: str) -> tuple[str, str]:
    if odd == "\r":
        what = "a carriage return (CR) stands within the line"
        return what, "save the file with line feeds (LF or CR LF) at the ends of lines"
    what = f"U+{ord(odd):04X} stands within the line, which many programs take for a line end"
    return what, "remove it from the token"


def _misfit(body: str, cells: list[str], layout: Layout, *, ended: bool) -> tuple[str, str]:
    """Say why a line has not the columns of the others, and what to do."""
    reading = layout.reading
    width, shown = reading.width, excerpt(body)
    separator = "tab" if reading.tabs else "blank"
    filled = [cell for cell in cells if not _is_blank(cell)]
    if not ended and len(filled) < width:
        what = f"the last line ends after {len(filled)} of {width} columns: {shown}"
        return what, "the file was cut short; fetch or write it again"
    if _lacks_token(body, cells, layout):
        remedy = "leave the line out, or write a sign for the blank, such as ▁"
        return f"the token is blank: {shown}", remedy
    if len(filled) == 1 or (len(cells) == width and _is_blank(cells[layout.tag])):
        return f"no tag follows the token: {shown}", f"write the tag after a {separator}"
    if len(cells) == width:
        place = next(place for place, cell in enumerate(cells) if _is_blank(cell))
        return f"column {place + 1} of {width} is blank: {shown}", "write _ for what has no value"
    what = f"{len(cells)} columns, but the file has {width} ({separator}-separated): {shown}"
    if body.startswith("#") and " " in body:
        return what, "a comment stands before the first token of a sentence; move or remove it"
    if len((blank_cells if reading.tabs else tab_cells)(body)) == width:
        return what, f"separate its columns by {separator}s, as in the first lines"
    if len(cells) < width:
        return what, "give the line all of its columns"
    if reading.tabs:
        return what, "no column may hold a tab; write it as a blank"
    return what, "no token may hold a blank here; separate the columns of all lines by tabs"


def _lacks_token(body: str, cells: list[str], layout: Layout) -> bool:
    if len(cells) == layout.reading.width:
        return _is_blank(cells[layout.token])
    led = body[0] in BLANKS
    return led and not layout.reading.tabs and len(cells) == layout.reading.width - 1


__all__ = ["conll_rows", "looks_like_conll", "token_origin"]
