"""Strict JSON: values as the standard has them; what Python would let pass is a problem."""

from __future__ import annotations

import json
import math
import re
from typing import NamedTuple, NoReturn

DEPTH = 64
BLANKS = " \t\r\n"
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


class Problem(NamedTuple):
    """What is wrong with a value, and what to do."""

    what: str
    remedy: str


class Decoder:
    """Decode JSON values; problems that do not stop the reading gather in `problems`.

    Duplicate keys, NaN and numbers beyond float64 are such: the caller takes `problems` after each
    value and refuses the row.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object, parse_constant=self._constant, parse_float=self._float
        )

    def decode(self, text: str, start: int = 0) -> tuple[object, int]:
        """Decode the value that begins at `text[start]`, which is no blank.

        Returns:
            The value, and the place after it.

        Raises:
            json.JSONDecodeError: no whole value is there.
            Unreadable: a value is there that Python cannot hold.
        """
        try:
            return self._decoder.raw_decode(text, start)
        except json.JSONDecodeError:
            raise
        except RecursionError:
            self._refuse(f"values are nested deeper than {DEPTH}", "write the row flat")
        except ValueError:
            self._refuse("a number has more than 4,300 digits", "write it as a string")

    def taken(self) -> list[Problem]:
        """Give the problems found since the last call."""
        found, self.problems = self.problems, []
        return found

    def _refuse(self, what: str, remedy: str) -> NoReturn:
        raise Unreadable(Problem(what, remedy))

    def _object(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        value = dict(pairs)
        if len(value) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = sorted({key for key in keys if keys.count(key) > 1})
            self.problems.append(
                Problem(
                    f"the key {', '.join(map(repr, twice))} stands twice in one object", "keep one"
                )
            )
        return value

    def _constant(self, name: str) -> float:
        self.problems.append(Problem(f"{name} is not JSON", "write null, or leave the row out"))
        return math.nan

    def _float(self, digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            self.problems.append(
                Problem(
                    f"the number {digits} is beyond the range of float64", "write it as a string"
                )
            )
        return value


class Unreadable(Exception):
    """A JSON value that cannot be held."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.what)
        self.problem = problem


def too_deep(text: str) -> bool:
    """Tell whether the values in `text` are nested deeper than `DEPTH`, in linear time."""
    if text.count("[") + text.count("{") <= DEPTH:
        return False
    depth = 0
    for character in _STRINGS.sub("", text):
        if character in "[{":
            depth += 1
            if depth > DEPTH:
                return True
        elif character in "]}":
            depth -= 1
    return False


DEEP = Problem(f"values are nested deeper than {DEPTH}", "write the row flat")


def columns_of(value: object) -> dict[str, object] | None:
    """Give a row's columns: an object's keys, or a list's places "0", "1" ...; None for no row."""
    if isinstance(value, dict):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, list):
        return {str(place): item for place, item in enumerate(value)}
    return None


def kind_of(value: object) -> str:
    """Name the JSON type of `value` in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, dict) else type(value).__name__
