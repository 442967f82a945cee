"""Label names: of names that are equal but for case and blanks, the one that most rows have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import cast


def usual_names(counts: Mapping[str, int]) -> dict[str, str]:
    """Give the names that are to be written otherwise, each with what it becomes.

    Args:
        counts: name to how often it stands, outer blanks included.
    """
    groups: dict[str, Counter[str]] = {}
    for name, count in counts.items():
        bare = " ".join(name.split())
        if bare:
            groups.setdefault(bare.casefold(), Counter())[bare] += count
    best = {key: max(group, key=lambda name: (group[name], name)) for key, group in groups.items()}
    renamed = {name: best.get(" ".join(name.split()).casefold(), name) for name in counts}
    return {name: usual for name, usual in renamed.items() if name != usual}


def names_in(value: object) -> Iterable[str]:
    """Give the names that a label column holds: one, or a list of them."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list):
        return [item for item in cast("list[object]", value) if isinstance(item, str)]
    return ()


def renamed(value: object, usual: Mapping[str, str]) -> object:
    """Give what a label column holds with its names as most rows have them."""
    if isinstance(value, str):
        return usual.get(value, value)
    if isinstance(value, list):
        items = cast("list[object]", value)
        return [usual.get(item, item) if isinstance(item, str) else item for item in items]
    return value
