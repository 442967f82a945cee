"""Ahead: items of which the next can be made before it is asked for, while a device computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Ahead(Generic[Item]):
    """An iterator that can be told to make its next item.

    Args:
        items: what it gives; each is made once, in order.
    """

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self._made: deque[Item] = deque()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        return self._made.popleft() if self._made else next(self._items)

    def make(self) -> None:
        """Make the next item, if there is one and it has not been made."""
        if not self._made:
            self._made.extend([each for _, each in zip(range(1), self._items, strict=False)])
