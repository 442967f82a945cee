"""Cells: what further columns of the rows hold, by which a report parts or clusters them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from tenon.core.errors import DataError, Faults, did_you_mean
from tenon.data.columns import SAMPLE_ROWS, has
from tenon.data.conll import DOCUMENT
from tenon.data.example import Row
from tenon.data.parts import Parts
from tenon.evaluate.clusters import Grouping
from tenon.evaluate.settings import EvaluateSettings
from tenon.verbs.names import Names

TAGGING = "token-classification"


@dataclass(frozen=True)
class Cells:
    """What the rows of a part hold.

    Args:
        grouping: which of them belong together; None where no column says so.
        slices: column to origin to what it holds there.
    """

    grouping: Grouping | None = None
    slices: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])


def cells_of(
    rows: Iterable[Row], task: str, group: str, slices: Sequence[str], names: Names
) -> Cells:
    """Read them.

    Sentences of a file that parts its documents belong together by document, unless a column
    says otherwise.

    Args:
        rows: of the part's source, those of other parts as well.
        task: as the hub names it.
        group: column whose equal values belong together; "" for none.
        slices: columns that part the rows.
        names: how the report calls the files.
    """
    if not (group or slices or task == TAGGING):
        return Cells()
    together = group or (DOCUMENT if task == TAGGING else "")
    held: dict[str, dict[str, str]] = {column: {} for column in slices}
    keys: dict[str, str] = {}
    first: list[str] = []
    for row in rows:
        origin = names.told(row.origin)
        if (key := _text(row, together)) is not None:
            keys[origin] = key
        elif together == DOCUMENT:
            first.append(origin)
        for column, cells in held.items():
            if (cell := _text(row, column)) is not None:
                cells[origin] = cell
    if keys:  # what stands before the first border of a file is a document too
        keys |= dict.fromkeys(first, "0")
    noun = "documents" if together == DOCUMENT else f"values of {together}"
    return Cells(Grouping(noun, keys) if keys else None, held)


def _text(row: Row, column: str) -> str | None:
    value = row.values.get(column) if column else None
    return str(value) if isinstance(value, str | int | float) and value != "" else None


def cells_of_part(parts: Parts, names: Names, settings: EvaluateSettings, part: str) -> Cells:
    """Read what the rows of a part hold.

    Args:
        parts: of the run.
        names: how the report calls the files.
        settings: which columns part the rows.
        part: the one that leads the report.
    """
    rows = parts.route.rows(parts.route.source_of(part), Faults())
    return cells_of(rows, parts.settings.task, parts.columns.group, settings.slices, names)


def require_slices(parts: Parts, slices: Sequence[str]) -> None:
    """Refuse columns that part the rows and are not there, before anything runs.

    Raises:
        DataError: no row of the part that a report leads with has one of them.
    """
    part = next((name for name in ("test", "dev") if name in parts.counts), "")
    if not slices or not part:
        return
    rows = list(islice(parts.route.rows(parts.route.source_of(part), Faults()), SAMPLE_ROWS))
    for column in slices:
        if not any(has(row, column) for row in rows):
            near = did_you_mean(column, rows[0].values)
            raise DataError(f"evaluate.slices: {rows[0].origin}: has no column {column!r}; {near}")
