"""Text regression: texts, or pairs of texts, each with a number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import cast

from tenon.core.errors import DataError
from tenon.data import classification
from tenon.data.beside import adapt_beside, guess_beside, names_of, require_named
from tenon.data.columns import known_names
from tenon.data.example import Example, Row, content_id, group_id
from tenon.data.fields import Refusal, missing_column, text_problems
from tenon.data.gold import Gold
from tenon.data.names import LABEL_NAMES
from tenon.data.numbers import fractional, number_of, number_problem
from tenon.data.settings import Columns
from tenon.data.task import TASKS, Guess, Tally, Task

NUMBER_NAMES = (
    "score", "similarity", "similarity_score", "relatedness", "relatedness_score", "value",
    "number", "分数", "相似度",
)  # fmt: skip
KINDS = {
    **{kind: said for kind, said in classification.KINDS.items() if "label" not in kind},
    "no_label_column": ("row", "lack the column of the number"),
    "missing_number": ("row", "have no number"),
    "not_a_number": ("row", "have something else than a number"),
    "not_finite": ("row", "have a number that is not finite"),
    "number_too_large": ("number", "are too large"),
    "comma_in_number": ("number", "are written with a comma"),
}


def judge(rows: Iterable[Row], columns: Columns, tally: Tally) -> Iterator[Example | Refusal]:
    """Give for each row its example, or all that is wrong with it.

    Args:
        rows: rows of one source.
        columns: which column holds what.
        tally: stays as it is.
    """
    del tally
    column = columns.label
    for row in rows:
        problems = text_problems(row, columns, "text")
        problems += text_problems(row, columns, "pair") if columns.pair else []
        if column and column not in row.values:
            problems.append(missing_column(row, column, "label", columns))
        elif column and (wrong := number_problem(column, row.values[column])):
            problems.append(wrong)
        if problems:
            yield Refusal(row.origin, problems)
            continue
        text = cast(str, row.values[columns.text])
        pair = cast(str, row.values[columns.pair]) if columns.pair else None
        gold = number_of(row.values[column]) if column else None
        group = group_id(row, columns.group)
        yield Example(content_id(text, pair), row.origin, text, pair, gold, group=group)


def recognise(rows: Sequence[Row]) -> str:
    """Say which column holds numbers that are no classes; "" where none does.

    Whole numbers alone may be classes, and are taken for such.
    """
    named = _numbered(rows)
    if not named or not fractional(row.values.get(named) for row in rows):
        return ""
    texts = [n for n in names_of(rows) if n != named and isinstance(rows[0].values.get(n), str)]
    return f"a text and a number, not all whole ({named!r})" if texts else ""


def _numbered(rows: Sequence[Row]) -> str:
    """Give the column named after labels, else after numbers, where all its values are numbers."""
    names = names_of(rows)
    column = next(iter([*known_names(names, LABEL_NAMES), *known_names(names, NUMBER_NAMES)]), "")
    values = [row.values.get(column) for row in rows]
    known = [value for value in values if value is not None and value != ""]
    numbers = bool(known) and all(number_of(value) is not None for value in known)
    return column if numbers and 2 * len(known) > len(rows) else ""


def guess(rows: Sequence[Row], known: Mapping[str, str]) -> Guess:
    """Guess which columns hold the text and the number.

    Raises:
        DataError: there are no rows, no column or several can be the number, none can be the text,
            or a named one is not there.
    """
    require_named(rows, known)
    label, why = (known["label"], []) if "label" in known else _number_column(rows)
    return Guess(*guess_beside(rows, known, Columns(label=label), why))


def _number_column(rows: Sequence[Row]) -> tuple[str, list[str]]:
    """Give the column of the number, and why."""
    names = names_of(rows)
    by_name = [*known_names(names, NUMBER_NAMES), *known_names(names, LABEL_NAMES)]
    if by_name:
        return by_name[0], [f"the number is column {by_name[0]!r}, by its name"]
    numeric = [
        name
        for name in names
        if all(number_of(row.values.get(name)) is not None for row in rows)
        and name.strip().casefold() not in ("id", "index", "")
    ]
    if len(numeric) == 1:
        return numeric[0], [f"the number is column {numeric[0]!r}: no other holds numbers alone"]
    _, what, _ = missing_column(rows[0], "score", "label")
    several = ", ".join(map(repr, numeric))
    why = f"{several} hold numbers" if numeric else "no column holds numbers alone"
    raise DataError(f"{rows[0].origin}: {what}; {why}: name it with data.columns.label")


def adapt(rows: Sequence[Row], trained: Columns, notes: list[str], *, labelled: bool) -> Columns:
    """Give the columns of rows that an adapter shall answer: those it was trained on, or a guess.

    Args:
        labelled: whether the rows' own numbers are wanted.

    Raises:
        DataError: no column holds the text; or, if labelled, the number.
    """
    label = trained.label if trained.label in names_of(rows) else ""
    if labelled and not label:
        label, why = _number_column(rows)
        notes += why
    gold = Columns(label=label if labelled else "")
    return adapt_beside(rows, trained, gold, notes)


def number(gold: Gold) -> float:
    """Give the number of a row."""
    return cast(float, gold)


TASKS.add(
    "text-regression",
    Task(
        "text-regression",
        columns=("text", "pair", "label", "group"),
        inputs=(("text", "pair"), ("text",)),
        gold=("label",),
        judge=judge,
        guess=guess,
        adapt=adapt,
        classes=lambda _: (),
        number=number,
        least=0,
        every=False,
        kinds=KINDS,
        recognise=recognise,
    ),
)
