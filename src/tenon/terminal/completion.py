"""Completion: the settings that a shell offers for `key=value`."""

from __future__ import annotations

from tenon.core.manual import manual
from tenon.plan.resolve import FLOORS, Top


def settings(incomplete: str) -> list[str]:
    """Give the arguments that begin with `incomplete`: names, and after `=` the choices."""
    found: list[str] = []
    floors = {"": Top, **{f"{name}.": floor for name, floor in FLOORS.items()}}
    for prefix, floor in floors.items():
        for setting in manual(floor, prefix):
            found.append(f"{setting.name}=")
            if f"{setting.name}=" in incomplete:
                found += [f"{setting.name}={choice}" for choice in setting.choices]
    return [argument for argument in found if argument.startswith(incomplete)]
