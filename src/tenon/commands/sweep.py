"""Sweep: the command that searches settings."""

from __future__ import annotations

from typing import Annotated

import typer

import tenon
from tenon.commands import named
from tenon.commands.app import app
from tenon.terminal.options import (
    Address,
    Engine,
    Engines,
    Given,
    Json,
    Lang,
    Out,
    Quiet,
    Resume,
    Target,
)
from tenon.terminal.output import bar, emit


@app.command()
def sweep(
    target: Target,
    settings: Given = None,
    *,
    over: Annotated[
        list[str] | None,
        typer.Option(
            "--over",
            metavar="KEY=SPEC",
            help="Values of a setting: learning_rate=log:1e-5..1e-2, rank=8,16,32; once for each.",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[int, typer.Option("--trials", "-n", help="How many.")] = 20,
    out: Out = None,
    engine: Engines = Engine.local,
    address: Address = "",
    at_once: Annotated[int, typer.Option(help="Trials whose values are chosen at once.")] = 4,
    together: Annotated[
        int, typer.Option(help="Trials in one pass over the base; 0: by the device.")
    ] = 0,
    seeds: Annotated[int, typer.Option(help="Fresh seeds that prove the winner; 0: none.")] = 3,
    prune: Annotated[bool, typer.Option(help="Give up trials that fall behind.")] = True,
    resume: Annotated[
        Resume, typer.Option(help="auto goes on where the sweep stopped; never begins anew.")
    ] = Resume.auto,
    lang: Lang = "en",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search settings by trials on dev; ends with the winner's report."""
    named.require_rows(target)
    from tenon.verbs.target import searched

    searched(target, settings or (), over or (), out)
    with bar(silent=json or quiet) as progress:
        made = tenon.sweep(
            target,
            settings or (),
            over=over or (),
            trials=trials,
            out=out,
            engine=engine.value,
            address=address,
            at_once=at_once,
            together=together,
            seeds=seeds,
            prune=prune,
            resume=resume.value,
            lang=lang,
            progress=progress,
        )
    emit(made, json=json, quiet=quiet)
