"""Layout: how the columns of a CoNLL file are separated, and which are token and tag."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from tenon.data.lines import REFUSED, Lines
from tenon.data.tables import excerpt
from tenon.data.tags import is_chunk_tag

BLANKS = " \t"
BORDERS = ("-DOCSTART-", "#begin document", "#end document")
"""How lines begin that part documents, in CoNLL-2003 and in CoNLL-2012."""
UNIVERSAL_WIDTH = 10
_UNIVERSAL_TAG = 3
_NODE = re.compile(r"\d+[-.]\d+\t")
_COUNT = re.compile(r"\d+(?:[-.]\d+)?")
_COMMENT = re.compile(r"#[ \t]+(?:(?:newdoc|newpar|id)\b|[\w.:-]+\s*=|.*\s\w+=\S)")
_OPENING = re.compile(r"#+(?:[ \t]|$)")
_TAG = re.compile(r"[\w$+|*=.:/@&-]{1,40}|[^\w\s]{1,5}")
_JSON = ('{"', "[{", '["', "[[", "{ ", "{}")
_TOKEN_NAMES = frozenset({"token", "tokens", "word", "words", "form"})
_TAG_NAMES = frozenset(
    {"tag", "tags", "label", "labels", "ner", "ner_tag", "ner_tags", "pos", "upos", "bio", "iob"}
)
_ALMOST_ALL = 0.98
"""A share of lines: some broken ones do not make a file another format."""


class Reading(NamedTuple):
    """One way to split lines into columns.

    Args:
        tabs: whether at each tab; else at each run of blanks and tabs.
        width: how many columns most lines have.
        share: of the lines that have as many, none of them blank.
    """

    tabs: bool
    width: int
    share: float

    def cells(self, body: str) -> list[str]:
        """Split a line."""
        return tab_cells(body) if self.tabs else blank_cells(body)


@dataclass(frozen=True, slots=True)
class Layout:
    """What each column of a file holds.

    Args:
        reading: how lines are split.
        token, tag: their columns, from 0.
        universal: whether the file is CoNLL-U, with lines that are no tokens.
    """

    reading: Reading
    token: int
    tag: int
    universal: bool

    def is_node(self, body: str) -> bool:
        """Tell whether a line of CoNLL-U is a contraction (`1-2`) or an empty node (`8.1`)."""
        return _NODE.match(body) is not None


class _Line(NamedTuple):
    """A line that may be a token: its number, its place in its sentence from 1, its text."""

    number: int
    place: int
    body: str


def looks_like_conll(head: str) -> bool:
    """Tell whether a file is CoNLL by its beginning; for names as .conll .bio .iob .conllu .txt.

    Nearly all lines must have one number of columns, two or more, with a last one that can be a
    tag, and either (a) nearly all tags are `O` or such as `B-PER`, with some of the latter: no
    other format has those; or (b) the tags recur, and empty lines part the others into sentences
    of two tokens or more on average. So a TSV of texts and labels is none, even if its labels
    recur: it has no empty lines, and its texts hold blanks; nor is a list of words and classes
    without empty lines. CSV has one column; plain text has lines of unequal length or last words
    that do not recur. What begins as JSON does is none.

    Args:
        head: the first characters; the last line may be cut.
    """
    whole = head.removeprefix("\ufeff").split("\n")
    bodies = [body_of(line) for line in (whole[:-1] if len(whole) > 1 else whole)]
    first = next((body.lstrip(BLANKS) for body in bodies if body.strip(BLANKS)), "")
    if first.startswith(_JSON):
        return False
    if first.startswith(BORDERS):
        return True
    content = _content(bodies)
    return any(_convinces(content, reading) for reading in _readings(content))


def layout_of(head: Sequence[str], lines: Lines, token: int, tag: int) -> Layout | None:
    """Find out the layout of a file; None, and a fault, where there is none or there are two.

    Args:
        head: its first lines.
        lines: where faults and notes go.
        token, tag: columns that are named, from 0; -1 for those to be found.
    """
    content = _content(head)
    if not content:
        if not lines.faults.count:
            what = "no line holds a token and its tag"
            lines.faults.add(f"{lines.where}:1", what, "write one token a line, then its tag")
        return None
    reading = _chosen(content, lines)
    if reading is None:
        return None
    width = reading.width
    if max(token, tag) >= width or token == tag != -1:
        what = f"columns {token + 1} and {tag + 1} are to be token and tag, of {width} there are"
        lines.faults.add(f"{lines.where}:{content[0].number}", what, "name two that are there")
        return None
    universal = _is_universal(content, reading)
    if token < 0:
        token = 1 if universal or _counts(content, reading) else 0
    if tag < 0:
        tag = _UNIVERSAL_TAG if universal else width - 1
    separated = "tabs" if reading.tabs else "blanks"
    named = "CoNLL-U" if universal else "CoNLL"
    lines.notes.append(
        f"{lines.where}: read as {named}: {width} columns, separated by {separated}; "
        f"token is column {token + 1}, tag is column {tag + 1}"
    )
    return Layout(reading, token, tag, universal)


def body_of(line: str) -> str:
    """Give a line without its end."""
    return line.removesuffix("\n").removesuffix("\r")


def tab_cells(body: str) -> list[str]:
    """Split at each tab; blanks around a column are no part of it."""
    cells = body.split("\t")
    return [cell.strip(" ") for cell in cells] if " " in body else cells


def blank_cells(body: str) -> list[str]:
    """Split at runs of blanks and tabs; U+00A0 and its like are part of a token."""
    return [cell for cell in body.replace("\t", " ").split(" ") if cell]


def is_comment(body: str, reading: Reading) -> bool:
    """Tell whether a line before a sentence's first token is a comment, and not a token `#`.

    A line with as many columns as the others is a token, unless the columns are separated by
    blanks and it reads as the comments of CoNLL-U do: `# text = ...`, `# id ... domain=en`.
    """
    if not body.startswith("#"):
        return False
    if len(reading.cells(body)) != reading.width:
        return _OPENING.match(body) is not None
    return not reading.tabs and _COMMENT.match(body) is not None


def is_header(cells: Sequence[str]) -> bool:
    """Tell whether the first line names the columns."""
    names = [cell.casefold() for cell in cells]
    return len(names) > 1 and names[0] in _TOKEN_NAMES and names[-1] in _TAG_NAMES


def _content(head: Sequence[str]) -> list[_Line]:
    """Give the lines that may be tokens.

    A `#` at a sentence's beginning may be a comment: it counts only where nothing else is there,
    as in a file of hashtags.
    """
    return list(_lines(head, hashes=False)) or list(_lines(head, hashes=True))


def _lines(head: Sequence[str], *, hashes: bool) -> Iterator[_Line]:
    place = 0
    for number, line in enumerate(head, 1):
        body = body_of(line)
        if not body.strip(BLANKS) or body.startswith(BORDERS):
            place = 0
        elif line == REFUSED or (
            not place and body.startswith("#") and not (hashes and "\t" in body)
        ):
            continue
        elif number > 1 or not is_header(blank_cells(body)):
            place += 1
            yield _Line(number, place, body)


def _readings(content: Sequence[_Line]) -> list[Reading]:
    """Give the ways to read lines that yield two columns or more, the likeliest first."""
    found = [_reading(content, tabs=True), _reading(content, tabs=False)]
    if not any("\t" in line.body for line in content):
        found = found[1:]
    usable = [reading for reading in found if reading.width > 1]
    return sorted(usable, key=lambda reading: -reading.share)


def _reading(content: Sequence[_Line], *, tabs: bool) -> Reading:
    split = tab_cells if tabs else blank_cells
    widths = Counter(
        len(cells) if all(cells) else 0 for cells in (split(line.body) for line in content)
    )
    width, count = max(widths.items(), key=lambda item: (item[0] > 1, item[1]), default=(0, 0))
    return Reading(tabs, width, count / max(1, len(content)))


def _chosen(content: Sequence[_Line], lines: Lines) -> Reading | None:
    """Choose how lines are split; None, and a fault, where that cannot be told."""
    readings = _readings(content)
    where = f"{lines.where}:{content[0].number}"
    shown = excerpt(content[0].body)
    if not readings:
        what = f"no tag follows the token: {shown}; nor does any in the lines after it"
        lines.faults.add(where, what, "write one token a line, then a tab and its tag")
        return None
    best, others = readings[0], readings[1:]
    if best.share == 1 and any(o.share == 1 and o.width != best.width for o in others):
        widths = " or ".join(
            f"{r.width} columns separated by {'tabs' if r.tabs else 'blanks'}"
            for r in sorted(readings, reverse=True)
        )
        remedy = "separate all columns by tabs, or leave no blank within a column"
        lines.faults.add(where, f"each line can be read as {widths}: {shown}", remedy)
        return None
    if best.share < 1 / 2:
        what = f"the lines have no one number of columns: {shown}"
        remedy = "write one token a line, then a tab and its tag; or rename a file of plain text"
        lines.faults.add(where, what, remedy)
        return None
    return best


def _is_universal(content: Sequence[_Line], reading: Reading) -> bool:
    if not reading.tabs or reading.width != UNIVERSAL_WIDTH:
        return False
    firsts = [cells[0] for cells in _fitting(content, reading)]
    return all(_COUNT.fullmatch(first) for first in firsts)


def _counts(content: Sequence[_Line], reading: Reading) -> bool:
    """Tell whether the first of three columns or more counts the tokens of each sentence."""
    if reading.width < 3 or not any(b.place > a.place for a, b in pairwise(content)):
        return False
    return all(reading.cells(line.body)[0] == str(line.place) for line in content)


def _fitting(content: Sequence[_Line], reading: Reading) -> Iterator[list[str]]:
    for line in content:
        cells = reading.cells(line.body)
        if len(cells) == reading.width:
            yield cells


def _convinces(content: Sequence[_Line], reading: Reading) -> bool:
    """Tell whether lines, read so, are those of a CoNLL file; see `looks_like_conll`."""
    if reading.share < _ALMOST_ALL and reading.share * len(content) < len(content) - 1:
        return False
    universal = _is_universal(content, reading)
    rows = list(_fitting(content, reading))
    tags = [cells[_UNIVERSAL_TAG if universal else -1] for cells in rows]
    spaced = sum(" " in cells[0] for cells in rows)
    if universal:
        return True
    if spaced > 0.1 * len(rows) or not all(_TAG.fullmatch(tag) for tag in tags):
        return False
    chunked = sum(tag == "O" or is_chunk_tag(tag) for tag in tags)
    if chunked >= _ALMOST_ALL * len(tags) and any(
        is_chunk_tag(tag) and len(tag) > 1 for tag in tags
    ):
        return True
    sentences = sum(line.place == 1 for line in content)
    recur = 2 * len(set(tags)) <= len(tags)
    return sentences > 1 and len(rows) >= 2 * sentences and recur
