"""Run: the commands that plan, train and judge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import tenon
from tenon.commands import named
from tenon.commands.app import app, verb
from tenon.terminal.options import Base, Given, Json, Lang, Out, Preflight, Quiet, Resume, Target
from tenon.terminal.output import bar, emit


@app.command()
def plan(
    target: Target,
    settings: Given = None,
    *,
    find_lr: Annotated[
        bool, typer.Option("--find-lr", help="Try learning rates on the rows, and suggest one.")
    ] = False,
    device: Annotated[
        str,
        typer.Option(
            "--device",
            metavar="NAME",
            help="Plan for a device that is not here: h100-80gb, l4-24gb …",
            show_default=False,
        ),
    ] = "",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show every setting, what would be trained, its memory and time, and that it will train."""
    _plan(target, settings, find_lr=find_lr, device=device, json=json, quiet=quiet)


@app.command()
def train(
    target: Target,
    settings: Given = None,
    *,
    out: Out = None,
    resume: Annotated[
        Resume, typer.Option(help="auto goes on where the run stopped; never starts anew.")
    ] = Resume.auto,
    preflight: Annotated[
        Preflight,
        typer.Option(help="What a check that fails before the first step does; off asks nothing."),
    ] = Preflight.stop,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and stop before anything is written.")
    ] = False,
    lang: Lang = "en",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train an adapter, or go on with a run; ends with its report."""
    if dry_run:
        _plan(target, settings, json=json, quiet=quiet)
        return
    named.require_rows(target)
    from tenon.verbs.target import order

    wanted = order(target, settings or (), out)
    with bar(silent=json or quiet) as progress, wanted.kept(anew=resume is Resume.never):
        first, *others = wanted.plans
        run = verb("train_together") if others else verb("train")
        what = wanted.plans if others else first
        made = run(
            what,
            wanted.out,
            resume=resume.value,
            preflight=preflight.value,
            lang=lang,
            progress=progress,
        )
    emit(made, json=json, quiet=quiet)


@app.command(name="eval")
def evaluate(
    target: Annotated[str, typer.Argument(metavar="RUN|ADAPTER|COMPOSITION")],
    data: Annotated[
        str | None, typer.Argument(metavar="[DATA]", help="Other rows than the run's own.")
    ] = None,
    *,
    out: Out = None,
    base: Base = "",
    head: Annotated[
        str, typer.Option("--head", help="Whose head a composition takes.", show_default=False)
    ] = "",
    lang: Lang = "en",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Report how good an adapter is, with intervals and against baselines."""
    named.require_adapters(target)
    named.require_rows(data)
    with bar(silent=json or quiet) as progress:
        report = tenon.eval(target, data, out, base=base, head=head, lang=lang, progress=progress)
    emit(report, json=json, quiet=quiet)
    if out is not None and not json and not quiet:
        print(f"report  {out / 'report.html'}")


@app.command()
def compare(
    targets: Annotated[
        list[str],
        typer.Argument(metavar="A B [C …]", help="Runs, adapters in runs, or folders of reports."),
    ],
    *,
    out: Out = None,
    lang: Lang = "en",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare systems on the same rows, every pair with its interval."""
    named.require_adapters(*(each for each in targets if not Path(each).exists()))
    with bar(silent=json or quiet) as progress:
        found = tenon.compare(*targets, out=out, lang=lang, progress=progress)
    emit(found, json=json, quiet=quiet)
    if out is not None and not json and not quiet:
        print(f"page  {out / 'compare.html'}")


def _plan(
    target: str,
    settings: list[str] | None,
    *,
    json: bool,
    quiet: bool,
    find_lr: bool = False,
    device: str = "",
) -> None:
    named.require_plan(target, settings or ())
    with bar(silent=json or quiet) as progress:
        preview = verb("plan")(
            target, settings or (), find_lr=find_lr, device=device, progress=progress
        )
    emit(preview, json=json, quiet=quiet)
