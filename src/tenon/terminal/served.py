"""Served page: where a server answers, and with what."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from tenon.terminal.sheet import heading, page, sheet
from tenon.verbs.serve import Opened

SHOWN = 20


def opened_page(opened: Opened) -> RenderableType:
    """Lay out the address, who may ask, and the adapters."""
    who = f"{opened.keys} keys" if opened.keys else "everybody on this machine, without a key"
    adding = f"from {opened.root}" if opened.root else "not at all: give --root to allow it"
    facts = [("base", opened.base), ("may ask", who), ("may be added", adding)]
    rows = [(each.name, each.kind, each.task) for each in opened.adapters[:SHOWN]]
    more = len(opened.adapters) - len(rows)
    return page(
        heading(opened.url, "a page for people; Ctrl-C ends it"),
        sheet("", "", rows=[(Text(name, style="dim"), Text(text)) for name, text in facts]),
        sheet("adapter", "kind", "task", rows=rows) if rows else None,
        Text(f"  and {more} more", style="dim") if more > 0 else None,
    )
