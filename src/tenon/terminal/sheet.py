"""Sheet: the one form that every table of the terminal has."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tenon.terminal.place import short

INDENT = 2
GAP = 2


def sheet(
    *columns: str,
    rows: Sequence[Sequence[RenderableType]],
    numbers: Sequence[str] = (),
    clip: str = "",
) -> RenderableType:
    """Give a table with one line, below its head; without heads, without lines.

    Args:
        columns: their heads; all empty for a table without a head.
        rows: cells, as many as there are columns; a str is shown as it is, not read as markup.
        numbers: heads of the columns that are set to the right.
        clip: head of a quiet column that is cut where the terminal is too narrow.
    """
    line = box.SIMPLE_HEAD if any(columns) else None
    table = Table(
        box=line, padding=(0, GAP - bool(line), 0, 0), show_edge=False, show_header=any(columns)
    )
    table.pad_edge = False
    for place, head in enumerate(columns):
        clipped = bool(head) and head == clip
        table.add_column(
            head,
            justify="right" if head in numbers else "left",
            # Columns that may wrap are made narrower first.
            no_wrap=not clipped and (place == 0 or head in numbers),
            overflow="ellipsis" if clipped else "fold",
            style="dim" if clipped else "",
            header_style="dim",
        )
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return Padding(table, (0, 0, 0, INDENT))


def heading(text: str, quiet: str = "") -> Text:
    """Give a line that says what follows."""
    return Text.assemble((text, "bold"), ("  " + quiet if quiet else "", "dim"))


def notes(lines: Sequence[str]) -> RenderableType:
    """Give a list of sentences, the paths in them as short as they can be."""
    return sheet("", "", rows=[(Text("·"), Text(short(line), style="dim")) for line in lines])


def page(*parts: RenderableType | None) -> Group:
    """Give the parts one below the other, an empty line between them; None leaves no trace."""
    shown = [part for part in parts if part is not None]
    spaced = [item for part in shown for item in (part, Text(""))]
    return Group(*spaced[:-1])
