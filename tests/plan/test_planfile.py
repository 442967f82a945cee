"""A written plan file says the same as the plan, and shows all there is to set."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plan.tables import NEEDED, settings, table_of
from tenon.core.manual import manual
from tenon.evaluate.settings import BY_TASK
from tenon.plan.planfile import near, toml, written
from tenon.plan.resolve import FLOORS, Top, parse_toml, resolve_table
from tenon.plan.task import of_other_tasks

FILE = Path("/project/run.toml")
SAYS_NOTHING_HERE = ("overlap", "quoting", "patience", "metric", "head_scale")


def read(text, path=FILE):
    return resolve_table(parse_toml(text.encode(), path.name), path)


@given(
    settings(),
    st.sampled_from(["/project/run.toml", "/project/plans/a.toml", "/far/off/in/the/x.toml"]),
)
def test_it_resolves_to_the_same_plan(given_settings, at):
    plan = resolve_table(table_of(given_settings), FILE)
    again = read(written(plan, Path(at).parent, "title"), Path(at))
    assert again.model_copy(update={"folder": plan.folder}) == plan
    assert set(again.origins.items()) == set(plan.origins.items())


@given(settings())
def test_its_comments_are_the_defaults(given_settings):
    plan = resolve_table(table_of(given_settings), FILE)
    text = written(plan, FILE.parent, "title")
    bare = []
    for line in text.splitlines():
        setting = line.removeprefix("# ")
        named = setting.partition(" = ")[0]
        is_default = line.startswith("# ") and named.replace("_", "").replace(".", "").isalnum()
        idle = named in SAYS_NOTHING_HERE or named.startswith("columns.")
        bare.append(setting if is_default and " = " in setting and not idle else line)
    assert read("\n".join(bare)).digest == plan.digest


@pytest.mark.parametrize("task", sorted(BY_TASK))
def test_it_shows_every_setting_of_its_task_with_its_meaning(task):
    foreign = of_other_tasks(task)
    plan = resolve_table(table_of({**NEEDED, "data.task": task}), FILE)
    text = written(plan, FILE.parent, "title")
    lines = text.splitlines()[2:]
    for name, floor in (("", Top), *FLOORS.items()):
        for setting in manual(floor):
            found = [line for line in lines if f"{setting.name} = " in line]
            assert any(setting.meaning.rstrip(".") in line for line in found) == (
                f"{name}.{setting.name}" not in foreign
            )
    assert text.startswith("# title\n")
    assert ": ," not in text and ", ," not in text


def test_a_measured_setting_is_written_out():
    plan = resolve_table(table_of(NEEDED), FILE).decided({"train.tokens_per_step": 777})
    assert "\ntokens_per_step = 777" in written(plan, FILE.parent, "title")


def test_a_setting_with_a_value_for_each_layer_stands_on_one_line():
    table = {
        "kind": "bottleneck.v1",
        "reduction": {"0": 8.0, "decoder.1": 4.0, "default": 16.0},
        "leave_out": ["2"],
    }
    plan = resolve_table({**table_of(NEEDED), "adapters": {"mood": table}}, FILE)
    told = {name: (value, origin) for name, value, origin in plan.settings()}
    assert told["adapters.mood.reduction"] == (table["reduction"], "file")
    text = written(plan, FILE.parent, "title")
    assert '\nreduction = { "0" = 8.0, "decoder.1" = 4.0, "default" = 16.0 }' in text
    assert read(text).adapter == plan.adapter
    argument = f"adapters.mood.reduction={toml({'1': 2.0, 'default': 3.0})}"
    changed = resolve_table({**table_of(NEEDED), "adapters": {"mood": table}}, FILE, [argument])
    assert changed.adapter.own["reduction"] == {"1": 2.0, "default": 3.0}
    assert changed.digest != plan.digest


VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('a.b é"\\榫'), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(VALUES)
def test_toml_is_read_back(value):
    assert tomllib.loads(f"key = {toml(value)}")["key"] == value


@pytest.mark.parametrize(
    ("path", "folder", "short"),
    [
        ("/a/b/c.csv", "/a/b", "c.csv"),
        ("/a/c.csv", "/a/b", "../c.csv"),
        ("/c.csv", "/a/b/d", "../../../c.csv"),
        ("/c.csv", "/a/b/d/e", "/c.csv"),
        ("hub:owner/name#train", "/a", "hub:owner/name#train"),
        ("owner/base", "/a", "owner/base"),
        ("/a/x.zip#train.tsv", "/a", "x.zip#train.tsv"),
    ],
)
def test_near(path, folder, short):
    assert near(path, Path(folder)) == short
