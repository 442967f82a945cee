"""Questions: the rows that are to be answered, of a file or of standard input, in portions."""

from __future__ import annotations

import base64
import math
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import Any, cast

from tenon.adapters.manifest import Manifest
from tenon.core.errors import DataError, Fault, Faults, did_you_mean
from tenon.core.files import digest_of
from tenon.data.adapted import other_sort
from tenon.data.example import Example, Row
from tenon.data.lines import REFUSED, Lines
from tenon.data.places import in_order
from tenon.data.reading import SAMPLE_ROWS, open_reading
from tenon.data.settings import Columns
from tenon.data.sources import Source, read
from tenon.data.spec import STDIN
from tenon.data.streams import Readable, Stream
from tenon.data.task import to_examples
from tenon.evaluate.exam import EXAMS

STDIN_NAME = "stdin"
ALL = "all"
CONVERSION = re.compile(r"iconv -f \S+ -t \S+")
PORTION_ROWS = 4096
WRITTEN_ROWS = 512
"""Rows of a portion where each answer is written by the base."""
PORTION_CHARACTERS = 1 << 22
"""After so many characters a portion ends, so that long texts do not fill memory."""


@dataclass(frozen=True)
class Questions:
    """Rows that are to be answered; all of a file are known to be sound.

    Args:
        columns: which of them holds what.
        notes: what was guessed and accepted.
        rows: how many there are; None where they pass by once.
        stream: gives them, in order; of standard input, once.
    """

    columns: Columns
    notes: list[str]
    rows: int | None
    stream: Callable[[], Iterator[Row]]

    def to_json(self) -> dict[str, Any]:
        """Give what was found out by reading all rows."""
        columns = self.columns.model_dump(mode="json")
        return {"columns": columns, "notes": self.notes, "rows": self.rows}

    @classmethod
    def from_json(cls, held: Mapping[str, Any], source: str) -> Questions:
        """Give what was found out before about a source that has not changed since."""
        columns = Columns.model_validate(held["columns"])
        return cls(columns, list(held["notes"]), held["rows"], partial(_sound_rows, source))


@dataclass(frozen=True)
class Portion:
    """Rows that are answered at once.

    Args:
        number: how many portions are before it.
        rows: with values as JSON has them.
    """

    number: int
    rows: list[Row]


@dataclass(frozen=True)
class Cut:
    """Where portions end; the same rows give the same portions.

    Args:
        rows: most of a portion.
        characters: after so many it ends.
    """

    rows: int = PORTION_ROWS
    characters: int = PORTION_CHARACTERS

    @classmethod
    def of(cls, manifest: Manifest, source: str, rows: int) -> Cut:
        """Give the cut for an adapter's task; lines that are typed are answered one by one.

        Args:
            rows: most of a portion, where that is stated; 0 for what suits the task.
        """
        if source == STDIN and sys.stdin.isatty():
            return cls(1)
        return cls(rows or (WRITTEN_ROWS if manifest.writes else PORTION_ROWS))

    def portions(self, rows: Iterable[Row]) -> Iterator[Portion]:
        """Yield rows in portions."""
        number, held, size = 0, list[Row](), 0
        for row in rows:
            held.append(Row(cast("dict[str, object]", plain(row.values)), row.origin))
            size += sum(len(value) for value in row.values.values() if isinstance(value, str))
            if len(held) >= self.rows or size >= self.characters:
                yield Portion(number, held)
                number, held, size = number + 1, [], 0
        if held:
            yield Portion(number, held)


@dataclass(frozen=True)
class Kept:
    """The columns that are carried along.

    Args:
        names: of the columns; "all" alone for every one.
    """

    names: tuple[str, ...]

    @classmethod
    def of(cls, named: str | Sequence[str]) -> Kept:
        """Read names, in one text with commas between or one by one."""
        parts = [named] if isinstance(named, str) else named
        names = [name.strip() for part in parts for name in part.split(",")]
        return cls(tuple(dict.fromkeys(name for name in names if name)))

    def values(self, row: Row) -> dict[str, object]:
        """Give what is kept of a row; null for a column that it does not have."""
        names = row.values if self.names == (ALL,) else self.names
        return {name: row.values.get(name) for name in names}

    def check(self, sample: Sequence[Row], source: str) -> list[str]:
        """Say which columns hold what JSON does not.

        Raises:
            DataError: no row has a column; all of them at once.
        """
        known = dict.fromkeys(name for row in sample for name in row.values)
        names = tuple(known) if self.names == (ALL,) else self.names
        faults = Faults()
        for name in names:
            if name not in known:
                near = did_you_mean(name, known)
                faults.add(source, f"no column {name!r} to keep", near)
        faults.raise_if_any(DataError)
        return [note for name in names if (note := _foreign(name, sample))]


