"""Beside: the columns of the text where those of the answer are known already."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tenon.core.errors import DataError
from tenon.data.adapted import adapt_classes
from tenon.data.classification import guess_text
from tenon.data.example import Row
from tenon.data.fields import missing_column
from tenon.data.settings import Columns


def names_of(rows: Sequence[Row]) -> list[str]:
    """Give the columns of some rows, in their order."""
    return list(dict.fromkeys(name for row in rows for name in row.values))


def require_named(rows: Sequence[Row], known: Mapping[str, str]) -> None:
    """Refuse columns that were named and are not there, and no rows.

    Args:
        known: field to its column.

    Raises:
        DataError: there are no rows, or no row has one of the columns.
    """
    if not rows:
        raise DataError("there are no rows to guess the columns from; give a file with rows")
    for field, column in known.items():
        if not any(column in row.values for row in rows):
            _, what, remedy = missing_column(rows[0], column, field)
            raise DataError(f"{rows[0].origin}: {what}; {remedy}")


def guess_beside(
    rows: Sequence[Row], known: Mapping[str, str], gold: Columns, why: list[str]
) -> tuple[Columns, list[str]]:
    """Add the columns of the text, or the pair, to those of the answer.

    Args:
        rows: a sample of one source.
        known: field to its column, where the user named it.
        gold: the columns of the answer.
        why: how these were found.

    Returns:
        All columns, and why each of them.

    Raises:
        DataError: no column can be the text.
    """
    text, pair = known.get("text", ""), known.get("pair", "")
    if not text:
        used = {gold.label, *gold.flags, *known.values()}
        found = guess_text(_without(rows, used))
        text, pair = found.columns.text, pair or found.columns.pair
        why = [*found.why, *why]
    columns = gold.model_copy(update={"text": text, "pair": pair})
    used = {text, pair, gold.label, *gold.flags}
    if unused := [name for name in names_of(rows) if name not in used]:
        why = [*why, f"not used: {', '.join(map(repr, unused))}"]
    return columns, why


def adapt_beside(rows: Sequence[Row], trained: Columns, gold: Columns, notes: list[str]) -> Columns:
    """Add to the columns of the answer those of the text that an adapter shall read.

    Args:
        rows: that it shall answer.
        trained: the columns of its training rows.
        gold: the columns of the answer in these rows; empty where it is not wanted.
        notes: what was guessed.

    Raises:
        DataError: no column holds the text, or these are pairs and those were single texts.
    """
    inputs = {name: getattr(trained, name) for name in ("text", "pair") if getattr(trained, name)}
    taken = {gold.label, trained.label, *gold.flags, *trained.flags}
    found = adapt_classes(_without(rows, taken), inputs, None, notes)
    return gold.model_copy(update={"text": found.text, "pair": found.pair})


def _without(rows: Sequence[Row], used: Collection[str]) -> list[Row]:
    return [
        Row({name: value for name, value in row.values.items() if name not in used}, row.origin)
        for row in rows
    ]
