"""Covering: the part of a test's cells that meets every value of every parameter.

A test over kinds and architectures that carries the marker `cells` is asked of such a part; with
`pytest --laws all` of every cell. Each test has a part of its own, so that all tests together meet
far more pairs than any one of them. A test or case with the marker `deep` is left out but there.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import pytest

from lawbook import part_of

CELLS, DEEP = "cells", "deep"
"""Names of the markers."""


def covering(cells: Sequence[Mapping[str, Any]], name: str, times: int = 1) -> list[int]:
    """Choose cells so that each value of each parameter is among them.

    The cell that meets most values that are still to be met is taken next; among equals `name`
    decides, so that another test of the same cells has others.

    Args:
        cells: value of each parameter, by the parameter's name.
        name: of the test.
        times: in how many cells each value is to be, as far as there are so many.

    Returns:
        Places in `cells`, rising.
    """
    values = [{(key, repr(value)) for key, value in cell.items()} for cell in cells]
    due = {each: min(times, sum(each in held for held in values)) for each in set().union(*values)}
    left = random.Random(name).sample(range(len(cells)), len(cells))
    chosen = []
    while any(due.values()):
        best = max(left, key=lambda place: sum(due[each] > 0 for each in values[place]))
        left.remove(best)
        chosen.append(best)
        due |= {each: max(due[each] - 1, 0) for each in values[best]}
    return sorted(chosen)


def choose(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, of the tests that carry the markers, the cells that this run does not ask.

    Nothing is left out where all laws are asked, or single tests by name.
    """
    if part_of(config) is None or any("::" in str(word) for word in config.args):
        return
    kept: list[pytest.Item] = []
    out: list[pytest.Item] = []
    for name, group in groupby(items, lambda item: item.nodeid.partition("[")[0]):
        cases = list(group)
        chosen = set(range(len(cases)))
        if told := cases[0].get_closest_marker(CELLS):
            chosen = set(covering([case.callspec.params for case in cases], name, **told.kwargs))
        for place, case in enumerate(cases):
            asked = place in chosen and not case.get_closest_marker(DEEP)
            (kept if asked else out).append(case)
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = kept
