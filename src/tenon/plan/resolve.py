"""Resolve: run.toml and `key=value` arguments become a Plan."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from pydantic import Field

from tenon.adapters.kind import KINDS, settle
from tenon.adapters.settings import AdapterSettings
from tenon.core.errors import Faults, PlanError, did_you_mean
from tenon.core.files import reading
from tenon.core.manual import manual
from tenon.core.settings import Settings
from tenon.data.parallel import each_path
from tenon.data.settings import DataSettings
from tenon.data.spec import HUB, JOINT
from tenon.evaluate.settings import EvaluateSettings
from tenon.model.settings import ModelSettings
from tenon.plan import override, table
from tenon.plan.effect import tell_idle
from tenon.plan.gather import gathered
from tenon.plan.override import Override
from tenon.plan.plan import SOURCES, Origin, Plan, Seeds
from tenon.plan.table import Told
from tenon.plan.task import by_task
from tenon.text.settings import TextSettings
from tenon.train.settings import TrainSettings

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
PATH_FORMS = (".", "~", "/")
OTHERS = "evaluate.forgetting"
SOURCE_KEYS = tuple(f"data.{name}" for name in SOURCES)

FLOORS: Mapping[str, type[Settings]] = {
    "data": DataSettings,
    "text": TextSettings,
    "model": ModelSettings,
    "train": TrainSettings,
    "evaluate": EvaluateSettings,
}


class Top(Settings):
    """The settings that stand above all tables.

    Args:
        base: the pretrained model: a folder, an installed package, or a hub id.
        seed: from which every random choice follows.
        seeds: how many runs are trained, with the seeds from `seed` on, or a list of their seeds;
            order, dropout and first weights are of each run's own seed, the split and all else
            that is drawn of `seed`. Several runs end in one report.
    """

    base: str = Field(min_length=1)
    seed: int = Field(default=0, ge=0, lt=2**63)
    seeds: Seeds = 1


TOP_NAMES = (*Top.model_fields, "adapters", *FLOORS)


def resolve(path: Path, arguments: Sequence[str] = ()) -> Plan:
    """Read a plan file.

    Args:
        path: run.toml; relative paths in it are relative to its folder.
        arguments: `key=value` overrides; relative paths in them are relative to the working
            folder, as a shell completes them.

    Raises:
        FileError: the file is absent or unreadable.
        PlanError: everything that is wrong with its settings, one fault a line.
    """
    with reading(path):
        content = path.read_bytes()
    return resolve_table(parse_toml(content, str(path)), path, arguments)


def parse_toml(content: bytes, name: str) -> dict[str, Any]:
    """Read TOML.

    Raises:
        PlanError: it is not UTF-8, or not TOML; the message has the line.
    """
    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise PlanError(
            f"{name}:{line}: byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from error
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"^(.*) \(at line (\d+),", str(error))
        what = found[1] if found else str(error).partition(" (at end")[0]
        line = int(found[2]) if found else content.rstrip().count(b"\n") + 1
        raise PlanError(
            f'{name}:{line}: is not TOML ({what}); texts need quotes: key = "value"'
        ) from error


def resolve_table(given: Mapping[str, Any], path: Path, arguments: Sequence[str] = ()) -> Plan:
    """Resolve what a plan file holds.

    Args:
        given: the file's content.
        path: where it lies, or would lie.
        arguments: `key=value` overrides.

    Raises:
        PlanError: everything that is wrong, one fault a line.
    """
    overrides = {each.key: _from_here(each) for each in override.parse(arguments)}
    merged = override.merge(dict(given), tuple(overrides.values()))
    told = Told(path.name, overrides, Faults(), known_names(merged.get("adapters")))
    table.unknown_names(merged, TOP_NAMES, told)
    top = table.read(Top, {k: v for k, v in merged.items() if k in Top.model_fields}, "", told)
    floors = {
        name: table.read(settings, merged.get(name, {}), name, told)
        for name, settings in FLOORS.items()
    }
    before = told.faults.count
    tables = gathered(merged.get("adapters"), path.parent, place, told)
    unread = told.faults.count > before
    adapter = None if unread else _adapter(tables, given.get("adapters"), told)
    told.faults.raise_if_any(PlanError)
    if top is None or adapter is None:
        raise AssertionError("a fault was not told")
    plan = _placed(Plan(**dict(top), adapters=(adapter,), **floors), path.parent)  # pyright: ignore[reportArgumentType]
    plan = plan.model_copy(update={"origins": _origins(plan, merged, overrides)})
    plan = by_task(plan)
    tell_idle(plan, {name for name, origin in plan.origins.items() if origin != "default"}, told)
    told.faults.raise_if_any(PlanError)
    return plan


def known_names(adapters: object = None) -> tuple[str, ...]:
    """Give the dotted names of all settings and tables.

    Args:
        adapters: the tables of that name; without a name there, settings are those of NAME.
    """
    name, kinds = "NAME", KINDS.names()
    if isinstance(adapters, dict) and adapters:
        name, own = next(iter(cast(dict[str, object], adapters).items()))
        kind = cast(dict[str, object], own).get("kind") if isinstance(own, dict) else None
        kinds = [str(kind)] if kind in kinds else kinds
    own = [field for kind in kinds for field in KINDS.get(kind).settings.model_fields]
    return (
        *TOP_NAMES,
        *(f"{floor}.{field}" for floor, owner in FLOORS.items() for field in owner.model_fields),
        *(setting.name for setting in manual(DataSettings, "data.")),
        *(f"adapters.{name}.{field}" for field in dict.fromkeys(("kind", "sites", "layers", *own))),
    )


def _adapter(tables: object, in_file: object, told: Told) -> AdapterSettings | None:
    if tables is not None and not isinstance(tables, dict):
        what = f"= {table.shown(tables)} is not a table"
        told.add("adapters", what, 'write [adapters.NAME] with kind = "lora.v1"')
        return None
    if not tables:
        told.add("adapters", "is missing", 'add [adapters.NAME] with kind = "lora.v1"')
        return None
    known = list(in_file) if isinstance(in_file, dict) else []
    strangers = [name for name in tables if known and name not in known]
    if strangers:
        stranger = f"adapters.{strangers[0]}"
        told.add(stranger, "is not an adapter of the file", did_you_mean(strangers[0], known))
        return None
    if len(tables) > 1:
        told.add("adapters", f"has {len(tables)} tables ({', '.join(tables)})", "give exactly one")
        return None
    (name, settings), *_ = tables.items()
    return _settled(name, settings, told)


def _settled(name: str, settings: object, told: Told) -> AdapterSettings | None:
    if not isinstance(settings, dict):
        told.add(f"adapters.{name}", "is not a table", f"write [adapters.{name}]")
        return None
    if not NAME.fullmatch(name):
        told.add(f"adapters.{name}", "is no name", "use letters, digits, _ and -, at most 64")
        return None
    prefix = f"adapters.{name}"
    literal = _literal(settings, prefix, told)
    faulty = _faulty_values(literal, prefix, told)
    try:
        settled = settle(name, {key: literal[key] for key in literal if key not in faulty})
    except PlanError as error:
        for line in str(error).splitlines():
            dotted = line.split(" ", 1)[0].rstrip(":")
            line = line if dotted.startswith("adapters") else f"{prefix}.kind: {line}"
            told.faults.add(told.where(line.split(" ", 1)[0].rstrip(":")), line)
        return None
    sites = literal.get("sites", [])
    if len(set(sites)) < len(sites):
        told.add(f"{prefix}.sites", f"= {table.shown(sites)} names a site twice", "name it once")
    return None if faulty else settled


def _faulty_values(literal: Mapping[str, Any], prefix: str, told: Told) -> Collection[str]:
    """Tell what is wrong with the values of a kind's own settings; give their names if anything is.

    They are told here in the form of all other settings, and are then not told by the kind again.
    """
    if literal.get("kind") not in KINDS.names():
        return ()
    settings = KINDS.get(literal["kind"]).settings
    known = {key: value for key, value in literal.items() if key in settings.model_fields}
    return () if table.read(settings, known, prefix, told) else tuple(known)


def _literal(settings: dict[str, Any], prefix: str, told: Told) -> dict[str, Any]:
    kind = settings.get("kind")
    if kind not in KINDS.names():
        return settings
    return table.with_bare_texts(KINDS.get(kind).settings, settings, prefix, told.overrides)


def _placed(plan: Plan, folder: Path) -> Plan:
    """Make the plan's paths absolute."""
    absolute = Path(os.path.normpath(folder.absolute()))
    data = {
        name: place(value, absolute)
        for name in SOURCES
        if isinstance(value := getattr(plan.data, name), str) and value
    }
    base = plan.base
    if _is_path(base, absolute):
        base = place(base, absolute)
    others = tuple(place(each, absolute) for each in plan.evaluate.forgetting)
    changes = {
        "data": plan.data.model_copy(update=data),
        "evaluate": plan.evaluate.model_copy(update={"forgetting": others}),
        "base": base,
        "folder": str(absolute),
    }
    return plan.model_copy(update=changes)


