"""Command line: argv to a verb, its value to the terminal. Only here are words printed.

Flags say how to run; settings are `key=value` arguments. Nothing heavy is
imported before a command is known to be well-formed.

Exit codes: 0 done, 1 our fault (with a traceback), 2 the user can mend it
(with a message), 130 interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import tenon
from tenon.core.errors import TenonError
from tenon.terminal.options import Base, Given, Json, Out, Quiet, Resume, Target
from tenon.terminal.output import bar, emit
from tenon.terminal.place import short

if TYPE_CHECKING:
    from tenon.verbs.chat import Chat

USER, INTERRUPTED = 2, 130
REFUSED = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.EROFS, errno.ENOSPC)
"""What the operating system says of a path that the user can mend, wherever it is met."""

UNASKED = ("torchao", "bitsandbytes", "torch.utils._pytree")
"""Loggers that warn of kernels for other machines as soon as PEFT finds these packages."""

app = typer.Typer(
    name="tenon",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From a labelled file to a proven adapter, in one command: tenon train reviews.csv",
)


def _version(wanted: object) -> None:
    if wanted:
        print(f"tenon {tenon.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    del version


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
    with bar(silent=json or quiet) as progress:
        findings = tenon.check(target, settings or (), base=base, fix=fix, progress=progress)
    emit(findings, json=json, quiet=quiet)


@app.command()
def plan(
    target: Target, settings: Given = None, *, json: Json = False, quiet: Quiet = False
) -> None:
    """Show every setting and where it came from, and what would be trained."""
    _plan(target, settings, json=json, quiet=quiet)


@app.command()
def train(
    target: Target,
    settings: Given = None,
    *,
    out: Out = None,
    resume: Annotated[
        Resume, typer.Option(help="auto goes on where the run stopped; never starts anew.")
    ] = Resume.auto,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and stop before anything is written.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train an adapter, or go on with a run; ends with its report."""
    if dry_run:
        _plan(target, settings, json=json, quiet=quiet)
        return
    from tenon.verbs.target import order

    wanted = order(target, settings or (), out)
    with bar(silent=json or quiet) as progress, wanted.kept(anew=resume is Resume.never):
        first, *others = wanted.plans
        verb = _verb("train_together") if others else _verb("train")
        what = wanted.plans if others else first
        made = verb(what, wanted.out, resume=resume.value, progress=progress)
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
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Report how good an adapter is, with intervals and against baselines."""
    with bar(silent=json or quiet) as progress:
        report = tenon.eval(target, data, out, base=base, head=head, progress=progress)
    emit(report, json=json, quiet=quiet)
    if out is not None and not json and not quiet:
        print(f"report  {out / 'report.html'}")


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
    with bar(silent=json or quiet) as progress:
        made = tenon.compose(composition, out, settings or (), base=base, progress=progress)
    emit(made, json=json, quiet=quiet)


@app.command()
def predict(
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER")],
    rows: Annotated[str, typer.Argument(metavar="ROWS", help="path[#member]; - for stdin")],
    *,
    out: Out = None,
    base: Base = "",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Answer the rows of a file: JSONL to --out, or to standard output."""
    with bar(silent=json or quiet) as progress:
        answered = tenon.predict(adapter, rows, out, base=base, progress=progress)
    if out is not None:
        emit(answered, json=json, quiet=quiet)
    elif not quiet:
        from tenon.terminal.run import told

        for line in told(answered):
            print(f"tenon: {line}", file=sys.stderr)


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


@app.command()
def export(
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.")],
    to: Annotated[str, typer.Option("--to", help="merged, or peft.")] = "merged",
    base: Base = "",
    dtype: Annotated[
        str, typer.Option("--dtype", help="Number format of a merged model; auto: the base's.")
    ] = "auto",
    shard_size: Annotated[str, typer.Option(help="Largest file of a merged model.")] = "5GB",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write files that other tools read, verified by their scores before it says done."""
    with bar(silent=json or quiet) as progress:
        written = _verb("export")(
            adapter, out, to=to, base=base, dtype=dtype, shard_size=shard_size, progress=progress
        )
    emit(written, json=json, quiet=quiet)


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


@app.command()
def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT", help="kinds, settings, scorers; or a plan, run, adapter or report"
        ),
    ],
    *,
    json: Json = False,
) -> None:
    """Show anything that Tenon knows or wrote."""
    emit(tenon.show(what), json=json, quiet=False)


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


def _plan(target: str, settings: list[str] | None, *, json: bool, quiet: bool) -> None:
    with bar(silent=json or quiet) as progress:
        preview = _verb("plan")(target, settings or (), progress=progress)
    emit(preview, json=json, quiet=quiet)


def _verb(name: str) -> Any:
    """Give a verb that shares its name with a floor."""
    return getattr(tenon, name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; the exit code says how it ended.

    Args:
        arguments: those of the process unless given.
    """
    if not sys.warnoptions:
        # What libraries below us tell their developers is nothing that a user can act on.
        warnings.simplefilter("ignore", FutureWarning)
    for name in UNASKED:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        app(arguments)
    except TenonError as error:
        print(f"tenon: {short(str(error))}", file=sys.stderr)
        sys.exit(USER)
    except KeyboardInterrupt:
        sys.exit(_interrupted())
    except BrokenPipeError:
        # The reader of our output has gone; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in REFUSED or error.filename is None:
            raise
        what = f"{error.filename}: {error.strerror}; check the path, and who may use it"
        print(f"tenon: {short(what)}", file=sys.stderr)
        sys.exit(USER)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            _interrupted()
        raise


def _interrupted() -> int:
    print("tenon: interrupted; the same command goes on from here", file=sys.stderr)
    return INTERRUPTED
