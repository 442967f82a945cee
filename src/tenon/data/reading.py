"""Reading: rows of one source, read by the columns and labels of an adapter trained on others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from tenon.core.errors import DataError, Faults, FileError, nearest
from tenon.data.columns import guess_text, to_examples
from tenon.data.example import Example, Row
from tenon.data.fields import canonical
from tenon.data.findings import counted
from tenon.data.names import LABEL_NAMES
from tenon.data.places import in_order
from tenon.data.settings import Columns
from tenon.data.sources import read

SAMPLE_ROWS = 1_000
SHOWN_LABELS = 12
SORTS = {True: "pairs of texts", False: "single texts"}


@dataclass(frozen=True)
class Reading:
    """Rows that can be read, all of them.

    Args:
        source: `path[#member]`.
        columns: which column of this source holds what.
        notes: what was guessed and accepted.
    """

    source: str
    columns: Columns
    notes: tuple[str, ...]

    def examples(self) -> Iterator[Example]:
        """Read the examples, in the order of the file.

        Raises:
            DataError: the file has changed since it was opened, and holds faults now.
        """
        faults = Faults()
        return sound(to_examples(read(self.source, faults), self.columns, faults), faults)


def open_reading(
    source: str, trained: Mapping[str, str], labels: Sequence[str] | None = None
) -> Reading:
    """Read a source once, and say all that is wrong with it.

    Unlike training rows, these may be few, and lack some of the labels.

    Args:
        source: `path[#member]`.
        trained: field of an example to its column in the training rows; empty if not known.
        labels: the adapter's labels, where the rows' own are wanted.

    Raises:
        FileError: the source is not there.
        DataError: it holds no rows, not the adapter's columns, a row that cannot be used, or a
            label that the adapter does not have.
    """
    if not source.strip():
        raise FileError(f"{source!r}: is an empty path; name a file of rows")
    faults, notes = Faults(), list[str]()
    sample = list(islice(read(source, Faults()), SAMPLE_ROWS))
    columns = Columns(text="")
    if sample:
        columns = _columns(sample, trained, labels, notes)
    found = Labels(labels)
    for example in to_examples(read(source, faults, notes=notes), columns, faults):
        found.count(example)
    found.judge(faults)
    faults.kept = in_order(faults.kept)
    faults.raise_if_any(DataError)
    if not sample:
        raise DataError(f"{source}: holds no rows; nothing can be answered")
    return Reading(source, columns, tuple(notes))


def sound(examples: Iterable[Example], faults: Faults) -> Iterator[Example]:
    """Yield examples up to the first fault; read on to the end for the others.

    Raises:
        DataError: at the end, with all faults.
    """
    for example in examples:
        if not faults.count:
            yield example
    faults.raise_if_any(DataError)


def other_sort(
    where: str, has: str, trained: Mapping[str, str], remedy: str = "rename the columns"
) -> DataError:
    """Say that rows are not of the sort that the adapter was trained on, and what is wanted.

    Args:
        where: an origin, or the name of the source.
        has: what is there.
        trained: field of an example to its column in the training rows.
        remedy: what to do.
    """
    wanted = [column for field in ("text", "pair") if (column := trained.get(field))]
    noun = "columns" if len(wanted) > 1 else "column"
    return DataError(
        f"{where}: {has}; the adapter reads {SORTS[len(wanted) > 1]} and was trained on "
        f"the {noun} {', '.join(wanted)}; {remedy}"
    )


class Labels:
    """Count the labels of rows that an adapter does not have.

    Args:
        known: the adapter's; None where the rows' labels are not wanted.
    """

    def __init__(self, known: Sequence[str] | None) -> None:
        self._known = known
        self._names = set(known or ())
        self._strange: dict[str, tuple[str, int]] = {}

    def count(self, example: Example) -> None:
        """Take note of one row."""
        if self._known is None or example.label in self._names:
            return
        label = example.label or ""
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
    trained: Mapping[str, str],
    labels: Sequence[str] | None,
    notes: list[str],
) -> Columns:
    """Give the columns of the training rows where these rows have them, else a guess."""
    names = list(dict.fromkeys(name for row in sample for name in row.values))
    wanted = [column for field in ("text", "pair") if (column := trained.get(field))]
    same = bool(wanted) and all(column in names for column in wanted)
    label = trained.get("label", "")
    if label not in names:
        free = [name for name in names if not same or name not in wanted]
        label = "" if labels is None else _label(sample, free, label or "label", labels, notes)
    kept = "" if labels is None else label
    if same:
        return Columns(text=trained["text"], pair=trained.get("pair", ""), label=kept)
    text, pair = _texts(sample, trained, label, notes)
    return Columns(text=text, pair=pair, label=kept)


def _texts(
    sample: Sequence[Row], trained: Mapping[str, str], label: str, notes: list[str]
) -> tuple[str, str]:
    """Guess the columns of the text, or of the pair, among those that do not hold the label."""
    rest = [
        Row({name: value for name, value in row.values.items() if name != label}, row.origin)
        for row in sample
    ]
    first = sample[0]
    has = f"has {', '.join(first.values)}"
    try:
        guess = guess_text(rest)
    except DataError as error:
        raise other_sort(first.origin, has, trained) if trained.get("text") else error from error
    columns = guess.columns
    if trained.get("text") and bool(columns.pair) != bool(trained.get("pair")):
        raise other_sort(first.origin, has, trained)
    notes += guess.why
    return columns.text, columns.pair


def _label(
    sample: Sequence[Row],
    names: Sequence[str],
    trained: str,
    labels: Sequence[str],
    notes: list[str],
) -> str:
    """Give the column whose values are the adapter's labels, else one that is called after labels.

    Raises:
        DataError: there is none.
    """
    holding = [name for name in names if _holds_labels(sample, name, set(labels))]
    named = [name for name in names if name.strip().casefold() in LABEL_NAMES]
    if len(holding) == 1:
        notes.append(f"label is column {holding[0]!r}: it holds the adapter's labels")
        return holding[0]
    among = [name for name in named if name in holding] or named
    if not among:
        first = sample[0]
        raise DataError(
            f"{first.origin}: no column {trained!r}; this row has {', '.join(first.values)}; "
            f"name the column of the labels {trained!r}, as in training"
        )
    notes.append(f"label is column {among[0]!r}, by its name")
    return among[0]


def _holds_labels(sample: Sequence[Row], name: str, labels: set[str]) -> bool:
    """Whether at least half of a column's values are labels."""
    values = [value for row in sample if (value := row.values.get(name)) not in (None, "")]
    known = sum(
        isinstance(value, str | int | float) and canonical(value) in labels for value in values
    )
    return bool(values) and 2 * known >= len(values)
