"""Task: what each task reads from a row, and what of it is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tenon.core.errors import Faults
from tenon.core.registry import Registry
from tenon.data.example import Example, Row
from tenon.data.fields import Refusal
from tenon.data.gold import Gold
from tenon.data.settings import Columns


@dataclass(frozen=True, slots=True)
class Guess:
    """Columns that were guessed, and why.

    Args:
        columns: the meaning of the columns.
        why: one sentence per decision, for the user.
    """

    columns: Columns
    why: list[str]


Tally = Counter[tuple[str, str]]
"""What was met and accepted: (noun, what several of them do) to how often."""
Judge = Callable[[Iterable[Row], Columns, Tally], Iterator[Example | Refusal]]
Settler = Callable[[Sequence[Row], Columns, list[str]], Columns]
Guesser = Callable[[Sequence[Row], Mapping[str, str]], Guess]


@dataclass(frozen=True)
class Task:
    """How rows become examples of a task.

    Args:
        name: as the hub names it.
        columns: the fields of `Columns` that it reads.
        inputs: sets of those fields, each enough to ask; the first that a row has is taken.
        gold: the fields that hold the answer.
        judge: rows to examples, or all that is wrong with a row.
        settle: a sample of train's rows, columns and notes to columns with nothing left open.
        guess: a sample of rows, and the columns that are named already, to the columns.
        adapt: the columns of other rows, for an adapter that was trained on these; None takes
            those of a classifier. See `tenon.data.token_classification.adapt`.
        classes: the labels that a gold holds, one entry each time; they are counted, and dev and
            test may hold no other than train. Empty for an open answer.
        least: labels that train must have at least; 0 where there are no classes.
        every: whether a row has exactly one label, so that rows must be more than labels.
        kinds: kind of problem to the noun and verb with which a finding counts it.
    """

    name: str
    columns: tuple[str, ...]
    inputs: tuple[tuple[str, ...], ...]
    gold: tuple[str, ...]
    judge: Judge
    guess: Guesser
    classes: Callable[[Gold], Iterable[str]]
    settle: Settler = lambda rows, columns, notes: columns  # noqa: ARG005 - most leave none open
    adapt: Callable[..., Columns] | None = None
    least: int = 2
    every: bool = True
    kinds: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])


TASKS: Registry[Task] = Registry(
    "task",
    "tenon.tasks",
    ("tenon.data.classification", "tenon.data.token_classification"),
)


def to_examples(
    rows: Iterable[Row],
    columns: Columns,
    faults: Faults,
    task: str,
    tally: Tally | None = None,
) -> Iterator[Example]:
    """Turn rows into examples.

    Args:
        rows: rows of one source.
        columns: which column holds what; without a column of the answer, gold is None.
        faults: every row that is no example, with its origin and all that is wrong with it.
        task: as the hub names it.
        tally: takes in what was met and accepted.
    """
    for item in TASKS.get(task).judge(rows, columns, Counter() if tally is None else tally):
        if isinstance(item, Refusal):
            for problem in item.problems:
                faults.add(item.origin, problem.what, problem.remedy)
        else:
            yield item
