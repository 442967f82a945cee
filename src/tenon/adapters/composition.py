"""Composition: several adapters as one, an expression that is a value.

    average(runs/a:0.7, runs/b:0.3)     what each changes, weighted and added
    stack(a, b)                         b reads what a has changed
    parallel(a, b)                      both answer each row
    route(a:[0-3], b:[4 6])             each row has its own
    fuse(a, b)                          a mixture that is learned

An adapter alone is a composition too: a `str`, the name or folder by which it is called. Values are
equal where they say the same in the same order, and none exists that could not mean anything.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from tenon.adapters.nesting import MOST_NESTED, refusal
from tenon.core.errors import PlanError

PLAIN = re.compile(r'(?!-)[^\s(),:"\[\]]+')
"""A name that needs no quotes; one that begins with a minus would be a negation."""


@dataclass(frozen=True, init=False)
class Stack:
    """Adapters one around the other: each reads what those before it have changed.

    Args:
        parts: at least two, the innermost first.
    """

    form: ClassVar[str] = "stack"
    parts: tuple[Composition, ...]

    def __init__(self, *parts: Composition) -> None:
        object.__setattr__(self, "parts", parts)
        _refuse(self.form, parts, least=2)


@dataclass(frozen=True, init=False)
class Average:
    """What each part changes in the output of each module, times its weight, added up.

    Args:
        weighted: the parts with their weights, which need not sum to 1; a negative one negates.
    """

    form: ClassVar[str] = "average"
    weighted: tuple[tuple[Composition, float], ...]

    def __init__(
        self, weights: Mapping[Composition, float] | Sequence[tuple[Composition, float]]
    ) -> None:
        pairs = [*weights.items()] if isinstance(weights, Mapping) else [*weights]
        _refuse(self.form, [part for part, _ in pairs], least=1)
        for part, weight in pairs:
            _refuse_weight(part, weight)
        object.__setattr__(self, "weighted", tuple((part, float(w)) for part, w in pairs))

    @property
    def parts(self) -> tuple[Composition, ...]:
        """The parts without their weights."""
        return tuple(part for part, _ in self.weighted)


@dataclass(frozen=True, init=False)
class Parallel:
    """Adapters beside each other: each answers every row.

    Args:
        parts: at least two.
    """

    form: ClassVar[str] = "parallel"
    parts: tuple[Composition, ...]

    def __init__(self, *parts: Composition) -> None:
        object.__setattr__(self, "parts", parts)
        _refuse(self.form, parts, least=2)


@dataclass(frozen=True, init=False)
class Fuse:
    """Adapters whose outputs are mixed by an attention that is learned while they are frozen.

    Args:
        parts: at least two, adapters alone.

    Source: Pfeiffer et al. 2021, AdapterFusion (arXiv:2005.00247).
    """

    form: ClassVar[str] = "fuse"
    parts: tuple[Composition, ...]

    def __init__(self, *parts: Composition) -> None:
        object.__setattr__(self, "parts", parts)
        _refuse(self.form, parts, least=2)


@dataclass(frozen=True, init=False)
class Route:
    """Each row of a batch by a part of its own.

    Args:
        routed: the parts with the places of their rows, from 0, each row at most once.
    """

    form: ClassVar[str] = "route"
    routed: tuple[tuple[Composition, tuple[int, ...]], ...]

    def __init__(
        self,
        rows: Mapping[Composition, Sequence[int]] | Sequence[tuple[Composition, Sequence[int]]],
    ) -> None:
        pairs = [*rows.items()] if isinstance(rows, Mapping) else [*rows]
        _refuse(self.form, [part for part, _ in pairs], least=1)
        _refuse_rows(pairs)
        object.__setattr__(self, "routed", tuple((part, tuple(sorted(r))) for part, r in pairs))

    @property
    def parts(self) -> tuple[Composition, ...]:
        """The parts without their rows."""
        return tuple(part for part, _ in self.routed)


Composed = Stack | Average | Parallel | Fuse | Route
Composition = str | Composed
FORMS: dict[str, type[Composed]] = {
    form.form: form for form in (Stack, Average, Parallel, Fuse, Route)
}


def names(composition: Composition) -> tuple[str, ...]:
    """Give the adapters of a composition, each once, in order of appearance."""
    return tuple(dict.fromkeys(_leaves(composition)))


def _leaves(composition: Composition) -> Iterator[str]:
    if isinstance(composition, str):
        yield composition
        return
    for part in composition.parts:
        yield from _leaves(part)


def depth(composition: Composition) -> int:
    """Give how many forms stand around the innermost adapter."""
    if isinstance(composition, str):
        return 0
    return 1 + max(depth(part) for part in composition.parts)


def form_of(composition: Composition) -> str:
    """Give what a composition is: the name of its form, or "adapter"."""
    return "adapter" if isinstance(composition, str) else composition.form


def text(composition: Composition) -> str:
    """Write a composition as `parse` reads it."""
    if isinstance(composition, str):
        return composition if PLAIN.fullmatch(composition) else json.dumps(composition)
    match composition:
        case Average(weighted=weighted):
            inside = [f"{text(part)}:{_number(weight)}" for part, weight in weighted]
        case Route(routed=routed):
            inside = [f"{text(part)}:[{_ranges(rows)}]" for part, rows in routed]
        case _:
            inside = [text(part) for part in composition.parts]
    return f"{composition.form}({', '.join(inside)})"


def to_json(composition: Composition) -> Any:
    """Give a composition as JSON-able values: a name, or an object of one key, its form."""
    match composition:
        case str():
            return composition
        case Average(weighted=weighted):
            inside: list[Any] = [{"part": to_json(p), "weight": w} for p, w in weighted]
        case Route(routed=routed):
            inside = [{"part": to_json(p), "rows": list(rows)} for p, rows in routed]
        case _:
            inside = [to_json(part) for part in composition.parts]
    return {composition.form: inside}


def from_json(value: object) -> Composition:
    """Read what `to_json` gave.

    Raises:
        PlanError: it is nothing that `to_json` gives, or a composition that is refused.
    """
    if isinstance(value, str):
        return value
    form, inside = _object(value)
    if form not in ("average", "route"):
        made = cast("type[Stack | Parallel | Fuse]", FORMS[form])
        return made(*(from_json(part) for part in inside))
    field = "weight" if form == "average" else "rows"
    pairs = [_pair(entry, field, form) for entry in inside]
    return Average(pairs) if form == "average" else Route(pairs)


def _object(value: object) -> tuple[str, list[Any]]:
    given = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    form = next(iter(given), "")
    if len(given) != 1 or form not in FORMS or not isinstance(given[form], list):
        raise PlanError(
            f"composition: is {json.dumps(value, default=str)[:60]}; expected a name, or an object "
            f"of one key ({', '.join(FORMS)}) with a list of parts"
        )
    return form, given[form]


def _pair(entry: object, field: str, form: str) -> tuple[Composition, Any]:
    given = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
    if set(given) != {"part", field}:
        raise PlanError(
            f"{form}: has {json.dumps(entry, default=str)[:60]}; expected an object with part and "
            f"{field}"
        )
    held = given[field]
    return from_json(given["part"]), tuple(held) if isinstance(held, list) else held


def _number(weight: float) -> str:
    return str(int(weight)) if weight.is_integer() and abs(weight) < 1e15 else repr(weight)


def _ranges(rows: Sequence[int]) -> str:
    """Write sorted rows shortly: 0-3 5."""
    runs: list[tuple[int, int]] = []
    for row in rows:
        if runs and runs[-1][1] == row - 1:
            runs[-1] = (runs[-1][0], row)
        else:
            runs.append((row, row))
    return " ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def _refuse(form: str, parts: Sequence[Composition], *, least: int) -> None:
    """Refuse parts that the form cannot have.

    Raises:
        PlanError: they are too few, one is nothing, stands twice or is nested where it must not.
    """
    if len(parts) < least:
        count = "is empty" if not parts else f"has one part, {text(parts[0])}"
        wanted = "one adapter" if least == 1 else "two parts"
        raise PlanError(f"{form}: {count}; expected at least {wanted}")
    for place, part in enumerate(parts):
        if not (isinstance(part, str) and part.strip()) and not isinstance(part, Composed):
            raise PlanError(f"{form}: a part is {part!r}; expected the name of an adapter, or …(…)")
        if part in parts[:place]:
            raise PlanError(f"{form}: {text(part)} stands twice; {_TWICE[form]}")
        why = refusal(form, form_of(part))
        if why:
            raise PlanError(f"{form}: {form_of(part)} cannot stand in it: {why}")
        if depth(part) >= MOST_NESTED:
            raise PlanError(f"{form}: is nested deeper than {MOST_NESTED}; expected less")


_TWICE = {
    "stack": "what it changes would be changed again; to make it stronger, write average(a:2)",
    "average": "add up its weights",
    "parallel": "it would answer the same; name each once",
    "fuse": "its output would be weighed against itself; name each once",
    "route": "put its rows into one list",
}


def _refuse_weight(part: Composition, weight: object) -> None:
    where = f"average: weight of {text(part)} is {weight!r}"
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise PlanError(f"{where}; expected a number such as 0.5")
    if not math.isfinite(weight):
        raise PlanError(f"{where}; expected a finite number")
    if weight == 0:
        raise PlanError(f"{where}, which has no effect; leave {text(part)} out")


def _refuse_rows(pairs: Sequence[tuple[Composition, Sequence[int]]]) -> None:
    seen: dict[int, Composition] = {}
    for part, rows in pairs:
        where = f"route: rows of {text(part)}"
        if isinstance(rows, str) or not isinstance(rows, Sequence) or not rows:
            raise PlanError(f"{where} are {rows!r}; expected places of rows, such as [0-3 5]")
        for row in rows:
            if isinstance(row, bool) or not isinstance(row, int) or row < 0:
                raise PlanError(f"{where} have {row!r}; expected whole numbers from 0")
            if row in seen:
                raise PlanError(f"{where}: row {row} is also of {text(seen[row])}; give it to one")
            seen[row] = part
