"""Steplog: `steps.jsonl`, one line for each step and each evaluation of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tenon.core.files import reading, write_text, writing

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


def read(run: Path) -> list[dict[str, Any]]:
    """Read the lines of a run; a torn last line, left by a kill, is no line."""
    path = run / NAME
    if not path.exists():
        return []
    with reading(path):
        text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in whole.splitlines()]


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"
