"""Numbers: what a cell says as a number, and between which numbers those of a part lie."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from tenon.data.fields import Problem
from tenon.data.strict_json import kind_of
from tenon.data.tables import excerpt

LARGEST = 1e30
"""Its square, and that of a difference, is far within float64; it is itself within float32."""
NARROW = 1e-4
"""Numbers that differ by a smaller share of their size are no longer told apart in float32."""
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_NO_FINITE = ("nan", "inf", "infinity", "na", "n/a", "null", "none")


def number_of(value: object) -> float | None:
    """Read a number, as JSON types it or as a table writes it; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str):
        body = value.strip()
        if not _NUMBER.fullmatch(body):
            return None
        value = float(body)
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if abs(number) <= LARGEST else None


def fractional(values: Iterable[object]) -> bool:
    """Whether all values are numbers, and one of them is no whole one."""
    numbers = [number_of(value) for value in values if value is not None and value != ""]
    known = [number for number in numbers if number is not None]
    return len(known) == len(numbers) and any(not number.is_integer() for number in known)


def number_problem(column: str, value: object) -> Problem | None:
    """Say why a value is no number; None where it is one."""
    if number_of(value) is not None:
        return None
    if value is None or value == "" or (isinstance(value, str) and value.isspace()):
        what = f"{column!r} is {'null' if value is None else 'empty'}"
        return Problem("missing_number", what, "give a number or remove the row")
    if isinstance(value, bool):
        what = f"{column!r} is {str(value).lower()}, not a number"
        return Problem("not_a_number", what, "write 0 or 1, or learn classes")
    if isinstance(value, int) or _digits(value) or (isinstance(value, float) and value == value):
        what = f"{column!r} is {excerpt(str(value))}, which is beyond {LARGEST:g}"
        return Problem("number_too_large", what, "divide all numbers by the same power of ten")
    if isinstance(value, str) and value.strip().lstrip("+-").casefold() in _NO_FINITE:
        what = f"{column!r} is {value.strip()}, which is no finite number"
        return Problem("not_finite", what, "give a number or remove the row")
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip().replace(",", ".", 1)):
        what = f"{column!r} is {value!r}, with a comma"
        remedy = f"write {value.strip().replace(',', '.', 1)!r}, or without a comma for thousands"
        return Problem("comma_in_number", what, remedy)
    kind = "text" if isinstance(value, str) else kind_of(value)
    what = f"{column!r} is {kind}, {excerpt(str(value))}, not a number"
    return Problem("not_a_number", what, "give a number, or choose another column")


def _digits(value: object) -> bool:
    return isinstance(value, str) and bool(_NUMBER.fullmatch(value.strip()))


@dataclass(slots=True)
class Range:
    """Between which numbers those of a part lie; grows while they are read.

    Args:
        count: numbers so far.
        low, high: the smallest and the largest.
        total: their sum.
    """

    count: int = 0
    low: float = math.inf
    high: float = -math.inf
    total: float = 0.0

    def add(self, number: float) -> None:
        """Enter one number."""
        self.count += 1
        self.total += number
        self.low, self.high = min(self.low, number), max(self.high, number)

    @property
    def said(self) -> str:
        """What it is, in words: "from 0 to 5, 2.61 on average"."""
        return f"from {self.low:.6g} to {self.high:.6g}, {self.total / self.count:.4g} on average"

    @property
    def flaw(self) -> tuple[str, str]:
        """Why nothing can be learned from such numbers, and what to do; empty where it can."""
        size = max(abs(self.low), abs(self.high))
        if self.count and self.low == self.high:
            what = f"all {self.count:,} rows have" if self.count > 1 else "the only row has"
            return f"{what} the number {self.low:.6g}", "give rows whose numbers differ"
        if self.count and self.high - self.low < NARROW * size:
            what = f"the numbers lie from {self.low!r} to {self.high!r}, too near for their size"
            return what, f"subtract {self.low:.6g} from all of them"
        return "", ""
