"""Classification: texts, or pairs of texts, each with one of some labels."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tenon.core.errors import DataError
from tenon.data.columns import Profile, known_names, profiles_of
from tenon.data.example import Example, Row, content_id, group_id
from tenon.data.fields import Problem, Refusal, canonical, missing_column, sound, text_problems
from tenon.data.gold import Gold
from tenon.data.label_sets import holds_sets
from tenon.data.names import LABEL_NAMES, PAIR_NAMES, TEXT_NAMES
from tenon.data.numbers import fractional
from tenon.data.settings import Columns
from tenon.data.strict_json import kind_of
from tenon.data.tables import excerpt
from tenon.data.task import TASKS, Guess, Tally, Task

LONGEST_LABEL = 100
KINDS = {
    "no_text_column": ("row", "lack the text column"),
    "no_pair_column": ("row", "lack the pair column"),
    "no_label_column": ("row", "lack the label column"),
    "null_text": ("row", "have null for text"),
    "null_pair": ("row", "have null for the second text"),
    "empty_text": ("row", "have an empty or blank text"),
    "empty_pair": ("row", "have an empty or blank second text"),
    "text_not_text": ("row", "hold something else than text in the text column"),
    "pair_not_text": ("row", "hold something else than text in the pair column"),
    "unsound_text": ("text", "hold characters that no UTF-8 can hold, or NUL"),
    "unsound_pair": ("second text", "hold characters that no UTF-8 can hold, or NUL"),
    "unsound_label": ("label", "hold characters that no UTF-8 can hold"),
    "missing_label": ("row", "have no label"),
    "label_not_class": ("row", "have a label that is no class"),
    "blanks_around_label": ("label", "have outer blanks"),
    "mixed_labels": ("label", "are of another type than the first one"),
}


def judge(rows: Iterable[Row], columns: Columns, tally: Tally) -> Iterator[Example | Refusal]:
    """Give for each row its example, or all that is wrong with it.

    The first label decides whether the label column holds texts, numbers or booleans; a label of
    another type is refused, because "1" and 1 look alike and are not.

    Args:
        rows: rows of one source.
        columns: which column holds what.
        tally: stays as it is.
    """
    del tally
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
        group = group_id(row, columns.group) if columns.group else None
        gold = canonical(label)
        yield Example(content_id(text, pair), row.origin, text, pair, gold, group=group)


def _problems(
    row: Row, columns: Columns, text: object, pair: object, label: object
) -> list[Problem]:
    """Give what is wrong with a row's fields; the common case, nothing, is decided quickly."""
    fine = (
        type(text) is str and bool(text) and not text.isspace() and (text.isascii() or sound(text))
    )
    if fine and columns.pair:
        fine = type(pair) is str and bool(pair) and not pair.isspace() and sound(pair)
    if fine and columns.label:
        fine = (type(label) is str and bool(label) and label.strip() == label and sound(label)) or (
            type(label) is int or type(label) is bool
        )
    if fine and "\0" not in str(text):
        return []
    found = text_problems(row, columns, "text")
    if columns.pair:
        found += text_problems(row, columns, "pair")
    if columns.label:
        found += _label_problems(row, columns)
    return found


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
        remedy = 'classes are names or whole numbers; for numbers set data.task = "text-regression"'
        return [Problem("label_not_class", what, remedy)]
    if not isinstance(value, (str, int, float)):
        what = f"{column!r} is {kind_of(value)}, {excerpt(str(value))}; a row has one class"
        remedy = 'give one class a row, or set data.task = "multi-label-classification"'
        return [Problem("label_not_class", what, remedy)]
    if isinstance(value, str) and value != value.strip():
        what = f"{column!r} is {value!r}, with blanks around it"
        return [
            Problem(
                "blanks_around_label",
                what,
                f"write {value.strip()!r}" if value.strip() else "label the row",
            )
        ]
    if isinstance(value, str) and not sound(value):
        return [Problem("unsound_label", f"{column!r} holds half of a surrogate pair", "mend it")]
    return []


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


def guess(rows: Sequence[Row], known: Mapping[str, str] | None = None) -> Guess:
    """Guess which columns hold the text and the label.

    Names that label files use decide first; columns with other names, or none, are told apart by
    what they hold: a label recurs and is short, a text is long and does not.

    Args:
        rows: a sample of one source.
        known: columns that are named already: "text", "pair", "label" to the column.

    Raises:
        DataError: no column can be the text or the label, or several can; or a named one is not
            there.
    """
    if not rows:
        raise DataError("there are no rows to guess the columns from; give a file with rows")
    named = {field: column for field, column in (known or {}).items() if column}
    profiles = profiles_of(rows)
    for field, column in named.items():
        if column not in profiles:
            _, what, remedy = missing_column(rows[0], column, field)
            raise DataError(f"{rows[0].origin}: {what}; {remedy}")
    free = {name: found for name, found in profiles.items() if name not in named.values()}
    label, why_label = (named["label"], "") if "label" in named else _label(rows[0], free, profiles)
    rest = {name: found for name, found in free.items() if name != label}
    text, pair, why_text = (named["text"], "", "") if "text" in named else _text(rows[0], rest)
    columns = Columns(text=text, pair=named.get("pair", pair), label=label)
    why = [said for said in (why_text, why_label) if said]
    unused = [name for name in rest if name not in (columns.text, columns.pair)]
    if unused:
        why.append(f"not used: {', '.join(map(repr, unused))}")
    return Guess(columns, why)


