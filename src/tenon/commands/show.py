"""Show: the commands that show what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import tenon
from tenon.commands.app import app
from tenon.terminal.options import Json, Lang, Quiet
from tenon.terminal.output import bar, emit
from tenon.verbs.lists import require


@app.command()
def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT", help="kinds, settings, scorers; or a plan, run, adapter or report"
        ),
    ],
    *,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Write the page of a run or report here.", metavar="OUT"),
    ] = None,
    texts: Annotated[
        bool, typer.Option("--texts/--no-texts", help="Of the page: whether it quotes rows.")
    ] = True,
    lang: Lang = "en",
    json: Json = False,
) -> None:
    """Show anything that Tenon knows or wrote."""
    require(what)
    shown = tenon.show(what, html=html, lang=lang, texts=texts)
    emit(shown, json=json, quiet=html is not None and not json)
    if html is not None and not json:
        print(f"page  {html}")


@app.command()
def demo(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write.")] = Path("tenon-demo"),
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check faulty data, then train and compare two adapters on the demo's data."""
    with bar(silent=json or quiet) as progress:
        result = tenon.demo(out, progress=progress)
    emit(result, json=json, quiet=quiet)
