"""Columns: what the columns of a table are like, and whether each file has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from tenon.core.errors import Faults
from tenon.data.example import Row
from tenon.data.fields import canonical, missing_column
from tenon.data.settings import Columns

SAMPLE_ROWS = 1_000


FEW_ROWS = 20
UNIQUE = 0.9


@dataclass(frozen=True, slots=True)
class Profile:
    """What a sample of a column's values is like.

    Args:
        name: of the column.
        filled: values that are texts or numbers, and not empty.
        distinct: different ones among them.
        mean_characters: of one of them.
        texts: whether all are texts.
    """

    name: str
    filled: int
    distinct: int
    mean_characters: float
    texts: bool

    @property
    def unique(self) -> bool:
        """Whether hardly a text recurs among enough of them: then they are no classes."""
        return self.texts and self.filled >= FEW_ROWS and self.distinct > UNIQUE * self.filled

    @property
    def repeats(self) -> bool:
        """Whether values recur often enough to be classes."""
        return self.distinct * 2 <= self.filled or self.distinct <= 2 < self.filled


def require(rows: Sequence[Row], columns: Columns, faults: Faults) -> bool:
    """Check that at least one row of a sample has each column.

    A column that the whole file lacks is one fault, not one per row.

    Returns:
        Whether each column is there, or there are no rows.
    """
    before = faults.count
    for field, column in columns.named().items():
        if rows and not any(has(row, column) for row in rows):
            _, what, remedy = missing_column(rows[0], column, field, columns)
            faults.add(rows[0].origin, what, remedy)
    return faults.count == before


def has(row: Row, column: str) -> bool:
    """Tell whether a row has a column; of `a.b`, whether it has the object `a`."""
    return column in row.values or ("." in column and column.partition(".")[0] in row.values)


def _names(rows: Sequence[Row]) -> list[str]:
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row.values))
    return list(names)


def profiles_of(rows: Sequence[Row]) -> dict[str, Profile]:
    """Profile each column of a sample, by name."""
    return {name: _profile(name, [row.values.get(name) for row in rows]) for name in _names(rows)}


def _profile(name: str, values: Sequence[object]) -> Profile:
    held = [value for value in values if isinstance(value, (str, int, float)) and value != ""]
    words = [str(canonical(value)) for value in held]
    return Profile(
        name,
        filled=len(words),
        distinct=len(set(words)),
        mean_characters=fmean(map(len, words)) if words else 0.0,
        texts=bool(held) and all(isinstance(value, str) for value in held),
    )


def known_names(profiles: Iterable[str], names: Sequence[str]) -> list[str]:
    """Give the columns called by one of `names`, in the order of `names`."""
    folded = {column.strip().casefold(): column for column in profiles}
    return [folded[name] for name in names if name in folded]