def recognise(rows: Sequence[Row]) -> str:
    """Say which columns hold a text and its class, by their names; "" where none do."""
    profiles = profiles_of(rows)
    for label in known_names(profiles, LABEL_NAMES):
        values = [row.values.get(label) for row in rows]
        if fractional(values) or holds_sets(values) or profiles[label].unique:
            return ""
        texts = [name for name in profiles if name != label and profiles[name].texts]
        if 2 * profiles[label].filled > len(rows) and texts:
            known = known_names(texts, TEXT_NAMES)
            return f"a text and its class ({(known or texts)[0]!r}, {label!r})"
    return ""


def guess_text(rows: Sequence[Row]) -> Guess:
    """Guess which columns hold the text, or the pair, of rows without labels.

    Raises:
        DataError: there are no rows, or no column can be the text.
    """
    if not rows:
        raise DataError("there are no rows to guess the columns from; give a file with rows")
    profiles = profiles_of(rows)
    labels = known_names(profiles, LABEL_NAMES)
    rest = {name: profile for name, profile in profiles.items() if name not in labels}
    text, pair, why = _text(rows[0], rest)
    return Guess(Columns(text=text, pair=pair), [why])


def _label(
    first: Row, profiles: dict[str, Profile], all_profiles: dict[str, Profile]
) -> tuple[str, str]:
    """Choose the label column among `profiles`; give it and the reason."""
    known = known_names(profiles, LABEL_NAMES)
    if known:
        return known[0], f"label is column {known[0]!r}, by its name"
    headed = {name for name in profiles if not name.isdigit()} - set(
        known_names(profiles, TEXT_NAMES)
    )
    near = [name for column in sorted(headed) for name in _misspelt(column)]
    if near:
        _, what, _ = missing_column(first, "label", "label")
        raise DataError(
            f'{first.origin}: {what}; set data.columns.label = "{near[0]}" or mend the header'
        )
    fullest = max(all_profiles.values(), key=lambda profile: profile.distinct, default=None)
    classes = [
        profile
        for profile in profiles.values()
        if profile.repeats and profile.mean_characters <= LONGEST_LABEL and profile is not fullest
    ]
    if len(classes) == 1:
        only = classes[0]
        return only.name, (
            f"label is column {only.name!r}: "
            f"{only.distinct} values in {only.filled:,} rows, "
            f"of {only.mean_characters:.0f} characters on average"
        )
    _, what, _ = missing_column(first, "label", "label")
    several = ", ".join(repr(profile.name) for profile in classes)
    why = f"{several} look like classes" if classes else "no column holds values that recur"
    raise DataError(f"{first.origin}: {what}; {why}: name it with data.columns.label")


def _misspelt(column: str) -> list[str]:
    """Give `column` in a list where it is nearly the name of a label column."""
    word = column.strip().casefold()
    close = difflib.get_close_matches(
        word, [name for name in LABEL_NAMES if len(name) > 3], 1, 0.75
    )
    return [column] if close else []


def _text(first: Row, profiles: dict[str, Profile]) -> tuple[str, str, str]:
    """Choose the text column, or the two of a pair; give them and the reason."""
    for names in PAIR_NAMES:
        pair = known_names(profiles, names)
        if len(pair) == 2:
            return (
                pair[0],
                pair[1],
                f"text is column {pair[0]!r} and pair is {pair[1]!r}, by their names",
            )
    known = known_names(profiles, TEXT_NAMES)
    if known:
        return known[0], "", f"text is column {known[0]!r}, by its name"
    texts = [profile for profile in profiles.values() if profile.texts]
    if not texts:
        _, what, _ = missing_column(first, "text", "text")
        raise DataError(f"{first.origin}: {what}; none holds texts: name it with data.columns.text")
    longest = max(texts, key=lambda profile: profile.mean_characters)
    return (
        longest.name,
        "",
        (
            f"text is column {longest.name!r}: the longest, "
            f"of {longest.mean_characters:.0f} characters on average"
        ),
    )


def settle(rows: Sequence[Row], columns: Columns, notes: list[str]) -> Columns:
    """Leave the columns as they are; say where their labels look like those of another task."""
    values = [row.values.get(columns.label) for row in rows] if columns.label else []
    if any(isinstance(value, str) for value in values) and fractional(values):
        what = f"{columns.label!r} holds numbers that are not whole, and each counts as a class"
        notes.append(f'{what}; to learn them as numbers set data.task = "text-regression"')
    elif way := holds_sets(values):
        what = f"{columns.label!r} looks like {way}, and each text counts as one class"
        notes.append(f'{what}; to learn each label set data.task = "multi-label-classification"')
    return columns


def classes(gold: Gold) -> Iterable[str]:
    """Give the one label that a row has."""
    return (str(gold),)


TASKS.add(
    "text-classification",
    Task(
        "text-classification",
        columns=("text", "pair", "label", "group"),
        inputs=(("text", "pair"), ("text",)),
        gold=("label",),
        judge=judge,
        guess=guess,
        settle=settle,
        classes=classes,
        kinds=KINDS,
        recognise=recognise,
    ),
)
