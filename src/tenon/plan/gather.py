"""Gather: what the adapters of a plan file name outside of it, read into their tables."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

from tenon.adapters.kind import KINDS
from tenon.core.errors import PlanError
from tenon.plan.table import Told


def gathered(tables: object, folder: Path, place: Any, told: Told) -> object:
    """Give the adapters' tables with all that their kinds need from elsewhere.

    Args:
        tables: the plan file's `adapters`, of whatever form.
        folder: of the plan file, from which its relative paths are meant; those of an argument
            are meant from the working folder.
        place: gives a path absolute, from a path and a folder.
        told: where faults are told.
    """
    if not isinstance(tables, dict):
        return tables
    found: dict[str, object] = {}
    for name, own in cast("dict[str, object]", tables).items():
        here = f"adapters.{name}"
        start = Path.cwd() if f"{here}.parts" in told.overrides else folder
        found[name] = _one(here, own, partial(place, folder=start), told)
    return found


def _one(where: str, own: object, place: Any, told: Told) -> object:
    kind = cast("Mapping[str, Any]", own).get("kind") if isinstance(own, dict) else None
    compound = KINDS.get(kind).compound if kind in KINDS.names() else None
    if compound is None:
        return own
    try:
        return compound.gather(cast("dict[str, Any]", own), place)
    except PlanError as error:
        for line in str(error).splitlines():
            told.faults.add(told.where(where), f"{where}.{line}")
    return own
