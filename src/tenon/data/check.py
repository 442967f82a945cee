"""Check: read all sources, and report what is in them, without keeping their texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from tenon.core.errors import DataError, Fault, Faults
from tenon.data.class_findings import class_findings
from tenon.data.columns import require
from tenon.data.example import Example, Row
from tenon.data.fields import Refusal
from tenon.data.finder import Finder, Seen, answer_of, texts_of
from tenon.data.findings import (
    EXAMPLES,
    ROWS,
    SEVERITIES,
    Finding,
    Findings,
    Lengths,
    counted,
    said,
    share_of,
)
from tenon.data.languages import Languages
from tenon.data.ledger import LabelNames, Ledger
from tenon.data.lengths import Tokenizer, length_findings, spread, token_counts
from tenon.data.load import plan_route, sample_of
from tenon.data.near_duplicates import NearDuplicates
from tenon.data.number_findings import number_findings
from tenon.data.numbers import Range
from tenon.data.oddities import Oddities
from tenon.data.parts import Route
from tenon.data.places import in_order
from tenon.data.repeats import conflicts, duplicates, leaks
from tenon.data.sample import Sample
from tenon.data.secrets import Secrets, masked
from tenon.data.settings import Columns, DataSettings
from tenon.data.spans import Spans
from tenon.data.survey import unused_parts
from tenon.data.task import Tally, Task
from tenon.data.written_answers import WrittenAnswers

Progress = Callable[[str, int], None]
PROGRESS_ROWS = 10_000


def check(
    settings: DataSettings,
    seed: int,
    *,
    tokenizer: Tokenizer | None = None,
    max_tokens: int = 0,
    progress: Progress | None = None,
) -> Findings:
    """Read every row of every source once, and report what is in them.

    Nothing is refused because of what a row holds; 32 bytes are kept of each row.

    Args:
        settings: sources, columns, split.
        seed: chooses the rows whose tokens are counted.
        tokenizer: gives the number of tokens of each of some texts; without it none are counted.
        max_tokens: rows with more tokens are counted as cut; 0 for no limit.
        progress: called with a part and the rows read of it, every 10,000 rows.

    Raises:
        FileError: a source is not there.
        PlanError: `settings.dev` is no share in (0, 0.5].
    """
    route = plan_route(settings, seed)
    reading = _Reading(route, Sample(seed), finders=_finders(route.task))
    columns = _columns(route, reading)
    for source in route.sources:
        reading.read(source, columns if source not in reading.lacking else None, progress)
    lengths, more = _lengths(reading, tokenizer, max_tokens)
    found = [_without_secrets(each) for each in (*_gathered(reading, settings), *more)]
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Findings(
        sources=dict(route.sources),
        share=route.share,
        columns=columns,
        rows={part: len(ledger) for part, ledger in reading.ledgers.items()},
        refused=dict(reading.refused),
        labels=reading.label_counts(),
        lengths=tuple(lengths),
        findings=tuple(found),
        faults=tuple(map(_hidden, in_order(reading.faults.kept)[: reading.faults.keep])),
    )


def _finders(task: Task) -> list[Finder]:
    """Give what looks at each row of a task."""
    found: list[Finder] = [NearDuplicates(), Oddities(), Languages(), Secrets()]
    if task.name == "token-classification":
        found.append(Spans())
    if task.open:
        found.append(WrittenAnswers(ended=task.name == "text-generation"))
    return found


@dataclass(slots=True)
class _Reading:
    """What gathers while the sources are read.

    Args:
        route: sources and quoting.
        sample: rows whose tokens are counted.
        ledgers: source to its rows.
        refused: source to its rows that cannot be used.
        classes: source to label to how often it stands there, where a row may have several.
        bare: source to its rows in which no label stands, where a row may have several.
        ranges: source to its numbers, where a gold is one.
        faults: all of them, in the order of reading.
        problems: kind of problem to rows; `origins` has the first few of each.
        finders: what looks at each row.
        lacking: sources that lack a column.
        notes: what readers met and accepted.
        extra: findings about a source as a whole.
    """

    route: Route
    sample: Sample
    names: LabelNames = field(default_factory=LabelNames)
    ledgers: dict[str, Ledger] = field(default_factory=dict[str, Ledger])
    refused: Counter[str] = field(default_factory=Counter[str])
    classes: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    bare: Counter[str] = field(default_factory=Counter[str])
    ranges: dict[str, Range] = field(default_factory=dict[str, Range])
    faults: Faults = field(default_factory=Faults)
    problems: Counter[str] = field(default_factory=Counter[str])
    finders: list[Finder] = field(default_factory=list[Finder])
    origins: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    lacking: set[str] = field(default_factory=set[str])
    notes: list[str] = field(default_factory=list[str])
    extra: list[Finding] = field(default_factory=list[Finding])

    def read(self, source: str, columns: Columns | None, progress: Progress | None) -> None:
        """Read one source; without `columns` only for its unreadable rows."""
        ledger = self.ledgers[source] = Ledger(self.route.sources[source], self.names)
        unreadable = Faults()
        rows = self.route.rows(source, unreadable, self.notes)
        try:
            if columns is None:
                for _ in rows:
                    pass
            else:
                tally = Tally()
                judged = self.route.task.judge(rows, columns, tally)
                for number, item in enumerate(judged, 1):
                    self._enter(source, ledger, item)
                    if progress is not None and number % PROGRESS_ROWS == 0:
                        progress(source, number)
                self.extra += _accepted(source, tally)
        except DataError as error:
            where = self.route.sources[source]
            what, _, remedy = str(error).removeprefix(f"{where}: ").rpartition("; ")
            unreadable.add(where, what or remedy, remedy if what else "")
        self._unreadable(source, unreadable)

    def _enter(self, source: str, ledger: Ledger, item: Example | Refusal) -> None:
        if isinstance(item, Refusal):
            self.refused[source] += 1
            for problem in item.problems:
                self.faults.add(item.origin, problem.what, problem.remedy)
                self._count(self.problems, problem.kind, item.origin)
            return
        normal, pair = ledger.add(item)
        if self.route.task.number and item.gold is not None:
            self.ranges.setdefault(source, Range()).add(self.route.task.number(item.gold))
        if not self.route.task.every and item.gold is not None:
            found = list(self.route.task.classes(item.gold))
            self.classes.setdefault(source, Counter()).update(found)
            self.bare[source] += not found
        self.sample.offer(item.text, item.pair or answer_of(item, written=self.route.task.open))
        texts = texts_of(item, written=self.route.task.open)
        seen = Seen(source, item, texts, normal, pair)
        for finder in self.finders:
            finder.see(seen)

    def label_counts(self) -> dict[str, dict[str, int]]:
        """Give for each source how often each label stands there."""
        if self.route.task.every:
            return {source: ledger.label_counts() for source, ledger in self.ledgers.items()}
        return {source: dict(self.classes.get(source, {})) for source in self.ledgers}

    def _count(self, counter: Counter[str], kind: str, origin: str) -> None:
        counter[kind] += 1
        shown = self.origins.setdefault(kind, [])
        if len(shown) < ROWS:
            shown.append(origin)

    def _unreadable(self, source: str, faults: Faults) -> None:
        self.faults.count += faults.count
        self.faults.kept += faults.kept
        if faults.count:
            self.refused[source] += faults.count
            self.extra.append(
                Finding(
                    "unreadable",
                    "error",
                    faults.count,
                    f"{counted(faults.count, 'line')} of {source} cannot be read; "
                    f"{_cause(faults.kept[0])}",
                    faults.kept[0].remedy,
                    tuple(fault.where for fault in faults.kept[:EXAMPLES]),
                    tuple(fault.where for fault in faults.kept[:ROWS]),
                )
            )


def _accepted(source: str, tally: Tally) -> Iterator[Finding]:
    """Give what was met in a source and accepted."""
    for what, count in tally.items():
        severity = "warning" if what in tally.grave else "note"
        rows = tuple(tally.origins.get(what, ()))
        told = f"{source}: {said(count, *what)}"
        yield Finding(tally.codes[what], severity, count, told, "", rows[:EXAMPLES], rows)


def _cause(fault: Fault) -> str:
    return f"{fault.where}: {masked(fault.what)}"


def _without_secrets(finding: Finding) -> Finding:
    """Give a finding about names of labels without the personal data in them."""
    if finding.rows or not finding.examples:
        return finding
    return replace(finding, examples=tuple(map(masked, finding.examples)))


def _hidden(fault: Fault) -> str:
    """Give a fault in words, without the personal data of the row that it quotes."""
    return str(Fault(fault.where, masked(fault.what), fault.remedy))


def _sample(route: Route, source: str) -> list[Row]:
    """Give the first rows of a source; none where it cannot be read, which is told later."""
    try:
        return sample_of(route, source, Faults())
    except DataError:
        return []


def _columns(route: Route, reading: _Reading) -> Columns | None:
    """Give the columns if they can be told; record the sources that lack one."""
    samples = {source: _sample(route, source) for source in route.sources}
    columns = route.settings.columns
    if columns is None and samples["train"]:
        try:
            guessed = route.task.guess(samples["train"], {})
        except DataError as error:
            reading.extra.append(Finding("columns", "error", 1, str(error)))
        else:
            columns = guessed.columns
            reading.notes += guessed.why
    columns = _settled(route, columns, samples["train"], reading)
    for source, sample in samples.items():
        faults = Faults()
        if columns is not None and not require(sample, columns, faults):
            reading.lacking.add(source)
            reading.faults.kept += faults.kept
            reading.faults.count += faults.count
            for fault in faults.kept:
                reading.extra.append(
                    Finding("columns", "error", 1, _cause(fault), fault.remedy, (fault.where,))
                )
    return columns


def _settled(
    route: Route, columns: Columns | None, sample: list[Row], reading: _Reading
) -> Columns | None:
    """Give the columns with nothing left open; None where the sample can be read in two ways."""
    if columns is None:
        return None
    try:
        return route.task.settle(sample, columns, reading.notes)
    except DataError as error:
        reading.extra.append(Finding("columns", "error", 1, str(error)))
        return None


def _gathered(reading: _Reading, settings: DataSettings) -> Iterator[Finding]:
    """Give the findings of all sorts."""
    counts, task = reading.label_counts(), reading.route.task
    yield from reading.extra
    for kind, count in reading.problems.items():
        remedy = "training refuses them; mend or remove them"
        what = said(count, *task.kinds.get(kind, ("problem", f"are of kind {kind}")))
        rows = tuple(reading.origins[kind])
        code = kind.replace("_", "-")
        yield Finding(code, "error", count, what, remedy, rows[:EXAMPLES], rows)
    ledgers = reading.ledgers
    unknown = any(finding.code == "columns" for finding in reading.extra)
    for finding in class_findings(counts, ledgers, task):
        if not (unknown and finding.code == "no-rows"):
            yield finding
    yield from number_findings(reading.ranges)
    yield from leaks(ledgers, settings.overlap)
    if not task.open:
        yield from conflicts(ledgers, classes=task.every)
    for part, ledger in ledgers.items():
        yield from duplicates(part, ledger)
    yield from _unlabelled(reading)
    for finder in reading.finders:
        yield from finder.found(ledgers)
    for note in dict.fromkeys([*reading.notes, *unused_parts(reading.route)]):
        yield Finding("reading", "note", 1, note)


def _unlabelled(reading: _Reading) -> Iterator[Finding]:
    """Count the rows that hold none of what is looked for."""
    task = reading.route.task
    for source, number in (+reading.bare).items() if task.least else ():
        rows = len(reading.ledgers[source])
        what = f"{share_of(number, rows)} rows of {source} hold no {task.counts}"
        yield Finding("no-labels", "note", number, what, f"they teach where no {task.counts} is")


def _lengths(
    reading: _Reading, tokenizer: Tokenizer | None, max_tokens: int
) -> tuple[list[Lengths], list[Finding]]:
    """Give how long the rows are, and what follows from it."""
    characters = np.concatenate([ledger.characters for ledger in reading.ledgers.values()])
    if not len(characters):
        return [], []
    lengths = [spread("characters", characters)]
    if tokenizer is None:
        return lengths, []
    counted = token_counts(reading.sample, tokenizer)
    found = length_findings(
        counted, reading.sample.seen, max_tokens, windowed=reading.route.task.windowed
    )
    return [*lengths, spread("tokens", counted)], list(found)
