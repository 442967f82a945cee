"""Multi-label classification: texts, or pairs of texts, each with any number of some labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import cast

from tenon.core.errors import DataError
from tenon.data import classification
from tenon.data.beside import adapt_beside, guess_beside, names_of, require_named
from tenon.data.columns import known_names
from tenon.data.example import Example, Row, content_id, group_id
from tenon.data.fields import Problem, Refusal, canonical, missing_column, text_problems
from tenon.data.gold import Gold
from tenon.data.label_sets import (
    flag_of,
    holds_sets,
    is_list,
    labels_in,
    parted,
    separators_of,
    signs_in,
)
from tenon.data.names import LABEL_NAMES, TEXT_NAMES
from tenon.data.settings import Columns
from tenon.data.tagging import listed
from tenon.data.task import TASKS, Guess, Tally, Task

FEWEST_FLAGS = 2
FLAG_SHARE = 0.9
"""Of a column's cells; the others are told when it is read, which a column left out is not."""
KINDS = {
    **classification.KINDS,
    "labels_not_list": ("row", "hold something that looks like a list and is none"),
    "missing_labels": ("row", "have null for labels"),
    "empty_label": ("label", "are empty"),
    "label_not_class": ("label", "are neither names nor whole numbers"),
    "no_flags_column": ("row", "lack the column of a label"),
    "flag_not_0_or_1": ("cell", "are neither 0 nor 1"),
}


def judge(rows: Iterable[Row], columns: Columns, tally: Tally) -> Iterator[Example | Refusal]:
    """Give for each row its example, or all that is wrong with it.

    As with single labels, the first label decides whether labels are texts or numbers.

    Args:
        rows: rows of one source.
        columns: which column holds what; settled, so that separated labels have a separator.
        tally: takes in labels that stand twice in a row, and cells without a label.
    """
    first: tuple[type, str] | None = None
    labelled = bool(columns.label or columns.flags)
    for row in rows:
        problems = text_problems(row, columns, "text")
        problems += text_problems(row, columns, "pair") if columns.pair else []
        found: list[object] = []
        if labelled:
            found, wrong = labels_in(row, columns)
            problems += wrong
        if first is None and found and not problems:
            first = type(found[0]), row.origin
        if first is not None and not problems:
            problems = _mixed(found, *first)
        if problems:
            yield Refusal(row.origin, problems)
            continue
        text = cast(str, row.values[columns.text])
        pair = cast(str, row.values[columns.pair]) if columns.pair else None
        gold = _counted(row, columns, found, tally) if labelled else None
        group = group_id(row, columns.group)
        yield Example(content_id(text, pair), row.origin, text, pair, gold, group=group)


def _mixed(found: Sequence[object], kind: type, origin: str) -> list[Problem]:
    other = next((item for item in found if type(item) is not kind), None)
    if other is None:
        return []
    what = f"label {other!r} is of another type than the first label, in {origin}"
    return [Problem("mixed_labels", what, "write all labels as one type")]


def _counted(row: Row, columns: Columns, found: Sequence[object], tally: Tally) -> tuple[str, ...]:
    """Give the labels in their one order, and count what was met on the way."""
    names = sorted({str(canonical(label)) for label in found})
    if len(names) < len(found):
        again = len(found) - len(names)
        twice = "stand twice in a row and count once"
        tally.enter("label", twice, again, row.origin, "repeated-labels")
    blank = not found and not columns.flags and not is_list(row.values[columns.label])
    none = "have an empty cell of labels, which means none"
    tally.enter("row", none, int(blank), row.origin, "empty-labels")
    return tuple(names)


def recognise(rows: Sequence[Row]) -> str:
    """Say which columns hold a text and its labels, or flags; "" where none do."""
    label, way = _sets(rows)
    if label:
        return f"{way} ({label!r})"
    flags = flags_of(rows)
    if flags and not known_names(names_of(rows), LABEL_NAMES) and _text_of(rows, flags):
        return f"columns of 0 and 1, one for each of {len(flags)} labels ({_shown(flags)})"
    return ""


def _sets(rows: Sequence[Row]) -> tuple[str, str]:
    """Give the column with the name of labels whose values are sets, and in what way they are."""
    for name in known_names(names_of(rows), (*LABEL_NAMES, "tags", "categories", "topics")):
        values = [row.values.get(name) for row in rows]
        way = holds_sets(values)
        if way and _text_of(rows, (name,)) and not _parallel(rows, name):
            return name, way
    return "", ""


def _parallel(rows: Sequence[Row], name: str) -> bool:
    """Whether the lists of a column are as long as those of another: tags of tokens, no labels."""
    lengths = [_length(row.values.get(name)) for row in rows]
    return max(lengths) > 1 and any(
        [_length(row.values.get(other)) for row in rows] == lengths
        for other in names_of(rows)
        if other != name
    )


def _length(value: object) -> int:
    found = listed(value) if is_list(value) else ""
    return len(found) if isinstance(found, list) else -1


