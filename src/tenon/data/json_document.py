"""JSON document: one list of rows, or an object of such lists, read as a stream."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import NoReturn

from tenon.core.errors import Faults
from tenon.data.encoding import BOM, refuse_bytes, refuse_wide, wide_encoding
from tenon.data.example import Row
from tenon.data.json_lines import hint, reason
from tenon.data.lines import CHUNK_BYTES, LINE_BYTES
from tenon.data.streams import Stream
from tenon.data.strict_json import (
    BLANKS,
    DEEP,
    Decoder,
    Problem,
    Unreadable,
    columns_of,
    kind_of,
    too_deep,
)
from tenon.data.tables import excerpt

_AFTER_NUMBER = BLANKS + ",]}"
_SHOWN = 80


class Broken(Exception):
    """The document cannot be read on; the fault is recorded."""


def document_rows(
    stream: Stream, where: str, member: str, faults: Faults, notes: list[str]
) -> Iterator[Row]:
    """Read the rows of a JSON document.

    Args:
        stream: decompressed bytes.
        where: name of the source in origins.
        member: which list of an object of lists; empty for a document that is one list.
        faults: where faults go.
        notes: where what was met and accepted is told.

    Yields:
        Every item that is a row; every other one is a fault. Broken syntax ends the reading.
    """
    document = _Document(stream, where, faults, notes)
    found: list[str] = []
    try:
        for name in document.lists():
            found.append(name)
            if name == member:
                yield from document.rows()
            elif name == "":
                break
            else:
                document.pass_over()
    except Broken:
        return
    if member not in found:
        _no_such_list(where, member, found, faults)


def document_lists(stream: Stream, where: str, faults: Faults) -> list[str]:
    """Give the names of the lists in a JSON object, in the file's order; [""] for a bare list."""
    document = _Document(stream, where, faults, [])
    found: list[str] = []
    try:
        for name in document.lists():
            found.append(name)
            if name:
                document.pass_over()
            else:
                break
    except Broken:
        return found
    return found


def _no_such_list(where: str, member: str, found: list[str], faults: Faults) -> None:
    names = [name for name in found if name]
    if member and found == [""]:
        faults.add(
            f"{where}:1",
            f"the document is one list, without a part {member!r}",
            f"leave #{member} out",
        )
    elif names:
        what = (
            f"no list {member!r} in the document" if member else "the document holds several lists"
        )
        faults.add(
            f"{where}:1", f"{what}; it holds {', '.join(names)}", f"name one: {where}#{names[0]}"
        )
    else:
        faults.add(
            f"{where}:1",
            "the document is one object without a list of rows",
            'write a list of rows: [{"text": ..., "label": ...}]',
        )