def _foreign(name: str, sample: Sequence[Row]) -> str:
    held = (row.values.get(name) for row in sample)
    kinds = {type(value).__name__ for value in held if not _is_json(value)}
    return f"{name!r} holds {', '.join(sorted(kinds))}: kept as text" if kinds else ""


def _is_json(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | list | tuple | dict)


def plain(value: object) -> object:
    """Give a value as JSON has it: what it does not know as text, numbers not finite as null."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in cast("list[Any]", value)]
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def source_digest(source: str) -> str:
    """Give the digest of what rows are read from; "" for standard input.

    Raises:
        FileError: nothing is there.
    """
    if source == STDIN:
        return ""
    found = Source.parse(source)
    if not found.hub:
        found.require()
        return found.digest()
    rows = (plain(row.values) for row in read(source, Faults()))
    return digest_of([digest_of(row) for row in rows])


def open_questions(
    source: str, manifest: Manifest, kept: Kept, *, lenient: bool = False
) -> Questions:
    """Read a file once, and say all that is wrong with it; or begin to read standard input.

    Args:
        source: `path[#member]`, or `-`.
        manifest: of the adapter that shall answer.
        kept: columns that are carried along.
        lenient: whether a row that cannot be asked is left to be told in its place.

    Raises:
        FileError: the source is not there.
        DataError: it cannot be read, or lacks a column that is wanted.
    """
    if source == STDIN:
        return _typed(manifest, kept, lenient=lenient)
    reading = open_reading(source, manifest.columns, task=manifest.task, lenient=lenient)
    sample = list(islice(read(source, Faults()), SAMPLE_ROWS))
    notes = [*reading.notes, *kept.check(sample, source)]
    return Questions(reading.columns, notes, reading.rows, partial(_sound_rows, source))


def _sound_rows(source: str) -> Iterator[Row]:
    """Read the rows of a file that has been found to be sound.

    Raises:
        DataError: the file has changed since, and holds faults now.
    """
    faults = Faults()
    yield from read(source, faults)
    faults.raise_if_any(DataError)


def _typed(manifest: Manifest, kept: Kept, *, lenient: bool) -> Questions:
    """Give the lines of standard input, the first of which has come.

    Raises:
        DataError: the adapter reads pairs, nothing was typed, or a line is no text.
    """
    if manifest.columns.get("pair") or EXAMS.get(manifest.task).paired:
        trained = Columns.model_validate(manifest.columns).named()
        raise other_sort(STDIN_NAME, "gives single texts", trained, "name a file with these")
    columns, notes, faults = Columns(text="text"), list[str](), Faults()
    judged = None if lenient else partial(to_examples, columns=columns, task=manifest.task)
    rows = _asked(_lines(faults, notes), judged, faults)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{STDIN_NAME}: holds no text; give one text a line")
    notes += kept.check([first], STDIN_NAME)
    return Questions(columns, notes, None, lambda: chain([first], rows))


def _asked(
    lines: Iterator[Row], judged: Callable[..., Iterator[Example]] | None, faults: Faults
) -> Iterator[Row]:
    """Yield rows up to the first fault; then tell all, their remedies as a pipe needs them."""
    for row in lines:
        if judged is not None:
            deque(judged([row], faults=faults), maxlen=0)
        if not faults.count:
            yield row
    faults.kept = [_piped(fault) for fault in in_order(faults.kept)]
    faults.raise_if_any(DataError)


def _piped(fault: Fault) -> Fault:
    command = CONVERSION.search(fault.remedy)
    return replace(fault, remedy=f"convert it: … | {command[0]} | tenon …") if command else fault


def _lines(faults: Faults, notes: list[str]) -> Iterator[Row]:
    """Give the lines of standard input, read as bytes whatever the terminal's encoding is."""
    buffer = getattr(sys.stdin, "buffer", None)
    if buffer is None:
        raise DataError(f"{STDIN_NAME}: there is none here; name a file of rows")
    stream = Stream(cast(Readable, buffer), STDIN_NAME, STDIN_NAME, faults)
    for number, line in enumerate(Lines(stream, STDIN_NAME, faults, notes), 1):
        if line != REFUSED:
            yield Row({"text": line.rstrip("\r\n")}, f"{STDIN_NAME}:{number}")
