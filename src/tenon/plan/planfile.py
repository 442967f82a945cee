"""Plan file: a Plan written as a commented run.toml, which resolves to the same Plan."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

from tenon.adapters.kind import KINDS
from tenon.core.manual import Setting, manual
from tenon.core.settings import Settings
from tenon.data.parallel import each_path
from tenon.data.spec import HUB
from tenon.plan.plan import SOURCES, Plan
from tenon.plan.resolve import FLOORS, OTHERS, Top
from tenon.plan.task import of_other_tasks

SITES_MEANING = "where it sits: names of sites, or patterns of modules"
LAYERS_MEANING = 'the layers that it is kept to: "last:2", or their numbers; all where left out'
EXPLAINED = "A line such as `# epochs = 3` shows a default: remove the # to change it."
COMMENT_COLUMN = 44
HIGHEST_CLIMB = 3
_NONE = (None, False)


def written(plan: Plan, folder: Path, title: str) -> str:
    """Give the text of a run.toml.

    A setting that was left to its default stands there as a comment, so that
    the file shows all there is to set in the plan's task.

    Args:
        plan: what the file shall say.
        folder: where the file will lie; paths are written relative to it.
        title: the file's first line, without `#`.
    """
    values = {name: (value, origin != "default") for name, value, origin in plan.settings()}
    others, given = values[OTHERS]
    values[OTHERS] = ([near(each, folder) for each in others], given)
    hidden = {name for name in of_other_tasks(plan.data.task) if not values.get(name, _NONE)[1]}
    for name in ("base", *(f"data.{source}" for source in SOURCES)):
        value, given = values[name]
        if isinstance(value, str):
            values[name] = (near(value, folder), given)
    lines = [f"# {title}", f"# {EXPLAINED}"]
    lines += ["", *_table(Top, "", values, hidden)]
    for name, settings in FLOORS.items():
        lines += ["", f"[{name}]", *_table(settings, f"{name}.", values, hidden)]
        lines += _adapter(plan, values) if name == "data" else []
    return "\n".join(lines) + "\n"


def near(path: str, folder: Path) -> str:
    """Give absolute paths relative to `folder`, unless that climbs high; others as they are."""
    return each_path(path, lambda one: _near(one, folder))


def _near(path: str, folder: Path) -> str:
    if path.startswith(HUB) or not Path(path).is_absolute():
        return path
    relative = os.path.relpath(path, folder.absolute())
    climbs = Path(relative).parts.count("..")
    if climbs > HIGHEST_CLIMB:
        return path
    return relative


def _adapter(plan: Plan, values: dict[str, tuple[Any, bool]]) -> list[str]:
    adapter = plan.adapter
    kind = KINDS.get(adapter.kind)
    prefix = f"adapters.{adapter.name}."
    sites = Setting("sites", None, (), SITES_MEANING, required=False)
    layers = Setting("layers", None, (), LAYERS_MEANING, required=False)
    lines = ["", f"[adapters.{adapter.name}]", _line("kind", adapter.kind, kind.title, given=True)]
    for setting in (sites, layers, *manual(kind.settings)):
        value, given = values[prefix + setting.name]
        value = None if setting is layers and not given else value
        lines.append(_line(setting.name, value, setting.meaning, given=given))
    return lines


def _table(
    settings: type[Settings], prefix: str, values: dict[str, tuple[Any, bool]], hidden: Set[str]
) -> Iterator[str]:
    for setting in manual(settings):
        if prefix + setting.name in hidden:
            continue
        value, given = values.get(prefix + setting.name, _NONE)
        meaning = setting.meaning
        if setting.choices and setting.choices != ("true", "false"):
            meaning = f"{meaning.rstrip('.')}: {_choices(setting.choices)}"
        if value is None:
            value = "" if setting.required else setting.default
        yield _line(setting.name, value, meaning, given=given)


def _choices(choices: Sequence[str]) -> str:
    """List choices; those that are signs in quotation marks, and the empty one not at all."""
    named = (each if any(map(str.isalnum, each)) else toml(each) for each in choices if each)
    return ", ".join(named)


def _line(name: str, value: Any, meaning: str, *, given: bool) -> str:
    setting = name if value is None else f"{name} = {toml(value)}"
    setting = setting if given else f"# {setting}"
    comment = meaning.rstrip(".")
    return f"{setting:<{COMMENT_COLUMN}}  # {comment}" if comment else setting


def toml(value: Any) -> str:
    """Give a value in TOML."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml(each) for each in value)}]"
    if isinstance(value, dict):
        each = (f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items())
        return f"{{ {', '.join(each)} }}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10_000:
        return f"{value:_}"
    return json.dumps(value)
