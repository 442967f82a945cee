"""Adapter: the commands that use an adapter, or make one of others."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import tenon
from tenon.commands import chosen, named
from tenon.commands.app import app, verb
from tenon.terminal.options import (
    Address,
    Base,
    Engine,
    Engines,
    Faulty,
    Json,
    Out,
    Quiet,
    Resume,
)
from tenon.terminal.output import bar, emit
from tenon.verbs.manner import refuse_idle

if TYPE_CHECKING:
    from tenon.verbs.predict import Answered


@app.command()
def compose(
    composition: Annotated[
        str, typer.Argument(metavar="COMPOSITION", help='"average(runs/a:0.7, runs/b:0.3)"')
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="key=value",
            help="name, method (linear, ties, dare), rank, density, seed, head",
            show_default=False,
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The adapter's folder.")],
    base: Base = "",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a composition of adapters as one adapter, or say why it cannot be one."""
    named.require_adapters(composition)
    with bar(silent=json or quiet) as progress:
        made = tenon.compose(composition, out, settings or (), base=base, progress=progress)
    emit(made, json=json, quiet=quiet)


@app.command()
def predict(
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER")],
    rows: Annotated[str, typer.Argument(metavar="ROWS", help="path[#member]; - for stdin")],
    *,
    out: Out = None,
    format: Annotated[
        str,
        typer.Option(
            "--format", help="jsonl, csv or parquet; else what --out ends in.", show_default=False
        ),
    ] = "",
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep",
            metavar="NAME,…|all",
            help="Columns of the rows that are carried along.",
            show_default=False,
        ),
    ] = None,
    faulty: Annotated[
        Faulty, typer.Option(help="stop at a row that cannot be asked, or keep its place.")
    ] = Faulty.stop,
    resume: Annotated[
        Resume, typer.Option(help="auto goes on where it stopped; never begins anew.")
    ] = Resume.auto,
    engine: Engines = Engine.local,
    address: Address = "",
    workers: Annotated[int, typer.Option(help="Of the cluster, at most; 0: all.")] = 0,
    portion: Annotated[
        int, typer.Option(help="Rows answered at once, at most lost by a kill; 0: by the task.")
    ] = 0,
    base: Base = "",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Answer the rows of a file, in their order; stopped, the same command goes on."""
    named.require_adapters(adapter)
    refuse_idle(out, format, resume.value, engine.value, address, workers, faulty.value, portion)
    named.require_rows(rows)
    with bar(silent=json or quiet) as progress:
        answered = tenon.predict(
            adapter,
            rows,
            out,
            base=base,
            format=format,
            keep=keep or (),
            faulty=faulty.value,
            resume=resume.value,
            engine=engine.value,
            address=address,
            workers=workers,
            portion=portion,
            progress=progress,
        )
    if out is not None:
        emit(answered, json=json, quiet=quiet)
    elif not quiet:
        _tell(answered)


def _tell(answered: Answered) -> None:
    from tenon.terminal.run import told

    for line in told(answered):
        print(f"tenon: {line}", file=sys.stderr)


@app.command()
def export(
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER")],
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Say what it can be written as; write nothing.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The folder to write.", show_default=False),
    ] = None,
    to: Annotated[
        str, typer.Option("--to", help="merged, lora, vllm, sglang, gguf, mlx, onnx, peft, or hub.")
    ] = "merged",
    base: Base = "",
    dtype: Annotated[
        str, typer.Option("--dtype", help="Number format of a merged model; auto: the base's.")
    ] = "auto",
    shard_size: Annotated[str, typer.Option(help="Largest file of a merged model.")] = "5GB",
    rank: Annotated[
        int, typer.Option("--rank", help="Cut a LoRA to it; 0: the least that loses nothing.")
    ] = 0,
    data: Annotated[
        str, typer.Option("--data", help="Rows on which int8 is measured.", show_default=False)
    ] = "",
    repo: Annotated[
        str, typer.Option("--repo", help="Of --to hub: owner/name.", show_default=False)
    ] = "",
    public: Annotated[
        bool, typer.Option("--public", help="Of --to hub: let anyone see it.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Of --to hub: in place of what is there.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write files that other tools read, verified by their scores before it says done."""
    own = {"dtype": dtype, "shard_size": shard_size, "rank": rank, "data": data}
    asked = chosen.Chosen(to, check, base, out, repo, public=public, replace=replace)
    call, given = asked.call(own)
    named.require_adapters(adapter)
    named.require_rows(data)
    with bar(silent=json or quiet) as progress:
        shown = {} if check else {"progress": progress}
        done = verb(call)(adapter, **given, **shown)
    emit(done, json=json, quiet=quiet)


@app.command(name="import")
def adopt(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Folder of an adapter.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The adapter directory to write.")],
    base: Annotated[
        str, typer.Option("--base", help="Its base, if not the one it names.", show_default=False)
    ] = "",
    name: Annotated[str, typer.Option("--name", help="What to call it.", show_default=False)] = "",
    labels: Annotated[
        str, typer.Option(help="Its labels, in the head's order: glad,sad.", show_default=False)
    ] = "",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take in an adapter of PEFT or AdapterHub."""
    named = [label.strip() for label in labels.split(",") if label.strip()]
    with bar(silent=json or quiet) as progress:
        imported = tenon.import_adapter(
            source, out, base=base, name=name, labels=named, progress=progress
        )
    emit(imported, json=json, quiet=quiet)
