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


KEPT_ORIGINS = 1_000


class Tally(Counter[tuple[str, str]]):
    """What was met and accepted: (noun, what several of them do) to how often.

    The first origins of each are kept as well, the code of its finding, and which are worth a
    warning.
    """

    def __init__(self) -> None:
        super().__init__()
        self.origins: dict[tuple[str, str], list[str]] = {}
        self.codes: dict[tuple[str, str], str] = {}
        self.grave: set[tuple[str, str]] = set()

    def enter(
        self, noun: str, does: str, times: int, origin: str, code: str, *, grave: bool = False
    ) -> None:
        """Count something; nothing where it is there no times.

        Args:
            noun: what one of them is called.
            does: what several of them do; the verb first, and no other.
            times: how many there are.
            origin: of the row.
            code: short name of the finding.
            grave: whether it may spoil a result.
        """
        if not times:
            return
        self[noun, does] += times
        shown = self.origins.setdefault((noun, does), [])
        self.codes[noun, does] = code
        if len(shown) < KEPT_ORIGINS:
            shown.append(origin)
        if grave:
            self.grave.add((noun, does))


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
        number: the number that a gold is, where it is one; its range is told, and it must vary.
        classes: the labels that a gold holds, one entry each time; they are counted, and dev and
            test may hold no other than train. Empty for an open answer.
        least: labels that train must have at least; 0 where there are no classes.
        every: whether a row has exactly one label, so that rows must be more than labels.
        open: whether several answers to the same text may all be right.
        counts: what each of a label's numbers counts: rows, or the spans in them.
        windowed: whether a text longer than the base can read is read in windows, none of it cut.
        kinds: kind of problem to the noun and verb with which a finding counts it.
        recognise: a sample of rows to what they hold that only this task asks for, in a few
            words; "" where nothing tells. See `tenon.data.recognition`.
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
    number: Callable[[Gold], float] | None = None
    least: int = 2
    every: bool = True
    open: bool = False
    counts: str = "row"
    windowed: bool = False
    kinds: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    recognise: Callable[[Sequence[Row]], str] = lambda rows: ""  # noqa: ARG005 - many cannot tell


TASKS: Registry[Task] = Registry(
    "task",
    "tenon.tasks",
    (
        "tenon.data.classification",
        "tenon.data.multi_label_classification",
        "tenon.data.text_regression",
        "tenon.data.token_classification",
        "tenon.data.question_answering",
        "tenon.data.text_generation",
        "tenon.data.text_to_text",
    ),
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
    for item in TASKS.get(task).judge(rows, columns, Tally() if tally is None else tally):
        if isinstance(item, Refusal):
            for problem in item.problems:
                faults.add(item.origin, problem.what, problem.remedy)
        else:
            yield item
