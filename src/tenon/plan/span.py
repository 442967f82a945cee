"""Span: the values that one swept setting may take, as `--over KEY=SPEC` writes them.

8,16,32            a list; numbers are ordered
0.1..0.5           every number between the ends, the ends included
8..64/8            from the low end in steps
log:1e-5..1e-2     every number between the ends, evenly spread by its logarithm
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from tenon.core.errors import PlanError
from tenon.plan.override import parse as parse_overrides
from tenon.plan.planfile import toml

NUMBER = r"[+-]?\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?"
RANGE = re.compile(
    rf"(?P<log>log:)?(?P<low>{NUMBER})\.\.(?P<high>{NUMBER})(?:/(?P<step>{NUMBER}))?"
)
DIGITS = 3
FORMS = "8,16,32, or 0.1..0.5, or 8..64/8, or log:1e-5..1e-2"
OPEN, CLOSED = "[{", "]}"

Number = Literal["int", "float", ""]


@dataclass(frozen=True)
class Span:
    """Values of one setting.

    Args:
        key: the setting's dotted name.
        choices: the values of a list; empty for a range.
        low, high: ends of a range, both among the values.
        step: from one value of a range to the next; 0 where all between are values.
        log: whether a range is even by its logarithm.
        whole: whether a range has whole numbers only.
    """

    key: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0
    log: bool = False
    whole: bool = False

    @property
    def spec(self) -> str:
        """What `--over` says behind the `=`; read again it gives this span."""
        if self.choices:
            return ",".join(map(toml, self.choices))
        write = _whole if self.whole else repr
        step = f"/{write(self.step)}" if self.step and not (self.whole and self.step == 1) else ""
        return f"{'log:' if self.log else ''}{write(self.low)}..{write(self.high)}{step}"

    @property
    def ordered(self) -> bool:
        """Whether its values are numbers, of which one is more than another."""
        return not self.choices or all(_is_number(value) for value in self.choices)

    @property
    def count(self) -> int | None:
        """How many values it has; None where they are too many to tell apart."""
        if self.choices:
            return len(self.choices)
        if self.step and not self.log:
            return 1 + math.floor((self.high - self.low) / self.step + 1e-9)
        return int(self.high - self.low) + 1 if self.whole else None

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that are tried before anything runs: of a range its ends."""
        return self.choices or (self.shown(self.low), self.shown(self.high))

    def shown(self, value: float) -> Any:
        """Give a value of a range as it is trained and told: three digits, and never outside."""
        if self.whole:
            return round(value)
        if self.step:
            places = round((value - self.low) / self.step)
            value = float(f"{self.low + places * self.step:.12g}")
            return min(self.high, max(self.low, value))
        return min(self.high, max(self.low, float(f"{value:.{DIGITS}g}")))

    def argument(self, value: Any) -> str:
        """Give the `key=value` that sets it to a value."""
        return f"{self.key}={toml(value)}"


def parse(key: str, spec: str, number: Number) -> Span:
    """Read a spec.

    Args:
        key: the setting's dotted name.
        spec: what stands behind the `=`.
        number: which numbers the setting takes; "" for none.

    Raises:
        PlanError: it is neither a list nor a range, or a range of what has none.
    """
    where = f"--over {key}={spec}"
    found = RANGE.fullmatch(spec.strip())
    if found is None:
        return _list(key, spec, where)
    if not number:
        raise PlanError(f"{where}: is a range, and {key} is no number; list its values: a,b,c")
    low, high, step = (_read(found[name]) for name in ("low", "high", "step"))
    whole = number == "int"
    _refuse_odd(where, found, low, high, step, whole=whole)
    logarithmic = bool(found["log"])
    step = 1.0 if whole and not step and not logarithmic else step
    return Span(key, low=low, high=high, step=step, log=logarithmic, whole=whole)


def _refuse_odd(
    where: str, found: re.Match[str], low: float, high: float, step: float, *, whole: bool
) -> None:
    """Refuse a range that has no two values, or none of its setting.

    Raises:
        PlanError: it is such a range.
    """
    if not low < high:
        raise PlanError(f"{where}: {found['low']} is not below {found['high']}; turn them around")
    if found["log"] and low <= 0:
        raise PlanError(f"{where}: a logarithm needs numbers above 0; {found['low']} is none")
    if found["log"] and found["step"]:
        raise PlanError(f"{where}: a range by logarithm has no step; leave out /{found['step']}")
    if found["step"] and not 0 < step <= high - low:
        raise PlanError(f"{where}: the step {found['step']} leaves one value; take a smaller one")
    odd = [each for each in (low, high, step) if whole and each != round(each)]
    if odd:
        raise PlanError(f"{where}: {odd[0]:g} is no whole number, which this setting needs")


def _list(key: str, spec: str, where: str) -> Span:
    words = _words(spec)
    if len(words) < 2 or not all(words):  # noqa: PLR2004 - what is searched has two values
        raise PlanError(f"{where}: is no list of two or more and no range; write {FORMS}")
    values = tuple(parse_overrides([f"{key}={word}"])[0].value for word in words)
    same = [value for place, value in enumerate(values) if value in values[:place]]
    if same:
        raise PlanError(f"{where}: {toml(same[0])} stands twice; name it once")
    return Span(key, tuple(sorted(values)) if all(map(_is_number, values)) else values)


def _words(spec: str) -> list[str]:
    """Part a list at its commas; those in brackets and in quotation marks part nothing."""
    words, depth, quote = [""], 0, ""
    for sign in spec:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign == "," and not depth:
            words.append("")
            continue
        depth += (sign in OPEN) - (sign in CLOSED) if not quote else 0
        words[-1] += sign
    return [word.strip() for word in words]


def _read(text: str | None) -> float:
    return float(text.replace("_", "")) if text else 0.0


def _whole(value: float) -> str:
    return str(round(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
