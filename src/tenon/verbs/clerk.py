"""Clerk: answers portions of rows with one adapter, a line of JSON for each row."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import torch

from tenon.core.errors import DataError, Faults
from tenon.core.progress import Progress
from tenon.data.example import Example, Row
from tenon.data.fields import Refusal
from tenon.data.settings import Columns
from tenon.data.task import TASKS, Tally
from tenon.evaluate.answerer import BATCH_TOKENS, Answerer
from tenon.evaluate.exam import EXAMS
from tenon.evaluate.together import stay
from tenon.model.writer import Writer
from tenon.text.tokens import Tokens, collect
from tenon.verbs.questions import Kept, Portion

CPU_TOKENS = 4096
"""Tokens computed at once on a CPU: a larger batch takes new memory from the system each time."""
FAILED, CUT, ROW = "failed", "cut", "row"
"""Keys of a line beside those of the task: why there is no answer, lost tokens, kept columns."""


class Engine(Protocol):
    """Answers portions; their lines do not depend on which engine it is."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    @property
    def device(self) -> str:
        """What computes, and in which number format."""
        ...

    def answer(self, portions: Iterable[Portion]) -> Iterator[tuple[int, str]]:
        """Yield number and lines of each portion, in the order in which they are done.

        Raises:
            DataError: the rows are not those that were found to be sound.
        """
        ...


@dataclass
class Pace:
    """Tells progress in rows, and how many come in a second.

    Args:
        told: gets it.
    """

    told: Progress | None
    begun: float = 0.0
    rows: int = 0
    left: int = 0

    def start(self, what: str, total: int | None, *, done: int = 0) -> None:
        """Begin the stage."""
        self.begun = time.monotonic()
        if self.told:
            self.told.start(what, total, done=done)

    def begin(self, rows: int) -> None:
        """Begin a portion; a row that is read in several windows is told once."""
        self.left += rows

    def advance(self, n: int, **fields: float) -> None:
        """Tell that rows are done, at most those of the portions that have begun."""
        n = min(n, self.left)
        self.left -= n
        self.rows += n
        if self.told and n:
            seconds = max(time.monotonic() - self.begun, 1e-3)
            self.told.advance(n, rows_per_second=self.rows / seconds, **fields)

    def end(self) -> None:
        """End a portion."""
        self.advance(self.left)


@dataclass(frozen=True)
class Clerk:
    """An adapter at work.

    Args:
        answerer: the adapter on its base.
        columns: which column of a row holds what.
        kept: columns that are carried along.
        lenient: whether a row that cannot be asked is told in its place.
    """

    answerer: Answerer
    columns: Columns
    kept: Kept
    lenient: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.answerer.model, Writer):
            stay(self.answerer.model)

    def answer(self, portion: Portion, progress: Progress | None = None) -> str:
        """Give the lines of a portion, one for each row, in their order.

        Raises:
            DataError: a row cannot be asked, and that is not to be told in its place.
        """
        asked = list(paired(portion.rows, self.columns, self.answerer.manifest.task))
        causes = {item.origin: _why(item) for _, item in asked if isinstance(item, Refusal)}
        if causes and not self.lenient:
            _refuse(asked)
        examples = [item for _, item in asked if isinstance(item, Example)]
        tokens = self._tokens(examples, causes)
        lost, entries = _cut(tokens), iter(())
        if len(tokens):
            size = batch_tokens(self.answerer)
            answers = self.answerer.answer(tokens, batch_tokens=size, progress=progress)
            causes |= answers.failed
            entries = EXAMS.get(self.answerer.manifest.task).entries(answers)
        lines: list[str] = []
        for row, item in asked:
            cause = causes.get(row.origin)
            entry = _failed(item, cause) if cause else next(entries)
            assert entry["origin"] == row.origin  # noqa: S101 - answers stand in the rows' order
            if lost.get(row.origin):
                entry[CUT] = lost[row.origin]
            if self.kept.names:
                entry[ROW] = self.kept.values(row)
            lines.append(_line(entry))
        return "".join(lines)

    def _tokens(self, examples: Sequence[Example], causes: dict[str, str]) -> Tokens:
        """Give the tokens of all examples that have any; add why there are none of the others."""
        renderer = self.answerer.renderer
        try:
            return collect(examples, renderer)
        except DataError:
            sound = list[Example]()
            for example in examples:
                try:
                    collect([example], renderer)
                except DataError as error:
                    causes[example.origin] = str(error).removeprefix(f"{example.origin}: ")
                else:
                    sound.append(example)
            return collect(sound, renderer)


class Local:
    """One clerk, in this process.

    Args:
        clerk: answers.
        threads: that torch computes with; rounding depends on it.
        pace: told of rows.
    """

    def __init__(self, clerk: Clerk, threads: int, pace: Pace) -> None:
        self.clerk, self.threads, self.pace = clerk, threads, pace
        self.before = threads

    def __enter__(self) -> Self:
        self.before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        torch.set_num_threads(self.before)

    @property
    def device(self) -> str:
        """What computes, and in which number format."""
        return device_of(self.clerk.answerer)

    def answer(self, portions: Iterable[Portion]) -> Iterator[tuple[int, str]]:
        """Yield number and lines of each portion, one after another."""
        for portion in portions:
            self.pace.begin(len(portion.rows))
            lines = self.clerk.answer(portion, self.pace)
            self.pace.end()
            yield portion.number, lines


def batch_tokens(answerer: Answerer) -> int:
    """Give how many tokens are computed at once; answers that are written gain by large batches."""
    small = answerer.model.trunk.device.type == "cpu" and not answerer.manifest.writes
    return CPU_TOKENS if small else BATCH_TOKENS


def device_of(answerer: Answerer) -> str:
    """Give what computes, and in which number format: two that differ here may round otherwise."""
    device = answerer.model.trunk.device
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else torch.backends.cpu.get_cpu_capability()
    )
    dtype = next(answerer.model.trunk.model.parameters()).dtype
    return f"{device.type} ({name}, {str(dtype).removeprefix('torch.')})"


def paired(
    rows: Iterable[Row], columns: Columns, task: str
) -> Iterator[tuple[Row, Example | Refusal]]:
    """Yield each row with its example, or with all that is wrong with it."""
    held = deque[Row]()

    def fed() -> Iterator[Row]:
        for row in rows:
            held.append(row)
            yield row

    for item in TASKS.get(task).judge(fed(), columns, Tally()):
        yield held.popleft(), item


def _why(refusal: Refusal) -> str:
    return "; ".join(problem.what for problem in refusal.problems)


def _refuse(asked: Iterable[tuple[Row, Example | Refusal]]) -> None:
    """Tell what is wrong with rows that were sound before."""
    faults = Faults()
    for _, item in asked:
        if isinstance(item, Refusal):
            for problem in item.problems:
                faults.add(item.origin, problem.what, problem.remedy)
    faults.raise_if_any(DataError)


def _failed(item: Example | Refusal, cause: str) -> dict[str, Any]:
    named = {"id": item.id} if isinstance(item, Example) else {}
    return {**named, "origin": item.origin, FAILED: cause}


def _cut(tokens: Tokens) -> dict[str, int]:
    """Give how many tokens rows lost, by origin; those of one row may stand in several windows."""
    lost: dict[str, int] = {}
    for origin, count in zip(tokens.column("origin"), tokens.table["cut"].to_pylist(), strict=True):
        if count:
            lost[origin] = lost.get(origin, 0) + count
    return lost


def _line(entry: dict[str, Any]) -> str:
    text = json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "replace").decode()  # halves of surrogate pairs in kept columns