class _Document:
    """A reading place in a JSON document, of which a few megabytes are in memory."""

    def __init__(self, stream: Stream, where: str, faults: Faults, notes: list[str]) -> None:
        self._stream = stream
        self._where = where
        self._faults = faults
        self._notes = notes
        self._text = ""
        self._at = 0
        self._line = 1
        self._ended = False
        self._wide = False
        self._decoder = Decoder()
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._begin()

    def lists(self) -> Iterator[str]:
        """Give the name of each list; the caller reads it, or passes it over, before going on."""
        if self._wide:
            raise Broken
        opening = self._peek()
        if opening == "[":
            yield ""
            self._finish()
        elif opening == "{":
            yield from self._named_lists()
            self._finish()
        elif opening:
            self._break(
                f"a list or object is expected, here is {excerpt(self._rest())}",
                "write a list of rows",
            )

    def _named_lists(self) -> Iterator[str]:
        self._take("{")
        names: set[str] = set()
        while self._peek() != "}":
            name = self._name()
            if name in names:
                self._break(f"the key {name!r} stands twice", "keep one")
            names.add(name)
            self._take(":")
            if self._peek() == "[":
                yield name
            else:
                self._value()
                self._notes.append(
                    f"{self._where}: {name!r} is not a list of rows and is passed over"
                )
            if self._peek() != "}":
                self._take(",")
        self._take("}")

    def rows(self) -> Iterator[Row]:
        """Give the rows of the list that begins here."""
        first = True
        for value, origin, span in self._items():
            problems = self._decoder.taken()
            if too_deep(span):
                problems.append(DEEP)
            columns = columns_of(value)
            if columns is None:
                problems.append(self._no_row(value, span))
                if first:
                    self._faults.add(origin, *problems[-1])
                    raise Broken
            first = False
            for problem in problems:
                self._faults.add(origin, *problem)
            if columns is not None and not problems:
                yield Row(columns, origin)

    def _no_row(self, value: object, span: str) -> Problem:
        remedy = 'write each row as an object: {"text": ..., "label": ...}'
        if not isinstance(value, (dict, list)):
            remedy += (
                '; one list per column is written by pandas, whose orient="records" writes rows'
            )
        return Problem(f"{kind_of(value)}, {excerpt(span)}, where a row is expected", remedy)

    def pass_over(self) -> None:
        """Go to the end of the list that begins here."""
        for _ in self._items():
            self._decoder.taken()

    def _items(self) -> Iterator[tuple[object, str, str]]:
        """Give each item of the list that begins here, its origin, and its characters."""
        self._take("[")
        while self._peek() != "]":
            line = self._line
            value, span = self._value()
            yield value, f"{self._where}:{line}", span
            if self._peek() != "]":
                self._take(",")
                if self._peek() == "]":
                    self._break("a comma stands before the closing bracket", "remove it")
        self._take("]")

    def _name(self) -> str:
        name, _ = self._value()
        if not isinstance(name, str):
            self._break(
                f"{kind_of(name)} stands where a name is expected", "quote it with double marks"
            )
        return name

    def _value(self) -> tuple[object, str]:
        """Decode the value that begins here and go past it."""
        self._peek()
        while True:
            try:
                value, end = self._decoder.decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._ended or len(self._text) - self._at > LINE_BYTES:
                    self._broken_value(error)
            except Unreadable as error:
                self._break(*error.problem)
            else:
                if self._is_whole(value, end):
                    span = self._text[self._at : end]
                    self._move(end)
                    return value, span
            self._decoder.taken()
            self._fill()

    def _is_whole(self, value: object, end: int) -> bool:
        """Tell whether a value ends where the decoder says: "12" may go on as "12.5"."""
        if self._ended or end == len(self._text):
            return self._ended
        return not isinstance(value, (int, float)) or self._text[end] in _AFTER_NUMBER

    def _broken_value(self, error: json.JSONDecodeError) -> NoReturn:
        if self._ended and (error.pos >= len(self._text) - 1 or "Unterminated" in error.msg):
            self._truncated()
        if not self._ended:
            self._break(
                f"a row is longer than {LINE_BYTES:,} bytes",
                "cut the text, or mend its quotation marks",
            )
        self._line += self._text.count("\n", self._at, error.pos)
        shown = self._text[: error.pos + _SHOWN]
        column = error.pos - self._text.rfind("\n", 0, error.pos)
        self._break(
            f"column {column}: not JSON ({reason(error)}): {excerpt(shown[error.pos :])}",
            f"{hint(shown, error)}; nothing after this place was read",
        )

    def _take(self, expected: str) -> None:
        found = self._peek()
        if found == expected:
            self._at += 1
        elif not found:
            self._truncated()
        else:
            self._break(
                f"{expected!r} is expected, here is {excerpt(self._rest())}",
                "mend the document; nothing after this place was read",
            )

    def _peek(self) -> str:
        """Give the next character that is no blank, or "" at the end."""
        while True:
            while self._at < len(self._text):
                character = self._text[self._at]
                if character not in BLANKS:
                    return character
                self._line += character == "\n"
                self._at += 1
            if self._ended:
                return ""
            self._fill()

    def _finish(self) -> None:
        if self._peek():
            self._break(
                f"{excerpt(self._rest())} follows the end of the document",
                "write one document a file, or one row a line into a .jsonl file",
            )

    def _move(self, end: int) -> None:
        self._line += self._text.count("\n", self._at, end)
        self._at = end

    def _rest(self) -> str:
        """Give the next characters, for a message."""
        while len(self._text) - self._at < _SHOWN and not self._ended:
            self._fill()
        return self._text[self._at : self._at + _SHOWN]

    def _begin(self) -> None:
        head = self._stream.peek(4096)
        if wide := wide_encoding(head):
            refuse_wide(wide, f"{self._where}:1", self._stream.path, self._faults)
            self._wide = True
        elif head.startswith(BOM):
            self._stream.read(len(BOM))
            self._notes.append(f"{self._where}: begins with a byte order mark, which is accepted")

    def _fill(self) -> None:
        """Read on; what was passed is forgotten."""
        self._text, self._at = self._text[self._at :], 0
        chunk = self._stream.read(CHUNK_BYTES)
        pending = self._utf8.getstate()[0]
        try:
            self._text += self._utf8.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            self._undecodable(pending + chunk, error)
        self._ended = not chunk

    def _undecodable(self, raw: bytes, error: UnicodeDecodeError) -> NoReturn:
        """Record the byte that is not UTF-8, and stop."""
        before = raw[: error.start]
        line = self._line + self._text.count("\n") + before.count(b"\n")
        begin = before.rfind(b"\n") + 1
        body = raw[begin : error.start + 40]
        error.start -= begin
        refuse_bytes(body, error, f"{self._where}:{line}", self._stream.path, self._faults)
        raise Broken

    def _truncated(self) -> NoReturn:
        line = self._line + self._text.count("\n", self._at)
        self._faults.add(
            f"{self._where}:{line}",
            "the document ends before its brackets are closed",
            "the file was cut short; fetch or write it again; the rows before were read",
        )
        raise Broken

    def _break(self, what: str, remedy: str) -> NoReturn:
        self._faults.add(f"{self._where}:{self._line}", what, remedy)
        raise Broken
