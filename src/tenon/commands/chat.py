"""Chat: the command that talks with an adapter."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import tenon
from tenon.commands import named
from tenon.commands.app import app
from tenon.core.errors import TenonError
from tenon.terminal.options import Base
from tenon.terminal.output import bar
from tenon.terminal.place import short

if TYPE_CHECKING:
    from tenon.verbs.chat import Chat


@app.command()
def chat(
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER")],
    *,
    compare: Annotated[bool, typer.Option("--compare", help="Show the base beside it.")] = False,
    system: Annotated[
        str, typer.Option("--system", help="What the system says first.", show_default=False)
    ] = "",
    base: Base = "",
) -> None:
    """Talk with an adapter that writes; Ctrl-D leaves."""
    named.require_adapters(adapter)
    with bar(silent=False) as progress:
        if progress:
            progress.start("loading", None)
        session = tenon.chat(adapter, base=base, compare=compare, system=system)
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        if not session.remembers:
            print("tenon: each line is a prompt of its own, as in training", file=sys.stderr)
        while True:
            _turn(session, input("> " if sys.stdin.isatty() else ""))
    print()


def _turn(session: Chat, text: str) -> None:
    """Say one turn and print what is answered."""
    from rich.console import Console

    from tenon.terminal.conversation import remarks, side_by_side

    told = None if session.compare else _tell
    try:
        heard = session.say(text, told)
    except TenonError as error:
        print(f"tenon: {short(str(error))}", file=sys.stderr)
        return
    if session.compare:
        Console().print(side_by_side(heard))
    else:
        print()
    for line in remarks(heard):
        print(f"tenon: {line}", file=sys.stderr)


def _tell(piece: str) -> None:
    print(piece, end="", flush=True)
