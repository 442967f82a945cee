"""Steplog: `steps.jsonl`, one line for each step and each evaluation of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from tenon.core.errors import FileError
from tenon.core.files import flush, reading, write_text, writing

NAME = "steps.jsonl"


class StepLog:
    """Append lines to `steps.jsonl`; on resume, lines of the future are dropped first.

    Args:
        run: folder of the run.
        position: the next step; lines of this step and later ones are removed.
    """

    def __init__(self, run: Path, position: int) -> None:
        self.path = run / NAME
        kept = [line for line in read(run) if line["step"] < position]
        write_text(self.path, "".join(_line(entry) for entry in kept))

    def add(self, entry: dict[str, Any]) -> None:
        """Append one line; `entry` holds `step`."""
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(_line(entry))

    def flush(self) -> None:
        """Force the lines to the disk, so that a checkpoint never knows more than the log."""
        with writing(self.path):
            flush(self.path)


def read(run: Path) -> list[dict[str, Any]]:
    """Read the lines of a run; a torn last line, left by a kill, is no line.

    Raises:
        FileError: another line is damaged.
    """
    path = run / NAME
    if not path.exists():
        return []
    with reading(path):
        *whole, _ = path.read_bytes().split(b"\n")
    return [_entry(line, f"{path}:{number}") for number, line in enumerate(whole, 1)]


def _entry(line: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict) or "step" not in value:
        raise FileError(f"{where}: not a line of a step; start anew with --resume never")
    return cast("dict[str, Any]", value)


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"
