"""Fields: what a row's columns say to the task, or why they say nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from tenon.core.errors import nearest
from tenon.data.example import Example, Row, content_id
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


def judge(rows: Iterable[Row], columns: Columns) -> Iterator[Example | Refusal]:
    """Give for each row its example, or all that is wrong with it.

    The first label decides whether the label column holds texts, numbers or booleans; a label of
    another type is refused, because "1" and 1 look alike and are not.

    Args:
        rows: rows of one source.
        columns: which column holds what.
    """
    text_column, pair_column, label_column = columns.text, columns.pair, columns.label
    label_type: type | None = None
    first_origin = ""
    for row in rows:
        values = row.values
        text = values.get(text_column)
        pair = values.get(pair_column) if pair_column else None
        label = values.get(label_column) if label_column else None
        if label_type is None and type(label) in (str, int, bool, float):
            label_type, first_origin = type(label), row.origin
        problems = _problems(row, columns, text, pair, label)
        if label_column and label is not None and type(label) is not label_type and not problems:
            problems = [_mixed(label, label_type, first_origin)]
        if problems:
            yield Refusal(row.origin, problems)
            continue
        assert isinstance(text, str)
        assert pair is None or isinstance(pair, str)
        yield Example(content_id(text, pair), row.origin, text, pair, canonical(label))


def _problems(
    row: Row, columns: Columns, text: object, pair: object, label: object
) -> list[Problem]:
    """Give what is wrong with a row's fields; the common case, nothing, is decided quickly."""
    fine = (
        type(text) is str and bool(text) and not text.isspace() and (text.isascii() or _sound(text))
    )
    if fine and columns.pair:
        fine = type(pair) is str and bool(pair) and not pair.isspace() and _sound(pair)
    if fine and columns.label:
        fine = (
            type(label) is str and bool(label) and label.strip() == label and _sound(label)
        ) or (type(label) is int or type(label) is bool)
    if fine and "\0" not in str(text):
        return []
    found = _text_problems(row, columns, "text")
    if columns.pair:
        found += _text_problems(row, columns, "pair")
    if columns.label:
        found += _label_problems(row, columns)
    return found


def _sound(text: str) -> bool:
    """Tell whether `text` is free of lone surrogates, which no UTF-8 can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text_problems(row: Row, columns: Columns, field: Literal["text", "pair"]) -> list[Problem]:
    column = columns.text if field == "text" else columns.pair
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
    if not _sound(value):
        what = f"{column!r} holds half of a surrogate pair: {ascii(value)[:60]}"
        return [Problem(f"unsound_{field}", what, "the text was cut within a character; mend it")]
    return []


def _label_problems(row: Row, columns: Columns) -> list[Problem]:
    column = columns.label
    if column not in row.values:
        return [missing_column(row, column, "label", columns)]
    value = row.values[column]
    if value is None or value == "":
        what = f"{column!r} is {'null' if value is None else 'empty'}"
        return [Problem("missing_label", what, "label the row or remove it")]
    if isinstance(value, float) and (value != value or not value.is_integer()):
        what = f"{column!r} is {value}, not a class"
        return [Problem("label_not_class", what, "classes are names or whole numbers")]
    if not isinstance(value, (str, int, float)):
        what = f"{column!r} is {kind_of(value)}, {excerpt(str(value))}; a row has one class"
        return [Problem("label_not_class", what, "give one class a row")]
    if isinstance(value, str) and value != value.strip():
        what = f"{column!r} is {value!r}, with blanks around it"
        return [
            Problem(
                "blanks_around_label",
                what,
                f"write {value.strip()!r}" if value.strip() else "label the row",
            )
        ]
    if isinstance(value, str) and not _sound(value):
        return [Problem("unsound_label", f"{column!r} holds half of a surrogate pair", "mend it")]
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
    taken = (columns.text, columns.pair, columns.label) if columns else ()
    near = nearest(column, [name for name in row.values if name not in taken])
    mend = (
        f'set data.columns.{field} = "{near[0]}" or mend the row'
        if near
        else (f"set data.columns.{field} to one of these or mend the row")
    )
    return Problem(f"no_{field}_column", f"no column {column!r}; this row has {known}", mend)


def _mixed(label: object, label_type: type | None, first_origin: str) -> Problem:
    names: dict[type, str] = {
        str: "text",
        int: "a number",
        float: "a number with a point",
        bool: "a boolean",
    }
    expected = names.get(label_type or str, "text")
    found = names.get(type(label), kind_of(label))
    return Problem(
        "mixed_labels",
        f"label {label!r} is {found}, but the label of {first_origin} is {expected}",
        "write all labels as one type",
    )


def canonical(label: object) -> str | None:
    """Give a label as a string: 1 as "1", True as "true", None as None."""
    if label is None or type(label) is str:
        return label
    if isinstance(label, bool):
        return "true" if label else "false"
    return str(label)
