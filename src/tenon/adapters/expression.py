"""Expression: a composition as text, read with the place of whatever is wrong in it.

part   = name | "quoted name" | -part | form(item, …)
item   = part | part:number (in average) | part:[rows] (in route)
rows   = places and ranges of them, from 0: 0-3 5
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn, cast

from tenon.adapters.composition import (
    FORMS,
    Average,
    Composed,
    Composition,
    Fuse,
    Parallel,
    Route,
    Stack,
    text,
)
from tenon.adapters.nesting import MOST_NESTED
from tenon.core.errors import PlanError, did_you_mean

TOKEN = re.compile(
    r'\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<rows>\[[^\[\]]*\])|(?P<mark>[(),:])'
    r'|(?P<word>[^\s(),:"\[\]]+)|(?P<end>$))'
)
CALL = re.compile(r"\s*(-|[A-Za-z_]+\s*\()")
LONGEST_ROWS = 1_000_000


def is_expression(given: str) -> bool:
    """Whether `given` is written as a form of composition, and is no name alone."""
    return CALL.match(given) is not None


def parse(given: str) -> Composition:
    """Read a composition.

    Raises:
        PlanError: it is none, with the place in `given` that is wrong.
    """
    reader = _Reader(given)
    if not given.strip():
        reader.refuse("is empty", "expected an adapter, or average(a:0.7, b:0.3)")
    made = reader.part(0)
    if reader.kind != "end":
        reader.refuse(f"is {reader.token!r}", "expected the end")
    return made


@dataclass
class _Reader:
    """Where in a text the reading is.

    Args:
        given: the text.
        at: where the present token begins.
        after: where it ends.
        kind, token: what it is.
    """

    given: str
    at: int = 0
    after: int = 0
    kind: str = ""
    token: str = field(default="")

    def __post_init__(self) -> None:
        self.next()

    def next(self) -> None:
        """Go on to the next token."""
        found = TOKEN.match(self.given, self.after)
        if found is None:
            rest = self.given[self.after :].lstrip()
            self.at = len(self.given) - len(rest)
            self.refuse(f"is {rest[:12]!r}", "expected a name; is a quote or a bracket not closed?")
        self.kind = str(found.lastgroup)
        self.token = found[self.kind]
        self.at, self.after = found.start(self.kind), found.end()

    def refuse(self, what: str, remedy: str, at: int | None = None) -> NoReturn:
        """Say what is wrong at a place, by default where the present token begins.

        Raises:
            PlanError: always.
        """
        place = (self.at if at is None else at) + 1
        raise PlanError(f"composition {self.given!r}: character {place} {what}; {remedy}")

    def expect(self, mark: str, where: str) -> None:
        if self.kind != "mark" or self.token != mark:
            self.refuse(f"is {self.token!r}" if self.token else "is the end", f"expected {where}")
        self.next()

    def part(self, depth: int) -> Composition:
        """Read a name, a negation or a form."""
        begin, kind, token = self.at, self.kind, self.token
        if depth > MOST_NESTED:
            self.refuse("is nested too deep", f"expected at most {MOST_NESTED} forms")
        if kind == "word" and token.startswith("-"):
            self.after = self.at + 1
            self.next()
            return self.made(begin, "average", [(self.part(depth + 1), -1.0)])
        if kind == "quoted":
            self.next()
            return self.unquoted(token, begin)
        if kind != "word":
            self.refuse(
                f"is {token!r}" if token else "is the end", "expected the name of an adapter"
            )
        self.next()
        if (self.kind, self.token) != ("mark", "("):
            return token
        if token not in FORMS:
            self.refuse(f"is {token!r}, which is no form", did_you_mean(token, FORMS), begin)
        self.next()
        return self.form(token, begin, depth)

    def unquoted(self, token: str, begin: int) -> str:
        try:
            name: str = json.loads(token)
        except ValueError:
            self.refuse(f"is {token}", "expected a name in quotes, as in JSON", begin)
        if not name.strip():
            self.refuse("is an empty name", "expected the name of an adapter", begin)
        return name

    def form(self, form: str, begin: int, depth: int) -> Composition:
        """Read what stands in the brackets of a form."""
        items: list[tuple[Composition, object]] = []
        while (self.kind, self.token) != ("mark", ")"):
            items.append((self.part(depth + 1), self.more(form)))
            if (self.kind, self.token) != ("mark", ")"):
                self.expect(",", f'"," or ")" behind a part of {form}')
        self.next()
        return self.made(begin, form, items)

    def more(self, form: str) -> object:
        """Read what stands behind a part: its weight or its rows; None where there is nothing."""
        if (self.kind, self.token) != ("mark", ":"):
            if form == "route":
                self.refuse("has no rows before it", "expected :[0-3 5] behind each part of route")
            return None
        if form not in ("average", "route"):
            self.refuse("is ':'", f"{form} has neither weights nor rows; leave it out")
        self.next()
        return self.rows() if form == "route" else self.weight()

    def weight(self) -> float:
        try:
            number = float(self.token) if self.kind == "word" else None
        except ValueError:
            number = None
        if number is None:
            self.refuse(f"is {self.token!r}", "expected a weight, a number such as 0.5")
        self.next()
        return number

    def rows(self) -> tuple[int, ...]:
        if self.kind != "rows":
            self.refuse(f"is {self.token!r}", "expected rows such as [0-3 5]")
        found: list[int] = []
        for item in self.token[1:-1].replace(",", " ").split():
            match = re.fullmatch(r"(\d{1,12})(?:-(\d{1,12}))?", item)
            low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
            if high < low or high - low + len(found) > LONGEST_ROWS:
                self.refuse(f"has the rows {item!r}", "expected places from 0, or ranges as 0-3")
            found += range(low, high + 1)
        self.next()
        return tuple(found)

    def made(
        self, begin: int, form: str, items: Sequence[tuple[Composition, object]]
    ) -> Composition:
        """Make the value, and say where in the text it stood if it is refused."""
        if form == "average":
            items = self.weighted(begin, items)
        try:
            return _value(form, items)
        except PlanError as error:
            what, _, remedy = str(error).partition("; ")
            self.refuse(f"begins what is refused: {what}", remedy, begin)

    def weighted(
        self, begin: int, items: Sequence[tuple[Composition, object]]
    ) -> list[tuple[Composition, object]]:
        """Give equal shares where no part has a weight."""
        without = [part for part, weight in items if weight is None]
        if not without:
            return list(items)
        if len(without) < len(items):
            self.refuse(
                f"begins an average in which {text(without[0])} has no weight",
                "give each part one, or none",
                begin,
            )
        return [(part, 1 / len(items)) for part, _ in items]


def _value(form: str, items: Sequence[tuple[Composition, object]]) -> Composed:
    if form == "average":
        return Average(cast("list[tuple[Composition, float]]", items))
    if form == "route":
        return Route(cast("list[tuple[Composition, tuple[int, ...]]]", items))
    made = cast("type[Stack | Parallel | Fuse]", FORMS[form])
    return made(*(part for part, _ in items))
