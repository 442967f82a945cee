"""Init: a data file becomes a commented run.toml."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tenon.core.errors import FileError
from tenon.core.files import write_text
from tenon.plan.starter import PLAN_FILE, Starter, starter


def init(source: str, out: Path | str = PLAN_FILE, arguments: Sequence[str] = ()) -> Starter:
    """Look at a data file, guess task and columns, and write a commented run.toml.

    Args:
        source: `path[#member]` of the labelled rows; in a container, its parts are found.
        out: the file to write; a folder gets a `run.toml`.
        arguments: `key=value` settings for it.

    Raises:
        FileError: `out` exists already. It is as it was.
        DataError: no text or label column can be told. Nothing is written.
    """
    path = Path(out)
    path = path / PLAN_FILE if path.is_dir() else path
    if path.exists():
        raise FileError(f"{path}: is there already; choose another --out, or remove it first")
    made = starter(source, path, arguments)
    write_text(path, made.text)
    return made
