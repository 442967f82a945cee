"""Conversation page: the adapter's answer beside the base's."""

from __future__ import annotations

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tenon.evaluate.reply import Text as Reply
from tenon.verbs.chat import Heard

BROKEN_OFF = " … broken off"


def side_by_side(heard: Heard) -> RenderableType:
    """Lay out both answers to one turn, each in a column of its own."""
    table = Table(box=box.SIMPLE_HEAD, expand=True, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("base", "adapter"):
        table.add_column(name, header_style="dim", ratio=1, overflow="fold")
    table.add_row(*(_said(reply) for reply in (heard.base, heard.adapter)))
    return table


def remarks(heard: Heard) -> list[str]:
    """Say what is to be known of the answers."""
    lines: list[str] = []
    if heard.base is None and not heard.adapter.ended:
        lines.append("the answer was broken off: it is as long as an answer may be")
    if heard.forgotten:
        lines.append(f"the first {heard.forgotten:,} tokens of the conversation no longer fit")
    return lines


def _said(reply: Reply | None) -> Text:
    if reply is None:
        return Text("")
    return Text.assemble(reply.text, ("" if reply.ended else BROKEN_OFF, "dim"))
