"""A plan is a value: it goes to JSON and back, and its digest stands for its settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plan.tables import NEEDED, VALID, settings, table_of
from tenon.core.errors import FileError, PlanError
from tenon.plan.plan import Plan, below
from tenon.plan.resolve import resolve_table

FILE = Path("/project/run.toml")


@given(settings())
def test_json_and_back(given_settings):
    plan = resolve_table(table_of(given_settings), FILE)
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again.digest == plan.digest
    assert list(again.settings()) == list(plan.settings())
    assert again.to_json() == plan.to_json()


@given(settings(), st.data())
def test_another_value_is_another_digest(given_settings, data):
    name = data.draw(st.sampled_from(sorted(set(VALID) - {"data.columns.text"})))
    value = data.draw(st.sampled_from(VALID[name]))
    before = resolve_table(table_of(given_settings), FILE)
    after = resolve_table(table_of({**given_settings, name: value}), FILE)
    same = given_settings.get(name) == value
    assert (before.digest == after.digest) == same


def test_origins_have_no_part_in_the_digest():
    plan = resolve_table(table_of(NEEDED), FILE)
    spelled = resolve_table(table_of({**NEEDED, "train.epochs": plan.train.epochs}), FILE)
    assert plan.origins != spelled.origins
    assert plan.digest == spelled.digest


def test_a_plan_is_frozen():
    plan = resolve_table(table_of(NEEDED), FILE)
    with pytest.raises(ValueError, match="frozen"):
        plan.seed = 3  # pyright: ignore


def test_write_and_read(tmp_path):
    plan = resolve_table(table_of(NEEDED), FILE)
    plan.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == plan


class TestRefusals:
    def value(self):
        return json.loads(json.dumps(resolve_table(table_of(NEEDED), FILE).to_json()))

    @pytest.mark.parametrize("format", [0, 2, None, "1"])
    def test_format(self, format):
        with pytest.raises(PlanError, match="has format"):
            Plan.from_json({**self.value(), "format": format})

    def test_a_setting_that_is_not_known(self):
        with pytest.raises(PlanError, match="not a plan of this Tenon.*widht"):
            Plan.from_json({**self.value(), "widht": 3})

    def test_changed_by_hand(self):
        value = self.value()
        value["train"]["epochs"] += 1
        with pytest.raises(PlanError, match="changed by hand"):
            Plan.from_json(value)

    @pytest.mark.parametrize("content", ["[]", "3", "null"])
    def test_no_plan_at_all(self, tmp_path, content):
        path = tmp_path / "plan.json"
        path.write_text(content)
        with pytest.raises(PlanError, match="holds no plan"):
            Plan.read(path)

    def test_torn(self, tmp_path):
        path = tmp_path / "plan.json"
        path.write_text(json.dumps(self.value())[:-20])
        with pytest.raises(FileError, match="not JSON"):
            Plan.read(path)


@pytest.mark.parametrize(
    ("path", "folder", "short"),
    [
        ("/a/b/c", "/a/b", "c"),
        ("/a/b/c/d", "/a/b/", "c/d"),
        ("/a/bc", "/a/b", "/a/bc"),
        ("/a/b", "", "/a/b"),
        ("name", "/a", "name"),
    ],
)
def test_below(path, folder, short):
    assert below(path, folder) == short
