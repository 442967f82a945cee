"""The part of a test's cells that is asked of: each value is in it, and it is always the same."""

from __future__ import annotations

from collections import Counter
from itertools import product
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covering import choose, covering

AXES = st.lists(st.integers(1, 7), min_size=1, max_size=3)
ITEM = "tests/a.py::test_b"


def cells(sizes) -> list[dict]:
    """Give all cells of a matrix, the values of each parameter being of another sort."""
    values = [[(axis, value) for value in range(size)] for axis, size in enumerate(sizes)]
    return [{str(axis): value for axis, value in enumerate(cell)} for cell in product(*values)]


@given(sizes=AXES, times=st.integers(1, 3), gap=st.integers(2, 9), name=st.text(max_size=4))
def test_every_value_is_met_as_often_as_it_can_be(sizes, times, gap, name):
    """In whole matrices, and in some in which cells are missing."""
    for matrix in (cells(sizes), cells(sizes)[::gap]):
        chosen = covering(matrix, name, times)
        assert chosen == sorted({*chosen}) == covering(matrix, name, times)
        found, there = (
            Counter(pair for cell in of for pair in cell.items())
            for of in ([matrix[place] for place in chosen], matrix)
        )
        assert all(found[pair] >= min(times, count) for pair, count in there.items())
        assert len(chosen) <= times * len(there)


def test_as_few_as_the_longest_parameter_has_values():
    assert len(covering(cells([12, 5]), "any")) == 12
    assert len(covering(cells([3, 5, 2]), "any")) == 5


def test_another_test_meets_other_pairs():
    parts = [tuple(covering(cells([12, 5]), f"test {n}")) for n in range(20)]
    assert len({*parts}) == 20
    assert len({place for part in parts for place in part}) > 55


def item(nodeid: str, *markers: str, **params) -> SimpleNamespace:
    """Give what is read of an item of pytest."""
    spec, held = SimpleNamespace(params=params), {m: getattr(pytest.mark, m).mark for m in markers}
    return SimpleNamespace(nodeid=nodeid, callspec=spec, get_closest_marker=held.get)


def asked(laws: str, *words: str) -> tuple[list[str], list[str]]:
    """Give the names of the cases that are kept and left out by a run of such words."""
    out: list[SimpleNamespace] = []
    hook = SimpleNamespace(pytest_deselected=lambda items: out.extend(items))
    config = SimpleNamespace(getoption=lambda _: laws, args=words, hook=hook)
    items = [item(f"{ITEM}[{c['0']}-{c['1']}]", "cells", **c) for c in cells([4, 3])]
    items += [item("tests/a.py::test_c[1]", n=1), item("tests/a.py::test_c[2]", "deep", n=2)]
    choose(config, items)
    return [each.nodeid for each in items], [each.nodeid for each in out]


def test_a_run_leaves_out_cells_and_what_is_deep_and_tells_them():
    kept, out = asked("part", "tests")
    assert [name for name in kept if "test_c" in name] == ["tests/a.py::test_c[1]"]
    assert len(kept) == 4 + 1
    assert out.pop() == "tests/a.py::test_c[2]"
    assert len(out) == 8 and all(name.startswith(ITEM) for name in out)


@pytest.mark.parametrize(("laws", "words"), [("all", ["tests"]), ("part", [f"{ITEM}[x]"])])
def test_nothing_is_left_out_where_all_is_wanted_or_a_test_is_named(laws, words):
    kept, out = asked(laws, *words)
    assert len(kept) == 14 and not out
