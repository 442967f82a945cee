"""Adapted columns: which columns of other rows hold what a classifier was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tenon.core.errors import DataError
from tenon.data.classification import guess_text
from tenon.data.example import Row
from tenon.data.fields import canonical
from tenon.data.names import LABEL_NAMES
from tenon.data.settings import Columns

PAIRED = ("text", "pair", "question", "context")
SORTS = {True: "pairs of texts", False: "single texts"}


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
    wanted = [column for field in PAIRED if (column := trained.get(field))]
    noun = "columns" if len(wanted) > 1 else "column"
    return DataError(
        f"{where}: {has}; the adapter reads {SORTS[len(wanted) > 1]} and was trained on "
        f"the {noun} {', '.join(wanted)}; {remedy}"
    )


def adapt_classes(
    sample: Sequence[Row],
    trained: Mapping[str, str],
    labels: Sequence[str] | None,
    notes: list[str],
) -> Columns:
    """Give the columns of the training rows where these rows have them, else a guess.

    Args:
        sample: of the rows that an adapter shall answer.
        trained: field of an example to its column in the training rows.
        labels: the adapter's labels, where the rows' own are wanted.
        notes: what was guessed.

    Raises:
        DataError: no column can be the text, or, if labels are wanted, the label; or the rows are
            pairs and the adapter reads single texts, or the other way.
    """
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
