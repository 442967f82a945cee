"""App: the command line as a whole, to which each command adds itself."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.models import CommandInfo

import tenon

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


def command_name(command: CommandInfo) -> str:
    """Give the word that calls a command."""
    return command.name or getattr(command.callback, "__name__", "")


def verb(name: str) -> Any:
    """Give a verb that shares its name with a floor, which a type checker takes it for."""
    return getattr(tenon, name)
