"""Columns: which column of a table holds the text, and which the label."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from tenon.core.errors import DataError, Faults
from tenon.data.example import Example, Row
from tenon.data.fields import Refusal, canonical, judge, missing_column
from tenon.data.names import LABEL_NAMES, PAIR_NAMES, TEXT_NAMES
from tenon.data.settings import Columns, Task

SAMPLE_ROWS = 1_000
LONGEST_LABEL = 100


@dataclass(frozen=True, slots=True)
class Guess:
    """Columns that were guessed, and why.

    Args:
        columns: the meaning of the columns.
        why: one sentence per decision, for the user.
    """

    columns: Columns
    why: list[str]


@dataclass(frozen=True, slots=True)
class _Profile:
    """What a sample of a column's values is like."""

    name: str
    filled: int
    distinct: int
    mean_characters: float
    texts: bool

    @property
    def repeats(self) -> bool:
        """Whether values recur often enough to be classes."""
        return self.distinct * 2 <= self.filled or self.distinct <= 2 < self.filled


def to_examples(rows: Iterable[Row], columns: Columns, faults: Faults) -> Iterator[Example]:
    """Turn rows into examples.

    Args:
        rows: rows of one source.
        columns: which column holds what; without a label column, labels are None.
        faults: every row that is no example, with its origin: text that is missing, null, blank or
            not text; a label that is missing, blank-padded, no class, or of another type than the
            first.
    """
    for item in judge(rows, columns):
        if isinstance(item, Refusal):
            for problem in item.problems:
                faults.add(item.origin, problem.what, problem.remedy)
        else:
            yield item


def guess(
    rows: Sequence[Row],
    task: Task = "text-classification",
    known: Mapping[str, str] | None = None,
) -> Guess:
    """Guess which columns hold the text and the label.

    Names that label files use decide first; columns with other names, or none, are told apart by
    what they hold: a label recurs and is short, a text is long and does not.

    Args:
        rows: a sample of one source.
        task: what is learned; every task so far has one text or pair and one label.
        known: columns that are named already: "text", "pair", "label" to the column.

    Raises:
        DataError: no column can be the text or the label, or several can; or a named one is not
            there.
    """
    del task
    if not rows:
        raise DataError("there are no rows to guess the columns from; give a file with rows")
    named = {field: column for field, column in (known or {}).items() if column}
    profiles = _profiles(rows)
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


def guess_text(rows: Sequence[Row]) -> Guess:
    """Guess which columns hold the text, or the pair, of rows without labels.

    Raises:
        DataError: there are no rows, or no column can be the text.
    """
    if not rows:
        raise DataError("there are no rows to guess the columns from; give a file with rows")
    profiles = _profiles(rows)
    labels = _known(profiles, LABEL_NAMES)
    rest = {name: profile for name, profile in profiles.items() if name not in labels}
    text, pair, why = _text(rows[0], rest)
    return Guess(Columns(text=text, pair=pair), [why])


def require(rows: Sequence[Row], columns: Columns, faults: Faults) -> bool:
    """Check that at least one row of a sample has each column.

    A column that the whole file lacks is one fault, not one per row.

    Returns:
        Whether each column is there, or there are no rows.
    """
    before = faults.count
    for field, column in (("text", columns.text), ("pair", columns.pair), ("label", columns.label)):
        if column and rows and not any(column in row.values for row in rows):
            _, what, remedy = missing_column(rows[0], column, field, columns)
            faults.add(rows[0].origin, what, remedy)
    return faults.count == before


def _names(rows: Sequence[Row]) -> list[str]:
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row.values))
    return list(names)


def _profiles(rows: Sequence[Row]) -> dict[str, _Profile]:
    """Profile each column of a sample, by name."""
    return {name: _profile(name, [row.values.get(name) for row in rows]) for name in _names(rows)}


def _profile(name: str, values: Sequence[object]) -> _Profile:
    held = [value for value in values if isinstance(value, (str, int, float)) and value != ""]
    words = [str(canonical(value)) for value in held]
    return _Profile(
        name,
        filled=len(words),
        distinct=len(set(words)),
        mean_characters=fmean(map(len, words)) if words else 0.0,
        texts=bool(held) and all(isinstance(value, str) for value in held),
    )


def _known(profiles: Iterable[str], names: Sequence[str]) -> list[str]:
    """Give the columns called by one of `names`, in the order of `names`."""
    folded = {column.strip().casefold(): column for column in profiles}
    return [folded[name] for name in names if name in folded]


def _label(
    first: Row, profiles: dict[str, _Profile], all_profiles: dict[str, _Profile]
) -> tuple[str, str]:
    """Choose the label column among `profiles`; give it and the reason."""
    known = _known(profiles, LABEL_NAMES)
    if known:
        return known[0], f"label is column {known[0]!r}, by its name"
    headed = {name for name in profiles if not name.isdigit()} - set(_known(profiles, TEXT_NAMES))
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


def _text(first: Row, profiles: dict[str, _Profile]) -> tuple[str, str, str]:
    """Choose the text column, or the two of a pair; give them and the reason."""
    for names in PAIR_NAMES:
        pair = _known(profiles, names)
        if len(pair) == 2:
            return (
                pair[0],
                pair[1],
                f"text is column {pair[0]!r} and pair is {pair[1]!r}, by their names",
            )
    known = _known(profiles, TEXT_NAMES)
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
