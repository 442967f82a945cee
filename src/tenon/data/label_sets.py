"""Label sets: the labels of a row that may have none, one or several, however a file writes them.

A set is a list, as JSON and Parquet have it; a text with a separator between its labels; or a row
of flags, a column of 0 and 1 for each label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import cast

from tenon.data.example import Row
from tenon.data.fields import Problem, canonical, missing_column, sound
from tenon.data.settings import Columns
from tenon.data.strict_json import kind_of
from tenon.data.tables import excerpt
from tenon.data.tagging import listed

SEPARATORS = ("|", ";", ",")
LONGEST_LABEL = 100
RECURRING_SHARE = 0.5
FLAGS: Mapping[object, bool] = {"0": False, "1": True, "false": False, "true": True}


def parted(value: str, separator: str) -> list[str]:
    """Give the labels of a text, without outer blanks; none of a blank one."""
    if not value.strip():
        return []
    parts = value.split(separator) if separator else [value]
    return [part.strip() for part in parts]


def separators_of(values: Iterable[object]) -> list[str]:
    """Give the signs that part texts into labels which recur.

    A sign parts labels where at least half of the labels that it parts also stand in another
    text: `food|price` beside `food` and `price`; not `Paris, Texas` beside `Rome, Georgia`.
    """
    texts = {value.strip() for value in values if isinstance(value, str)}
    return [sign for sign in SEPARATORS if _parts_labels(texts, sign)]


def _parts_labels(texts: Collection[str], sign: str) -> bool:
    sets = [set(parted(text, sign)) for text in texts]
    several = {label for labels in sets if len(labels) > 1 for label in labels}
    if not several or any(not label or len(label) > LONGEST_LABEL for label in several):
        return False
    standing = Counter(label for labels in sets for label in labels)
    recurring = sum(standing[label] > 1 for label in several)
    return recurring >= RECURRING_SHARE * len(several)


def signs_in(values: Iterable[object]) -> list[str]:
    """Give the signs that could be separators and stand in at least one text."""
    texts = [value for value in values if isinstance(value, str)]
    return [sign for sign in SEPARATORS if any(sign in text for text in texts)]


def is_list(value: object) -> bool:
    """Whether a value is a list, or a text that is written as one in JSON."""
    if isinstance(value, str):
        body = value.strip()
        return body.startswith("[") and body.endswith("]")
    return isinstance(value, (list, tuple))


def holds_sets(values: Sequence[object]) -> str:
    """Say in what way the values of a column are sets of labels; "" where they are not."""
    known = [value for value in values if value is not None]
    lists = [value for value in known if is_list(value)]
    full = any(listed(value) for value in lists)
    if full and len(lists) == len(known) and all(_scalars(value) for value in lists):
        return "lists of labels"
    signs = separators_of(known)
    if signs and all(isinstance(value, str) for value in known):
        return f"labels with {' or '.join(map(repr, signs))} between them"
    return ""


def _scalars(value: object) -> bool:
    """Whether the items of a list are texts or whole numbers, not spans, turns or vectors."""
    found = listed(value)
    return not isinstance(found, str) and all(isinstance(item, str | int) for item in found)


def labels_in(row: Row, columns: Columns) -> tuple[list[object], list[Problem]]:
    """Give the labels of a row as the file types them, and all that is wrong with them."""
    if columns.flags:
        return _flagged(row, columns)
    column = columns.label
    if column not in row.values:
        return [], [missing_column(row, column, "label", columns)]
    value = row.values[column]
    if is_list(value):
        found = listed(value)
        if isinstance(found, str):
            return [], [Problem("labels_not_list", f"{column!r} {found}", "write a JSON list")]
        return found, [problem for item in found for problem in _item_problems(column, item)]
    if isinstance(value, str):
        found = cast(list[object], parted(value, columns.separator))
        return found, [problem for item in found for problem in _item_problems(column, item)]
    if value is None:
        remedy = "write [] where no label is right, or remove the row"
        return [], [Problem("missing_labels", f"{column!r} is null", remedy)]
    return [value], _item_problems(column, value)


def _item_problems(column: str, item: object) -> list[Problem]:
    """Give what is wrong with one label."""
    if item is None or item == "":
        what = f"{column!r} holds a label that is {'null' if item is None else 'empty'}"
        return [Problem("empty_label", what, "remove it; a row may have no label at all")]
    if isinstance(item, float) and (item != item or not item.is_integer()):
        what = f"{column!r} holds {item}, which is no label"
        remedy = 'labels are names or whole numbers; for numbers set data.task = "text-regression"'
        return [Problem("label_not_class", what, remedy)]
    if not isinstance(item, (str, int, float)):
        what = f"{column!r} holds {kind_of(item)}, {excerpt(str(item))}, as a label"
        return [Problem("label_not_class", what, "labels are names or whole numbers")]
    if isinstance(item, str) and not sound(item):
        what = f"{column!r} holds half of a surrogate pair"
        return [Problem("unsound_label", what, "mend it")]
    if isinstance(item, str) and item != item.strip():
        name = item.strip()
        what = f"{column!r} holds {item!r}, with blanks around it"
        return [Problem("blanks_around_label", what, f"write {name!r}" if name else "remove it")]
    return []


def _flagged(row: Row, columns: Columns) -> tuple[list[object], list[Problem]]:
    problems: list[Problem] = []
    found: list[object] = []
    for column in columns.flags:
        if column not in row.values:
            problems.append(missing_column(row, column, "flags", columns))
            continue
        flag = flag_of(row.values[column])
        if flag is None:
            value = row.values[column]
            what = f"{column!r} is {excerpt(str(value)) if value is not None else 'null'}"
            problems.append(Problem("flag_not_0_or_1", what, "write 1 for yes and 0 for no"))
        elif flag:
            found.append(column)
    return found, problems


def flag_of(value: object) -> bool | None:
    """Read 0 or 1, false or true; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    word = canonical(value) if isinstance(value, str | int) else None
    return None if word is None else FLAGS.get(word.strip().casefold())
