"""Serve: the command that answers over HTTP."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from tenon.commands.app import app, verb
from tenon.terminal.options import Base, Json, Quiet
from tenon.terminal.output import bar, emit


@app.command()
def serve(
    adapters: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]ADAPTER …",
            help="Runs or adapter directories; and server.key=value, engine.key=value.",
            show_default=False,
        ),
    ] = None,
    *,
    base: Base = "",
    root: Annotated[
        Path | None,
        typer.Option("--root", help="Adapters below it may be added.", show_default=False),
    ] = None,
    host: Annotated[str, typer.Option(help="Others than this machine's need --keys.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="0: any that is free.", min=0, max=65_535)] = 8000,
    keys: Annotated[
        Path | None, typer.Option("--keys", help="File of who may ask what.", show_default=False)
    ] = None,
    new_key: Annotated[
        str,
        typer.Option(
            "--new-key", metavar="NAME", help="Make a key, print it, and stop.", show_default=False
        ),
    ] = "",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Answer over HTTP, many adapters over one base; Ctrl-C ends it once all is answered."""
    if new_key:
        _make(new_key)
        return
    given = adapters or []
    with ExitStack() as stack:
        progress = stack.enter_context(bar(silent=json or quiet))

        def opened(told: object) -> None:
            stack.close()
            emit(told, json=json, quiet=quiet)
            sys.stdout.flush()

        verb("serve")(
            [each for each in given if not _is_setting(each)],
            [each for each in given if _is_setting(each)],
            base=base,
            root=root,
            host=host,
            port=port,
            keys=keys,
            opened=opened,
            progress=progress,
        )


def _is_setting(argument: str) -> bool:
    """Whether an argument is `owner.key=value`; no adapter has a dot in its name."""
    key, equals, _ = argument.partition("=")
    return bool(equals) and "." in key and "/" not in key and "\\" not in key


def _make(name: str) -> None:
    """Print a new key to standard output, and its lines for the file to standard error."""
    from tenon.serve.http.keys import new_key

    made = new_key(name)
    print(made.key)
    print(f"# for the file of --keys; the key itself is in no file\n{made.lines}", file=sys.stderr)
