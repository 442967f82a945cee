"""Options: the arguments and flags that several commands share.

Nothing heavy is imported here: it is read before a command is known to be well-formed.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Resume(StrEnum):
    """What happens where the run folder holds this run already."""

    auto = "auto"
    never = "never"


class Preflight(StrEnum):
    """What a check that fails before the first step does to a run."""

    stop = "stop"
    tell = "tell"
    off = "off"


class Engine(StrEnum):
    """Where work is done."""

    local = "local"
    ray = "ray"


class Faulty(StrEnum):
    """What a row that cannot be asked does to a file of rows."""

    stop = "stop"
    keep = "keep"


def complete(incomplete: str) -> list[str]:
    """Offer the settings that begin with what was typed."""
    from tenon.terminal.completion import settings

    return settings(incomplete)


Target = Annotated[str, typer.Argument(metavar="run.toml|DATA", show_default=False)]
Given = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="key=value",
        help="Settings, spelled as in run.toml: train.epochs=5",
        show_default=False,
        autocompletion=complete,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Lang = Annotated[str, typer.Option("--lang", help="Language of the page: en, or zh (中文).")]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Where to write.", show_default=False)
]
Base = Annotated[
    str, typer.Option("--base", help="Where the base is now, if elsewhere.", show_default=False)
]
Engines = Annotated[Engine, typer.Option("--engine", help="In this process, or on a cluster.")]
Address = Annotated[
    str, typer.Option("--address", help="Of the Ray cluster: auto, HOST:PORT; else one here.")
]
