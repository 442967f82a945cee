"""Fields: what a row's columns say to the task, or why they say nothing."""

from __future__ import annotations

from typing import NamedTuple

from tenon.core.errors import nearest
from tenon.data.example import Row
from tenon.data.settings import Columns
from tenon.data.strict_json import kind_of
from tenon.data.tables import excerpt


class Problem(NamedTuple):
    """One thing wrong with one field.

    Args:
        kind: a short name, the same for all problems of this sort: "empty_text".
        what: what is there.
        remedy: what to do.
    """

    kind: str
    what: str
    remedy: str


class Refusal(NamedTuple):
    """A row that is no example.

    Args:
        origin: `file:line`.
        problems: all that is wrong with it.
    """

    origin: str
    problems: list[Problem]


def sound(text: str) -> bool:
    """Tell whether `text` is free of lone surrogates, which no UTF-8 can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def text_problems(row: Row, columns: Columns, field: str) -> list[Problem]:
    """Give what is wrong with the text that a row has for `field` of the columns."""
    column: str = getattr(columns, field)
    if column not in row.values:
        return [missing_column(row, column, field, columns)]
    value = row.values[column]
    if value is None:
        return [Problem(f"null_{field}", f"{column!r} is null", "give a text or remove the row")]
    if not isinstance(value, str):
        what = f"{column!r} is {kind_of(value)}, {excerpt(str(value))}, not text"
        return [Problem(f"{field}_not_text", what, "quote it, or choose another column")]
    if not value or value.isspace():
        what = f"{column!r} is {'empty' if not value else 'blank'}"
        return [Problem(f"empty_{field}", what, "give a text or remove the row")]
    if "\0" in value:
        return [Problem(f"unsound_{field}", f"{column!r} holds a NUL character", "remove it")]
    if not sound(value):
        what = f"{column!r} holds half of a surrogate pair: {ascii(value)[:60]}"
        return [Problem(f"unsound_{field}", what, "the text was cut within a character; mend it")]
    return []


def missing_column(row: Row, column: str, field: str, columns: Columns | None = None) -> Problem:
    """Say that a row lacks `column`, and which of its columns has the nearest name.

    Args:
        row: the row.
        column: what it lacks.
        field: what the column was to hold.
        columns: meaning of the columns; one that holds another field is not offered.
    """
    known = ", ".join(map(str, row.values)) or "no columns"
    taken = columns.named().values() if columns else ()
    near = nearest(column, [name for name in row.values if name not in taken])
    mend = (
        f'set data.columns.{field} = "{near[0]}" or mend the row'
        if near
        else (f"set data.columns.{field} to one of these or mend the row")
    )
    return Problem(f"no_{field}_column", f"no column {column!r}; this row has {known}", mend)


def canonical(label: object) -> str | None:
    """Give a label as a string: 1 as "1", True as "true", None as None."""
    if label is None or type(label) is str:
        return label
    if isinstance(label, bool):
        return "true" if label else "false"
    return str(label)
