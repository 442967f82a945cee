"""Override: one `key=value` argument, a TOML value or a bare string."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tenon.core.errors import Faults, PlanError

KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
BARE = re.compile(r"[^\s\"'\[\]{},=]+")
OPENERS = ('"', "'", "[", "{")


@dataclass(frozen=True)
class Override:
    """A setting given as an argument.

    Args:
        key: the setting's dotted name.
        value: the value as TOML reads it; the text itself where it is no TOML value.
        text: what stood behind the `=`.
    """

    key: str
    value: Any
    text: str

    @property
    def argument(self) -> str:
        """The argument as it was given."""
        return f"{self.key}={self.text}"

    @property
    def literal(self) -> str:
        """The value where text is wanted: what a TOML string says, or what stands there."""
        return self.value if isinstance(self.value, str) else self.text


def parse(arguments: Sequence[str]) -> tuple[Override, ...]:
    """Read `key=value` arguments.

    Raises:
        PlanError: an argument without `=`, with an odd key, given twice, or with a value that
            begins like a TOML string, list or table and is none. All such faults at once.
    """
    faults = Faults()
    found: dict[str, Override] = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals or not KEY.fullmatch(key):
            faults.add(f"argument {argument}", "is not key=value", "write train.epochs=5")
            continue
        if key in found:
            faults.add(f"argument {argument}", f"{key} is given twice", "give it once")
            continue
        value = _value(text)
        if isinstance(value, str) and value == text and text.startswith(OPENERS):
            faults.add(f"argument {argument}", "is not a TOML value", _mend(key, text))
        found[key] = Override(key, value, text)
    faults.raise_if_any(PlanError)
    return tuple(found.values())


def _mend(key: str, text: str) -> str:
    """Say how to write a value that begins like TOML: most often a shell took its quotes away."""
    words = [word.strip() for word in text[1:-1].split(",")]
    if not (text.startswith("[") and text.endswith("]") and all(map(BARE.fullmatch, words))):
        return "close its quotes and brackets"
    quoted = ", ".join(f'"{word}"' for word in words)
    return f"the shell takes quotes away: write '{key}=[{quoted}]'"


def _value(text: str) -> Any:
    try:
        read = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return read["value"] if set(read) == {"value"} else text


def merge(table: dict[str, Any], overrides: Sequence[Override]) -> dict[str, Any]:
    """Give `table` with each override put into its place; `table` stays as it is.

    Raises:
        PlanError: an override goes through a setting that is no table.
    """
    merged = _copy(table)
    faults = Faults()
    for override in overrides:
        *parents, last = override.key.split(".")
        place = merged
        for parent in parents:
            below = place.setdefault(parent, {})
            if not isinstance(below, dict):
                faults.add(f"argument {override.argument}", f"{parent} is a value, not a table")
                break
            place = below
        else:
            place[last] = override.value
    faults.raise_if_any(PlanError)
    return merged


def _copy(table: dict[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, dict) else value for key, value in table.items()}
