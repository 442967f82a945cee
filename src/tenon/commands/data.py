"""Data: the commands that look at a file of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import tenon
from tenon.commands import named
from tenon.commands.app import app
from tenon.terminal.options import Given, Json, Quiet, Target
from tenon.terminal.output import bar, emit


@app.command()
def init(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A labelled file: path[#member]")],
    settings: Given = None,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path("run.toml"),
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look at a data file and write a commented run.toml."""
    named.require_rows(data)
    emit(tenon.init(data, out, settings or ()), json=json, quiet=quiet)


@app.command()
def check(
    target: Target,
    settings: Given = None,
    *,
    base: Annotated[
        str,
        typer.Option(
            "--base", help="Count its tokens, and probe the labels on it.", show_default=False
        ),
    ] = "",
    fix: Annotated[
        Path | None,
        typer.Option("--fix", help="Write a mended copy of train, as JSON lines.", metavar="OUT"),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what is in the data, and what is wrong with it."""
    named.require_rows(target)
    with bar(silent=json or quiet) as progress:
        findings = tenon.check(target, settings or (), base=base, fix=fix, progress=progress)
    emit(findings, json=json, quiet=quiet)