def _text_of(rows: Sequence[Row], used: Sequence[str]) -> str:
    """Give the column that could be the text beside those that are used; "" for none."""
    free = [name for name in names_of(rows) if name not in used]
    texts = [name for name in free if all(isinstance(row.values.get(name), str) for row in rows)]
    known = known_names(texts, TEXT_NAMES)
    if known:
        return known[0]
    spoken = [name for name in texts if any(" " in str(row.values[name]).strip() for row in rows)]
    return spoken[0] if spoken else ""


def flags_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """Give the columns that hold 0 and 1, where there are at least two, and one holds 1."""
    names = [name for name in names_of(rows) if name.strip().casefold() not in ("id", "index", "")]
    flags = {name: [flag_of(row.values.get(name)) for row in rows] for name in names}
    found = {
        name: cells
        for name, cells in flags.items()
        if len(cells) - cells.count(None) >= FLAG_SHARE * len(cells)
    }
    several = len(found) >= FEWEST_FLAGS and any(map(any, found.values()))
    return tuple(found) if several else ()


def _shown(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:6])) + (", …" if len(names) > 6 else "")  # noqa: PLR2004


def guess(rows: Sequence[Row], known: Mapping[str, str]) -> Guess:
    """Guess which columns hold the text and its labels.

    Raises:
        DataError: there are no rows, no column holds labels or the text, or a named one is not
            there.
    """
    require_named(rows, known)
    gold, why = _gold(rows, known.get("label", ""))
    return Guess(*guess_beside(rows, known, gold, why))


def _gold(rows: Sequence[Row], label: str) -> tuple[Columns, list[str]]:
    """Give the column of labels, or the columns of flags, and why."""
    if label:
        return Columns(label=label), []
    label, way = _sets(rows)
    if label:
        return Columns(label=label), [f"labels are column {label!r}: it holds {way}"]
    by_name = known_names(names_of(rows), LABEL_NAMES)
    flags = flags_of(rows)
    if by_name and by_name[0] not in flags:
        return Columns(label=by_name[0]), [f"labels are column {by_name[0]!r}, by its name"]
    if flags:
        why = f"labels are the columns {_shown(flags)}: each holds 0 and 1"
        return Columns(flags=flags), [why]
    _, what, _ = missing_column(rows[0], "labels", "label")
    raise DataError(
        f"{rows[0].origin}: {what}; no column holds lists of labels, separated labels, or 0 and 1: "
        "name it with data.columns.label, or several of 0 and 1 with data.columns.flags"
    )


def settle(rows: Sequence[Row], columns: Columns, notes: list[str]) -> Columns:
    """Find out by what labels are separated, where that is not given.

    Args:
        rows: a sample of train.

    Raises:
        DataError: labels can be separated in two ways.
    """
    if not columns.label or columns.separator:
        return columns
    values = [row.values.get(columns.label) for row in rows]
    texts = [value for value in values if isinstance(value, str) and not is_list(value)]
    told = separators_of(texts) or signs_in(texts)
    if len(told) > 1:
        one = next(value for value in texts if told[0] in value)
        raise DataError(
            f"{rows[0].origin.rpartition(':')[0]}: labels can be separated by "
            f"{' or by '.join(map(repr, told))}, such as {one!r}; set data.columns.separator"
        )
    if not told:
        if texts:
            notes.append("no row of the sample has several labels")
        return columns
    several = sum(len(parted(text, told[0])) > 1 for text in texts)
    notes.append(
        f"labels are separated by {told[0]!r}: {several:,} of {len(rows):,} rows have several"
    )
    return columns.model_copy(update={"separator": told[0]})


def adapt(rows: Sequence[Row], trained: Columns, notes: list[str], *, labelled: bool) -> Columns:
    """Give the columns of rows that an adapter shall answer: those it was trained on, or a guess.

    Args:
        labelled: whether the rows' own labels are wanted.

    Raises:
        DataError: no column holds the text; or, if labelled, the labels.
    """
    if not labelled:
        return adapt_beside(rows, trained, Columns(), notes)
    names = names_of(rows)
    if trained.flags and all(name in names for name in trained.flags):
        gold = Columns(flags=trained.flags)
    elif trained.label in names:
        gold = Columns(label=trained.label, separator=trained.separator)
    else:
        gold, why = _gold(rows, "")
        notes += why
    return settle(rows, adapt_beside(rows, trained, gold, notes), notes)


def classes(gold: Gold) -> Iterable[str]:
    """Give the labels of a row."""
    return cast(tuple[str, ...], gold)


TASKS.add(
    "multi-label-classification",
    Task(
        "multi-label-classification",
        columns=("text", "pair", "label", "flags", "separator", "group"),
        inputs=(("text", "pair"), ("text",)),
        gold=("label", "flags"),
        judge=judge,
        guess=guess,
        settle=settle,
        adapt=adapt,
        classes=classes,
        least=1,
        every=False,
        counts="label",
        kinds=KINDS,
        recognise=recognise,
    ),
)
