"""Walk: a place in a JSON text that is held whole, for documents that nest what they list."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NoReturn

from tenon.core.errors import Faults
from tenon.data.json_document import Broken
from tenon.data.json_lines import hint, reason
from tenon.data.strict_json import DEEP, Decoder, Problem, Unreadable, kind_of, too_deep
from tenon.data.tables import excerpt

_BLANK = re.compile(r"[ \t\r\n]*")


class Walk:
    """Go forwards through a JSON text, into objects and lists or past whole values.

    Args:
        text: the document.
        where: name of the source in origins.
        faults: where faults go.
        whole: whether the text is all of the document; one cut short is not told of twice.
    """

    def __init__(self, text: str, where: str, faults: Faults, *, whole: bool) -> None:
        self.where = where
        self.faults = faults
        self.line = 1
        self._text = text
        self._at = 0
        self._whole = whole
        self._decoder = Decoder()

    @property
    def origin(self) -> str:
        """The line of the present place, `file:line`."""
        return f"{self.where}:{self.line}"

    def peek(self) -> str:
        """Give the next character that is no blank, or "" at the end."""
        match = _BLANK.match(self._text, self._at)
        self._move(match.end() if match else self._at)
        return self._text[self._at : self._at + 1]

    def members(self) -> Iterator[str]:
        """Give each key of the object that begins here; the caller goes past its value.

        Raises:
            Broken: no object is here, or its syntax is broken; the fault is recorded.
        """
        seen: set[str] = set()
        self._take("{")
        while self.peek() != "}":
            name, _ = self.value()
            if not isinstance(name, str):
                self._break(f"{kind_of(name)} stands where a name is expected", "quote the name")
            if name in seen:
                what = f"the key {name!r} stands twice in one object"
                self.faults.add(self.origin, what, "keep one")
            seen.add(name)
            self._take(":")
            yield name
            self._after("}")
        self._take("}")

    def items(self) -> Iterator[None]:
        """Stop at each item of the list that begins here; the caller goes past it.

        Raises:
            Broken: no list is here, or its syntax is broken; the fault is recorded.
        """
        self._take("[")
        while self.peek() != "]":
            yield
            self._after("]")
        self._take("]")

    def value(self) -> tuple[object, list[Problem]]:
        """Decode the value that begins here, go past it, and give what is wrong with it.

        Raises:
            Broken: no value is here; the fault is recorded.
        """
        self.peek()
        try:
            value, end = self._decoder.decode(self._text, self._at)
        except json.JSONDecodeError as error:
            self._broken_value(error)
        except Unreadable as error:
            self._break(*error.problem)
        problems = self._decoder.taken()
        if isinstance(value, (dict, list)) and too_deep(self._text[self._at : end]):
            problems.append(DEEP)
        self._move(end)
        return value, problems

    def finish(self) -> None:
        """Check that nothing follows.

        Raises:
            Broken: something does; the fault is recorded.
        """
        if self.peek():
            rest = excerpt(self._text[self._at : self._at + 80])
            self._break(f"{rest} follows the end of the document", "write one document a file")

    def _after(self, closing: str) -> None:
        if self.peek() == closing:
            return
        self._take(",")
        if self.peek() == closing:
            self.faults.add(self.origin, "a comma stands before the closing bracket", "remove it")

    def _take(self, expected: str) -> None:
        found = self.peek()
        if found == expected:
            self._at += 1
        elif not found:
            self._truncated()
        else:
            here = excerpt(self._text[self._at : self._at + 80])
            self._break(f"{expected!r} is expected, here is {here}", "mend the document")

    def _move(self, end: int) -> None:
        self.line += self._text.count("\n", self._at, end)
        self._at = end

    def _broken_value(self, error: json.JSONDecodeError) -> NoReturn:
        if error.pos >= len(self._text) - 1 or "Unterminated" in error.msg:
            self._truncated()
        shown = self._text[self._at : error.pos + 80]
        place = error.pos - self._at
        column = error.pos - self._text.rfind("\n", 0, error.pos)
        self._move(error.pos)
        what = f"column {column}: not JSON ({reason(error)}): {excerpt(shown[place:])}"
        near = json.JSONDecodeError(error.msg, shown, place)
        self._break(what, hint(shown, near))

    def _truncated(self) -> NoReturn:
        if self._whole:
            self._move(len(self._text))
            remedy = "the file was cut short; fetch or write it again"
            self.faults.add(self.origin, "the document ends before its brackets are closed", remedy)
        raise Broken

    def _break(self, what: str, remedy: str) -> NoReturn:
        self.faults.add(self.origin, what, f"{remedy}; nothing after this place was read")
        raise Broken
