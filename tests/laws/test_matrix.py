"""The law matrix: every kind and preset on every family, asked for all that holds of it alone.

A run of the tests tries one part of it, `make laws` all of it; docs/laws.md is its result.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace

import pytest

from cell import QUESTIONS, ask
from families import NAMES
from grounds import grounds
from kinds import INITS
from lawbook import PARTS, PROPERTY, Lawbook, part_of, write
from matrix import BROKEN, LAWS, NONE, REFUSALS, REFUSED, SHARING, TABLES, Cell, cells, expected
from tenon.adapters.kind import KINDS

pytestmark = [
    # PEFT says so of T5's embeddings; nothing is merged into a tied head here
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning"),
    # PeftModel.from_pretrained has the same complaints as `wrap`, which keeps them quiet
    pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning"),
    pytest.mark.filterwarnings("ignore:Specified to not (save|load):UserWarning"),
    pytest.mark.filterwarnings("ignore:Detected that the base layer has no bias:UserWarning"),
]


def pytest_generate_tests(metafunc):
    if "cell" in metafunc.fixturenames:
        metafunc.parametrize("cell", cells(part_of(metafunc.config)), ids=str)


@pytest.fixture(scope="module")
def ground_of(tmp_path_factory):
    return grounds(tmp_path_factory.mktemp("grounds"))


def test_a_cell_keeps_every_law_or_says_why_not(cell, ground_of, tmp_path, record_property):
    found = ask(cell, ground_of(cell.family), tmp_path)
    record_property(PROPERTY, {"kind": cell.row, "family": cell.family, "found": found})
    assert not {law: why for law, (mark, why) in found.items() if mark == BROKEN}
    refused = {law: why for law, (mark, why) in found.items() if mark == REFUSED}
    due = expected(cell)
    assert list(found) == (["put on"] if "put on" in due else list(LAWS))
    assert refused.keys() == due.keys(), refused
    assert all(re.search(due[law].why(cell), why) for law, why in refused.items()), refused
    assert all(why for mark, why in found.values() if mark in (REFUSED, NONE))


def test_the_parts_are_the_matrix_and_each_meets_every_row_and_column():
    parts = [cells(part) for part in range(PARTS)]
    assert Counter(cell for part in parts for cell in part) == Counter(cells())
    assert len(cells()) == len(TABLES) * len(NAMES) == len({str(cell) for cell in cells()})
    for part in parts:
        assert {cell.row for cell in part} == set(TABLES)
        assert {cell.family for cell in part} == set(NAMES)


def test_every_kind_and_every_preset_is_a_row():
    rows = [(table["kind"], table.get("preset", "")) for table in TABLES.values()]
    single = [(name, kind) for name, kind in KINDS if kind.compound is None]
    assert rows[: -len(INITS)] == [(n, p) for n, kind in single for p in (kind.presets or [""])]
    assert [table.get("init") for table in TABLES.values()][-len(INITS) :] == [*INITS]
    assert list(QUESTIONS) == list(LAWS)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.law)
def test_no_refusal_is_expected_that_is_nowhere(refusal):
    met = [cell for cell in cells() if expected(cell).get(refusal.law) is refusal]
    unmet = refusal is SHARING and all(kind.rowwise for _, kind in KINDS)
    assert bool(met) != unmet


@pytest.mark.parametrize(
    ("of", "broken"),
    [(Cell("lora.v1", "llama"), "L1"), (Cell("bottleneck.v1 pfeiffer", "bert"), "L2")],
    ids=str,
)
def test_a_law_that_does_not_hold_is_seen(of, broken, ground_of, tmp_path):
    """Of a base that is told to have answered otherwise."""
    ground = ground_of(of.family)
    other = replace(ground, states={way: said + 1e-6 for way, said in ground.states.items()})
    assert ask(of, other, tmp_path)[broken][0] == BROKEN


def test_the_lawbook_keeps_what_tests_hand_over(tmp_path, pytestconfig):
    """As the reports of all processes reach it."""
    told = [{"kind": kind, "family": "bert", "found": {"L1": ["held", ""]}} for kind in "ba"]
    book = Lawbook(pytestconfig)
    for each in told:
        for when in ("setup", "call"):
            held = [(PROPERTY, each), ("other", 1)]
            report = pytest.TestReport(
                "n", ("n", 1, "n"), {}, "passed", None, when, user_properties=held
            )
            book.pytest_runtest_logreport(report)
    write(tmp_path / "laws.json", book.cells)
    assert json.loads((tmp_path / "laws.json").read_text()) == told[::-1]
    part = part_of(pytestconfig) is not None
    assert ("make laws tries all" in book.pytest_report_header()) == part
