"""Reading: rows of one source, read by the columns and labels of an adapter trained on others."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from tenon.core.errors import DataError, Faults, FileError, nearest
from tenon.data.adapted import adapt_classes
from tenon.data.example import Example, Row
from tenon.data.findings import counted, said
from tenon.data.places import in_order
from tenon.data.settings import Columns
from tenon.data.sources import read
from tenon.data.task import TASKS, Tally, Task, to_examples

SAMPLE_ROWS = 1_000
SHOWN_LABELS = 12
Trained = Mapping[str, str | tuple[str, ...]]


@dataclass(frozen=True)
class Reading:
    """Rows that can be read, all of them.

    Args:
        source: `path[#member]`.
        task: what is answered.
        columns: which column of this source holds what.
        notes: what was guessed and accepted.
        rows: how many there are, those included that cannot be used.
    """

    source: str
    task: str
    columns: Columns
    notes: tuple[str, ...]
    rows: int

    def examples(self) -> Iterator[Example]:
        """Read the examples, in the order of the file.

        Raises:
            DataError: the file has changed since it was opened, and holds faults now.
        """
        faults = Faults()
        return sound(
            to_examples(read(self.source, faults), self.columns, faults, self.task), faults
        )


def open_reading(
    source: str,
    trained: Trained,
    labels: Sequence[str] | None = None,
    *,
    task: str = "text-classification",
    lenient: bool = False,
) -> Reading:
    """Read a source once, and say all that is wrong with it.

    Unlike training rows, these may be few, and lack some of the labels.

    Args:
        source: `path[#member]`.
        trained: field of an example to its column in the training rows; empty if not known.
        labels: the adapter's labels, where the rows' own are wanted.
        task: what it was trained for.
        lenient: whether rows of a sound file that cannot be used are counted and left to the
            caller; at least one must be of use.

    Raises:
        FileError: the source is not there.
        DataError: it holds no rows, not the adapter's columns, a row that cannot be used, or a
            label that the adapter does not have.
    """
    if not source.strip():
        raise FileError(f"{source!r}: is an empty path; name a file of rows")
    faults, notes, used = Faults(), list[str](), 0
    refused = Faults() if lenient else faults
    sample = list(islice(read(source, Faults()), SAMPLE_ROWS))
    columns = _columns(sample, trained, labels, notes, task) if sample else Columns()
    found, tally = Labels(labels, TASKS.get(task)), Tally()
    rows = read(source, faults, notes=notes)
    for example in to_examples(rows, columns, refused, task, tally) if sample else ():
        found.count(example)
        used += 1
    if not sample:
        deque(rows, maxlen=0)
    notes += [said(count, *what) for what, count in tally.items()]
    found.judge(faults)
    faults.kept = in_order(faults.kept)
    faults.raise_if_any(DataError)
    if not sample:
        raise DataError(f"{source}: holds no rows; nothing can be answered")
    if not used:
        refused.raise_if_any(DataError)
    return Reading(source, task, columns, tuple(notes), used + refused.count)


def sound(examples: Iterable[Example], faults: Faults) -> Iterator[Example]:
    """Yield examples up to the first fault; read on to the end for the others.

    Raises:
        DataError: at the end, with all faults.
    """
    for example in examples:
        if not faults.count:
            yield example
    faults.raise_if_any(DataError)


class Labels:
    """Count the labels of rows that an adapter does not have.

    Args:
        known: the adapter's; None where the rows' labels are not wanted.
        task: what it was trained for.
    """

    def __init__(self, known: Sequence[str] | None, task: Task) -> None:
        self._known = known
        self._task = task
        self._names = set(known or ())
        self._strange: dict[str, tuple[str, int]] = {}

    def count(self, example: Example) -> None:
        """Take note of one row."""
        if self._known is None or example.gold is None:
            return
        for label in self._task.classes(example.gold):
            if label not in self._names:
                origin, rows = self._strange.get(label, (example.origin, 0))
                self._strange[label] = (origin, rows + 1)

    def judge(self, faults: Faults) -> None:
        """Record a fault for each label that the adapter does not have."""
        known = self._known or ()
        more = ", …" if len(known) > SHOWN_LABELS else ""
        listed = f"it has {', '.join(known[:SHOWN_LABELS])}{more}"
        for label, (origin, rows) in self._strange.items():
            near = nearest(label, known)
            times = f" ({counted(rows, 'row')})" if rows > 1 else ""
            remedy = f"did you mean {near[0]}?" if near else listed
            faults.add(origin, f"label {label!r}{times} is none of the adapter's", remedy)


def _columns(
    sample: Sequence[Row],
    trained: Trained,
    labels: Sequence[str] | None,
    notes: list[str],
    task: str,
) -> Columns:
    adapt, known = TASKS.get(task).adapt, Columns.model_validate(trained)
    if adapt is None:
        return adapt_classes(sample, known.named(), labels, notes)
    return adapt(sample, known, notes, labelled=labels is not None)
