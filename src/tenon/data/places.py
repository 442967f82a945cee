"""Places: where faults stand, and the order in which a reader meets them."""

from __future__ import annotations

from collections.abc import Iterable

from tenon.core.errors import Fault


def in_order(faults: Iterable[Fault]) -> list[Fault]:
    """Give faults by file, in the order in which files first occur, and by line within a file."""
    files: dict[str, int] = {}
    placed: list[tuple[int, int, Fault]] = []
    for fault in faults:
        file, line = split_place(fault.where)
        placed.append((files.setdefault(file, len(files)), line, fault))
    return [fault for _, _, fault in sorted(placed, key=lambda entry: entry[:2])]


def split_place(where: str) -> tuple[str, int]:
    """Split `file:line` in two; the line is 0 where `where` names a file as a whole."""
    file, _, line = where.rpartition(":")
    return (file, int(line)) if file and line.isdecimal() else (where, 0)
