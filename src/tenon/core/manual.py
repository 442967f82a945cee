"""Manual: what each setting means, its type and its default, read from where it is defined."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args, get_origin

from pydantic_core import PydanticUndefined

from tenon.core.settings import Settings

ENTRY = re.compile(r"^ {4}([a-z_]+(?:, [a-z_]+)*): (.*)$")
SECTION = re.compile(r"^[A-Z][a-z]+:$")


@dataclass(frozen=True)
class Setting:
    """One setting, as a reader wants to know it.

    Args:
        name: its dotted name.
        default: its value where it is left out; None where it must be given or is found out.
        choices: the values it may have, if they are few.
        meaning: one sentence.
        required: whether it must be given.
        by_preset: whether its default is another for each preset of its kind.
    """

    name: str
    default: Any
    choices: tuple[str, ...]
    meaning: str
    required: bool
    by_preset: bool = False


def manual(settings: type[Settings], prefix: str = "") -> Iterator[Setting]:
    """Yield the settings of a floor or kind, in the order in which they are defined."""
    meanings = _meanings(inspect.getdoc(settings) or "")
    for name, field in settings.model_fields.items():
        inner = settings_class(field.annotation)
        if inner:
            yield from manual(inner, f"{prefix}{name}.")
            continue
        default = field.get_default(call_default_factory=True, validated_data={})
        required = default is PydanticUndefined
        yield Setting(
            f"{prefix}{name}",
            None if required else default,
            _choices(field.annotation),
            meanings.get(name, ""),
            required,
        )


def _choices(annotation: object) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return tuple(str(choice) for choice in get_args(annotation))
    if annotation is bool:
        return ("true", "false")
    parts = [_choices(part) for part in get_args(annotation) if part is not type(None)]
    return sum(parts, ()) if all(parts) else ()


def _meanings(docstring: str) -> dict[str, str]:
    """Read the `Args:` section: name to sentence, its lines joined."""
    _, _, section = docstring.partition("Args:\n")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if SECTION.match(line):
            break
        entry = ENTRY.match(line)
        if entry:
            names = entry[1].split(", ")
            found |= dict.fromkeys(names, entry[2])
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def settings_class(annotation: object) -> type[Settings] | None:
    """Give the Settings class in an annotation such as `Columns | None`, if there is one."""
    for candidate in (annotation, *get_args(annotation)):
        plain = isinstance(candidate, type) and get_origin(candidate) is None
        if plain and issubclass(cast("type", candidate), Settings):
            return cast("type[Settings]", candidate)
    return None
