"""Table: one table of run.toml, read as one floor's settings with every fault told."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tenon.core.errors import Faults, nearest
from tenon.core.manual import settings_class
from tenon.core.settings import Settings
from tenon.plan.override import Override

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class Told:
    """Where faults are told, and in whose name.

    Args:
        file: name of the plan file.
        overrides: dotted name to the argument that set it.
        faults: where they are collected.
        known: dotted names of all settings and tables.
    """

    file: str
    overrides: Mapping[str, Override]
    faults: Faults
    known: Sequence[str] = ()

    def where(self, dotted: str) -> str:
        """Say who set `dotted`: the file, or an argument."""
        parts = dotted.split(".")
        for length in range(len(parts), 0, -1):
            override = self.overrides.get(".".join(parts[:length]))
            if override:
                return f"argument {override.argument}"
        inside = [each for key, each in self.overrides.items() if key.startswith(f"{dotted}.")]
        return f"argument {inside[0].argument}" if inside else self.file

    def add(self, dotted: str, what: str, remedy: str = "") -> None:
        """Record that something about the setting `dotted` is wrong."""
        self.faults.add(self.where(dotted), f"{dotted} {what}", remedy)


def read(settings: type[S], table: object, prefix: str, told: Told) -> S | None:
    """Read a table as `settings`; None where something is wrong, which is then in `told`.

    Types are strict: a number in quotes is text, and `true` is not 1.
    """
    if not isinstance(table, dict):
        told.add(prefix, f"= {shown(table)} is not a table", f"write [{prefix}]")
        return None
    values = with_bare_texts(settings, table, prefix, told.overrides)
    try:
        return _validated(settings, values)
    except ValidationError as error:
        for place, faults in _by_place(error, values).items():
            _tell(prefix, place, faults, told)
        return None


def _validated(settings: type[S], table: dict[str, Any]) -> S:
    # JSON mode: strict about types, and yet a TOML list may become a tuple.
    return settings.model_validate_json(json.dumps(table, default=_foreign), strict=True)


def _foreign(value: object) -> object:
    # A TOML date or time is no setting's type; a list in its place is refused by every field.
    return [str(value)]


def with_bare_texts(
    settings: type[Settings], table: dict[str, Any], prefix: str, overrides: Mapping[str, Override]
) -> dict[str, Any]:
    """Take an argument literally where text is wanted: `data.columns.text=0` names a column."""
    values = dict(table)
    for name, value in table.items():
        dotted = f"{prefix}.{name}".lstrip(".")
        wanted = settings.model_fields[name].annotation if name in settings.model_fields else None
        inner = settings_class(wanted)
        if inner and isinstance(value, dict):
            values[name] = with_bare_texts(inner, value, dotted, overrides)
        elif wanted is str and dotted in overrides and not isinstance(value, str):
            values[name] = overrides[dotted].text
    return values


def _by_place(
    error: ValidationError, table: dict[str, Any]
) -> dict[tuple[str, ...], list[ErrorDetails]]:
    """Give the faults of each place in the table: one, or one for each alternative of a union."""
    found: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for fault in error.errors(include_url=False):
        missing = fault["type"] in ("missing", "extra_forbidden")
        place = tuple(str(part) for part in fault["loc"]) if missing else _place(fault, table)
        found.setdefault(place, []).append(fault)
    return found


def _place(fault: ErrorDetails, table: dict[str, Any]) -> tuple[str, ...]:
    place: list[str] = []
    here: Any = table
    for part in fault["loc"]:
        if not isinstance(here, dict) or part not in here:
            break
        place.append(str(part))
        here = here[part]
    return tuple(place)


def _tell(prefix: str, place: tuple[str, ...], faults: list[ErrorDetails], told: Told) -> None:
    fault = faults[0]
    dotted = ".".join((prefix, *place)) if prefix else ".".join(place)
    if fault["type"] == "extra_forbidden":
        told.add(dotted, "is not a setting", suggestion(dotted, told.known))
    elif fault["type"] == "missing":
        table = dotted.rpartition(".")[0]
        above = f'write it above the first table: {dotted} = "..."'
        told.add(dotted, "is missing", f"add it to [{table}]" if table else above)
    elif fault["type"] == "value_error":
        what = fault["msg"].removeprefix("Value error, ")
        told.faults.add(told.where(dotted), f"{dotted}: {what}")
    else:
        told.add(dotted, *_wrong_value(faults))


def _wrong_value(faults: Sequence[ErrorDetails]) -> tuple[str, str]:
    """Say what is wrong with a value, and what to do.

    Args:
        faults: pydantic's, of one value; several where it may be of several types and is of none.
    """
    fault = faults[0]
    what = f"= {shown(fault['input'])}"
    if len(faults) > 1:
        wanted = [each["msg"].removeprefix("Input should be ") for each in faults]
        return what, f"it should be {' or '.join(dict.fromkeys(wanted))}"
    if fault["type"] == "literal_error":
        choices = fault.get("ctx", {}).get("expected", "").replace("'", "").replace(" or ", ", ")
        near = nearest(str(fault["input"]), choices.split(", "))
        remedy = f"did you mean {near[0]}?" if near else f"choose one of {choices}"
        return f"{what} is not one of {choices}" if near else f"{what} is not known", remedy
    if fault["type"] == "string_too_short":
        return f"{what} is empty", "give one"
    return what, fault["msg"].replace("Input should be", "it should be")


def shown(value: object) -> str:
    """Give a value as one would write it in run.toml, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def unknown_names(table: Mapping[str, Any], known: Collection[str], told: Told) -> None:
    """Tell each top-level name that is not in `known`; of a table, each setting in it."""
    for name, value in table.items():
        if name in known:
            continue
        for dotted in _leaves(name, value):
            told.add(dotted, "is not a setting", suggestion(dotted, told.known))


def _leaves(dotted: str, value: object) -> Iterator[str]:
    if not isinstance(value, dict) or not value:
        yield dotted
        return
    for name, inner in cast(dict[str, object], value).items():
        yield from _leaves(f"{dotted}.{name}", inner)


def suggestion(dotted: str, known: Sequence[str]) -> str:
    """Give "did you mean train.epochs?" for a name that is no setting, or what its table has.

    What has the very same last part stands before what is spelled like it, and the same table, or
    the one with the nearest name, before the others.
    """
    table, _, last = dotted.rpartition(".")
    homes: dict[str, list[str]] = {}
    for name in known:
        owner, _, leaf = name.rpartition(".")
        homes.setdefault(leaf, []).append(owner)
    owners = {owner for owners in homes.values() for owner in owners}
    meant = table if table in owners else "".join(nearest(table, owners - {""}))
    here = [leaf for leaf, places in homes.items() if meant in places]
    anywhere = list(homes)
    for leaf in ([last] if last in homes else [], nearest(last, here), nearest(last, anywhere)):
        if leaf:
            places = homes[leaf[0]]
            owner = meant if meant in places else places[0]
            return f"did you mean {f'{owner}.' if owner else ''}{leaf[0]}?"
    return f"known here: {', '.join(sorted(here or anywhere))}"