def _from_here(given: Override) -> Override:
    """Read an argument's path from the working folder."""
    here, value = Path.cwd(), given.value
    if given.key == OTHERS and isinstance(value, list):
        texts = [each for each in cast("list[object]", value) if isinstance(each, str)]
        return replace(given, value=[place(each, here) for each in texts])
    if not isinstance(value, str) or not value:
        return given
    if given.key in SOURCE_KEYS or (given.key == "base" and _is_path(value, here)):
        return replace(given, value=place(value, here))
    return given


def _is_path(base: str, folder: Path) -> bool:
    return base.startswith(PATH_FORMS) or (folder / base).is_dir()


def place(source: str, folder: Path) -> str:
    """Give a source or path as an absolute one: relative ones are meant from `folder`."""
    if source.startswith(HUB):
        return source
    whole = folder / Path(source).expanduser()
    if whole.exists():
        return os.path.normpath(whole)
    if JOINT in source:
        return each_path(source, lambda path: _absolute(path, folder), folder)
    return _absolute(source, folder)


def _absolute(source: str, folder: Path) -> str:
    path, mark, member = source.partition("#")
    return os.path.normpath(folder / Path(path).expanduser()) + mark + member


def _origins(
    plan: Plan, merged: Mapping[str, Any], overrides: Mapping[str, Override]
) -> dict[str, Origin]:
    return {name: _origin(name, merged, overrides) for name, _, _ in plan.settings()}


def _origin(name: str, merged: Mapping[str, Any], overrides: Mapping[str, Override]) -> Origin:
    here: Any = merged
    parts = name.split(".")
    for length, part in enumerate(parts, 1):
        if ".".join(parts[:length]) in overrides:
            return "override"
        if not isinstance(here, dict) or part not in here:
            return "default"
        here = here[part]
    return "file"
