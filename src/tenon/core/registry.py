"""Registry: versioned names to values, with entry points for third parties."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module, metadata
from typing import Generic, TypeVar, cast

from tenon.core.errors import PlanError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Names such as `lora.v1` and what they stand for.

    Args:
        noun: what is registered, in the singular, for messages ("kind").
        group: entry-point group from which installed packages add theirs (`tenon.kinds`).
        modules: modules that register the built-in entries; imported when one is first asked for.
    """

    def __init__(self, noun: str, group: str, modules: tuple[str, ...] = ()) -> None:
        self.noun = noun
        self.group = group
        self.modules = modules
        self._entries: dict[str, T] = {}
        self._loaded = False

    def add(self, name: str, value: T) -> T:
        """Register `value` under `name`.

        Raises:
            ValueError: the name is taken by another value.
        """
        if name in self._entries and self._entries[name] is not value:
            raise ValueError(f"{self.noun} {name} is registered twice")
        self._entries[name] = value
        return value

    def register(self, name: str) -> Callable[[T], T]:
        """Decorate a value to register it under `name`."""
        return lambda value: self.add(name, value)

    def get(self, name: str) -> T:
        """Give what `name` stands for.

        Raises:
            PlanError: no such name; the nearest one is offered.
        """
        self._load_entry_points()
        if name not in self._entries:
            raise PlanError(f"{name} is not a {self.noun}; {did_you_mean(name, self._entries)}")
        return self._entries[name]

    def names(self) -> list[str]:
        """Give all registered names, sorted."""
        self._load_entry_points()
        return sorted(self._entries)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        return iter((name, self._entries[name]) for name in self.names())

    def _load_entry_points(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for module in self.modules:
            import_module(module)
        for entry in metadata.entry_points(group=self.group):
            self.add(entry.name, cast(T, entry.load()))
