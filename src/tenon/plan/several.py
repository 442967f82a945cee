"""Several: a plan file with several adapters, as a plan for each.

Each adapter's table may hold tables of its own: `[adapters.mood.data]`, and likewise `text`,
`train` and `evaluate`. What they leave out is as the file's own tables of these names say. So
each adapter's plan is what it would be in a file of its own, and so are its run and its digest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from tenon.core.errors import Faults, PlanError
from tenon.core.files import reading
from tenon.plan import override
from tenon.plan.plan import Plan
from tenon.plan.resolve import parse_toml, resolve_table

OWN = ("data", "text", "train", "evaluate")
Table = dict[str, Any]


def resolve_several(path: Path, arguments: Sequence[str] = ()) -> tuple[Plan, ...]:
    """Read a plan file; give a plan for each of its adapters, in their order.

    Args:
        path: run.toml.
        arguments: `key=value` overrides; `train.epochs=5` is for all adapters that do not say
            otherwise in a table of their own, `adapters.mood.train.epochs=5` for one.

    Raises:
        FileError: the file is absent or unreadable.
        PlanError: everything that is wrong with its settings, one fault a line.
    """
    with reading(path):
        content = path.read_bytes()
    table = parse_toml(content, str(path))
    if not holds_several(table):
        return (resolve_table(table, path, arguments),)
    adapters = cast("dict[str, Table]", table["adapters"])
    _refuse_idle(adapters, arguments, path.name)
    faults, plans = Faults(), list[Plan]()
    for name in adapters:
        own, given = of_adapter(table, name), arguments_of(adapters, name, arguments)
        try:
            plans.append(resolve_table(own, path, given))
        except PlanError as error:
            for line in str(error).splitlines():
                faults.add(f"adapter {name}", line)
    if len(adapters) > 1 and any(plan.model.compile is True for plan in plans):
        what = "model.compile = true has no effect on adapters that are trained side by side"
        faults.add(path.name, what, "remove it, or train them one by one")
    faults.raise_if_any(PlanError)
    return tuple(plans)


def holds_several(table: Mapping[str, Any]) -> bool:
    """Whether a plan file has several adapters, or one with tables of its own."""
    adapters = table.get("adapters")
    if not isinstance(adapters, dict):
        return False
    tables = [own for own in cast("dict[str, object]", adapters).values() if isinstance(own, dict)]
    nested = any(isinstance(cast(Table, own).get(name), dict) for own in tables for name in OWN)
    return len(tables) == len(cast("dict[str, object]", adapters)) and (len(tables) > 1 or nested)


def of_adapter(table: Mapping[str, Any], name: str) -> Table:
    """Give the content of the plan file that an adapter would have for itself."""
    own = cast(Table, table["adapters"][name])
    kept = {key: value for key, value in own.items() if not _is_own_table(key, value)}
    tables = {key: _merged(table.get(key, {}), own.get(key, {})) for key in OWN}
    shared = {key: value for key, value in table.items() if key not in (*OWN, "adapters")}
    return {
        **shared,
        **{key: value for key, value in tables.items() if value or key in table},
        "adapters": {name: kept},
    }


def arguments_of(
    adapters: Mapping[str, Table], name: str, arguments: Sequence[str]
) -> tuple[str, ...]:
    """Give the overrides that an adapter's own plan file would get."""
    found: list[str] = []
    for each in override.parse(arguments):
        first, *rest = each.key.split(".")
        if first != "adapters" or len(rest) < 2:  # noqa: PLR2004 - a name, and what is set of it
            if not _says(adapters[name], each.key):
                found.append(each.argument)
        elif rest[0] == name:
            inner = len(rest) > 2 and rest[1] in OWN  # noqa: PLR2004 - a table, and what is in it
            found.append(f"{'.'.join(rest[1:])}={each.text}" if inner else each.argument)
    return tuple(found)


def _refuse_idle(adapters: Mapping[str, Table], arguments: Sequence[str], where: str) -> None:
    """Refuse an override that reaches no adapter.

    Raises:
        PlanError: all such, at once.
    """
    faults = Faults()
    for each in override.parse(arguments):
        parts = each.key.split(".")
        if parts[0] == "adapters" and len(parts) > 1 and parts[1] not in adapters:
            known = ", ".join(adapters)
            faults.add(
                where, f"adapters.{parts[1]} is not an adapter of the file", f"it has {known}"
            )
        elif parts[0] != "adapters" and all(_says(own, each.key) for own in adapters.values()):
            what = f"{each.argument} has no effect: each adapter has its own"
            faults.add(where, what, f"write adapters.NAME.{each.key}=…")
    faults.raise_if_any(PlanError)


def _says(own: Mapping[str, Any], key: str) -> bool:
    """Whether an adapter's own tables set what a dotted name means."""
    here: Any = own
    for part in key.split("."):
        if not isinstance(here, dict) or part not in here:
            return False
        here = cast(Table, here)[part]
    return key.split(".")[0] in OWN


def _is_own_table(key: str, value: object) -> bool:
    return key in OWN and isinstance(value, dict)


def _merged(shared: object, own: object) -> Any:
    """Give a table with another's entries in place of its own, level by level."""
    if not isinstance(shared, dict) or not isinstance(own, dict):
        return own
    below, above = cast(Table, shared), cast(Table, own)
    return {
        **below,
        **{k: _merged(below[k], v) if isinstance(v, dict) and k in below else v
           for k, v in above.items()},
    }  # fmt: skip
