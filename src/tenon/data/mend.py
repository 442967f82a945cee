"""Mend: a copy of train without the faults that can be mended safely, and a list of what was done.

The rows are mended one by one, in their file's own columns, and written as JSON lines; a row with
nothing to mend is written as it is. What is in doubt stays, and is told.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TextIO, cast

from tenon.core.errors import DataError, Faults, FileError
from tenon.core.files import aside
from tenon.data.example import Example, Row
from tenon.data.findings import agreed, counted
from tenon.data.label_names import names_in, renamed, usual_names
from tenon.data.ledger import alike_digest
from tenon.data.mended_copy import Fix, Mended
from tenon.data.mended_text import mended_text
from tenon.data.parts import Route
from tenon.data.secrets import masked
from tenon.data.settings import Columns
from tenon.data.span_values import Found, span_in
from tenon.data.tagging import listed, value_at
from tenon.data.task import Tally

SHOWN = 80
_OFFSETS = {"question-answering": ("question",)}
"""The text columns without places that would move, of a task whose rows have such."""


def mend(route: Route, columns: Columns, out: Path) -> Mended:
    """Write a mended copy of train, and beside it the list of what was done.

    Args:
        route: sources and task.
        columns: which column holds what.
        out: a file that is not there yet, with the suffix .jsonl.

    Raises:
        FileError: `out` has another suffix, is there already, or the disk refused. Nothing is
            written.
        DataError: train cannot be read, or nothing of it is left.
    """
    fixes = out.with_suffix(".fixes.jsonl")
    if out.suffix != ".jsonl":
        raise FileError(f"{out}: a mended copy is written as JSON lines; name it .jsonl")
    for path in (out, fixes):
        if path.exists():
            raise FileError(f"{path}: is there already; name another file, or remove it")
    work = _Mending(route, columns, _text_columns(route, columns))
    work.look_around()
    with aside(fixes) as beside_fixes, aside(out) as beside:
        with (
            beside.open("w", encoding="utf-8", newline="\n") as copy,
            beside_fixes.open("w", encoding="utf-8", newline="\n") as told,
        ):
            work.write(copy, told)
        if not work.rows:
            raise DataError(f"{route.sources['train']}: no row of it is left to write")
    return Mended(out, fixes, work.rows, work.read, dict(work.counts), tuple(work.left()))


def _text_columns(route: Route, columns: Columns) -> tuple[str, ...]:
    """Give the columns whose texts can change without moving a place that another column names."""
    named = columns.named()
    if columns.spans:
        return ()
    only = _OFFSETS.get(route.task.name)
    fields = (
        "text", "pair", "question", "prompt", "input", "completion", "source", "target", "summary",
        "system", "tokens", "turns",
    )  # fmt: skip
    return tuple(named[name] for name in only or fields if name in named)


@dataclass
class Places:
    """Where rows stand, by two digests: of what they say, and of that in normal form."""

    exact: dict[int, str] = field(default_factory=dict[int, str])
    alike: dict[int, str] = field(default_factory=dict[int, str])

    def enter(self, exact: int, alike: int, origin: str) -> None:
        """Enter a row; the first of several stays."""
        self.exact.setdefault(exact, origin)
        self.alike.setdefault(alike, origin)

    def find(self, exact: int, alike: int) -> tuple[int, str] | None:
        """Give the row that says the same: 0 for exactly, 1 for in normal form; and its origin."""
        if exact in self.exact:
            return 0, self.exact[exact]
        return (1, self.alike[alike]) if alike in self.alike else None


@dataclass
class _Mending:
    """What gathers while train is mended.

    Args:
        texts: columns whose texts are mended.
        usual: name of a label to what it becomes.
        later: the rows of dev and test.
        earlier: the rows of train that were written, each with its answer.
        inputs: digests of what those say, without their answers.
    """

    route: Route
    columns: Columns
    texts: tuple[str, ...]
    usual: dict[str, str] = field(default_factory=dict[str, str])
    later: Places = field(default_factory=lambda: Places())
    earlier: Places = field(default_factory=lambda: Places())
    inputs: set[int] = field(default_factory=set[int])
    counts: Counter[str] = field(default_factory=Counter[str])
    unread: Faults = field(default_factory=lambda: Faults(0))
    rows: int = 0
    read: int = 0
    refused: int = 0
    torn: int = 0

    def look_around(self) -> None:
        """Read all sources once: what labels are called, and what stands in dev and test."""
        names: Counter[str] = Counter()
        for source in self.route.sources:
            for row in self.route.rows(source, Faults()):
                names.update(names_in(row.values.get(self.columns.label)))
        self.usual = usual_names(names)
        for source in self.route.sources:
            if source != "train":
                for row, example, _ in self._examples(source):
                    if example is not None:
                        key, alike = int(example.key[:16], 16), alike_digest(example)
                        self.later.enter(key, alike, row.origin)

    def write(self, copy: TextIO, told: TextIO) -> None:
        """Write the rows of train that stay, mended, and what was done."""
        for row, example, fixes in self._examples("train"):
            self.read += 1
            self.refused += example is None
            dropped = self._dropped(row, example) if example is not None else None
            for fix in fixes if dropped is None else [dropped]:
                self.counts[fix.fix] += 1
                told.write(json.dumps(asdict(fix), ensure_ascii=False) + "\n")
            if dropped is None:
                copy.write(_line(row.values))
                self.rows += 1

    def left(self) -> Iterator[str]:
        """Say what was not mended."""
        if self.unread.count:
            count = self.unread.count
            lines = counted(count, "line")
            yield f"{lines} of train cannot be read and {agreed(count, 'are')} not in it"
        if self.refused:
            rows = counted(self.refused, "row")
            yield f"{rows} that training refuses {agreed(self.refused, 'stand')} in it as they were"
        if self.torn:
            yield f"{counted(self.torn, 'row')} with the text of another and another answer stayed"
        others = [part for part in self.route.sources if part != "train"]
        if others:
            named = f"{' and '.join(others)} {agreed(len(others), 'are')} not mended"
            yield f"{named}, only read to find leaks"
        if not self.texts:
            yield "texts are as they were: the places of spans would move"
        elif self.route.task.name in _OFFSETS:
            yield "contexts and answers are as they were: the places of answers would move"
        yield "near duplicates, doubtful labels and personal data stay; decide on them yourself"

    def _examples(self, source: str) -> Iterator[tuple[Row, Example | None, list[Fix]]]:
        """Give each row, mended, its example, and what was done to it.

        The example is None where training refuses the row.
        """
        last: list[tuple[Row, list[Fix]]] = []

        def mended() -> Iterator[Row]:
            faults = self.unread if source == "train" else Faults()
            for row in self.route.rows(source, faults):
                fixes: list[Fix] = []
                fixed = self._mended(row, fixes)
                last[:] = [(fixed, fixes)]
                yield fixed

        # A task judges row by row, so that each answer is about the row that was read last.
        for item in self.route.task.judge(mended(), self.columns, Tally()):
            (row, fixes) = last[0]
            yield row, item if isinstance(item, Example) else None, fixes

    def _mended(self, row: Row, fixes: list[Fix]) -> Row:
        values = dict(row.values)
        for column in self.texts:
            if column in values:
                values[column] = self._text(values[column], column, row.origin, fixes)
        label = self.columns.label
        if label and label in values:
            after = renamed(values[label], self.usual)
            if after != values[label]:
                fixes.append(_fix(row.origin, "label-names", label, values[label], after))
                values[label] = after
        spans = self.columns.spans
        if spans and spans in values:
            values[spans] = self._spans(values, spans, row.origin, fixes)
        return replace(row, values=values)

    def _text(self, value: object, column: str, origin: str, fixes: list[Fix]) -> object:
        """Mend a text, or the texts within a list or an object, as those of a conversation."""
        if isinstance(value, str):
            after, codes = mended_text(value)
            fixes.extend(_fix(origin, code, column, value, after) for code in codes)
            return after
        if isinstance(value, list):
            items = cast("list[object]", value)
            return [self._text(item, column, origin, fixes) for item in items]
        if isinstance(value, dict):
            held = cast("dict[str, object]", value)
            return {k: self._text(item, column, origin, fixes) for k, item in held.items()}
        return value

    def _spans(
        self, values: Mapping[str, object], column: str, origin: str, fixes: list[Fix]
    ) -> object:
        """Write the spans of a row anew if one of them has outer blanks."""
        (_, text), items = value_at(values, self.columns.text), listed(values[column])
        if not isinstance(text, str) or isinstance(items, str):
            return values[column]
        found = [span_in(item, text, column) for item in items]
        if not any(isinstance(span, Found) and span.trimmed for span in found):
            return values[column]
        written: list[object] = []
        for item, span in zip(items, found, strict=True):
            if isinstance(span, Found) and span.trimmed:
                after = asdict(span.span)
                fixes.append(_fix(origin, "blanks-around-spans", column, item, after))
                written.append(after)
            else:
                written.append(item)
        return written

    def _dropped(self, row: Row, example: Example) -> Fix | None:
        """Give why a row is not written; enter it where it is."""
        alike = alike_digest(example)
        found = self.later.find(int(example.key[:16], 16), alike)
        if found is not None:
            return Fix(row.origin, ("leak", "normalised-leak")[found[0]], after=found[1])
        own, gold = int(example.id[:16], 16), repr(example.gold)
        exact, near = hash((own, gold)), hash((alike, gold))
        found = self.earlier.find(exact, near)
        if found is not None:
            return Fix(
                row.origin, ("duplicates", "normalised-duplicates")[found[0]], after=found[1]
            )
        self.torn += own in self.inputs
        self.inputs.add(own)
        self.earlier.enter(exact, near, row.origin)
        return None


def _fix(origin: str, code: str, column: str, before: object, after: object) -> Fix:
    return Fix(origin, code, column, _shown(before), _shown(after))


def _shown(value: object) -> str:
    text = masked(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _line(values: Mapping[str, object]) -> str:
    """Write a row; half of a surrogate pair, which no UTF-8 holds, as its escape."""
    written = json.dumps(values, ensure_ascii=False, default=str)
    try:
        written.encode()
    except UnicodeEncodeError:
        written = json.dumps(values, ensure_ascii=True, default=str)
    return written + "\n"
