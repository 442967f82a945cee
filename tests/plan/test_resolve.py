"""A plan file and arguments become a plan, or everything that is wrong with them is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from plan.tables import NEEDED, VALID, WRONG, settings, table_of
from tenon.core.errors import FileError, PlanError
from tenon.evaluate.settings import BY_TASK
from tenon.plan.planfile import toml
from tenon.plan.resolve import FLOORS, known_names, parse_toml, place, resolve, resolve_table
from tenon.plan.table import suggestion

FILE = Path("/project/run.toml")
PATHS = {"data.train", "data.dev", "data.test"}


def told(table, *arguments):
    with pytest.raises(PlanError) as caught:
        resolve_table(table, FILE, arguments)
    return str(caught.value).splitlines()


@given(settings())
def test_every_setting_arrives_with_its_value_and_origin(given_settings):
    plan = resolve_table(table_of(given_settings), FILE)
    found = {name: (value, origin) for name, value, origin in plan.settings()}
    for name, value in given_settings.items():
        assert found[name][1] == "file"
        if name not in PATHS:
            assert found[name][0] == value
    assert {name for name, (_, origin) in found.items() if origin == "file"} == set(given_settings)
    assert not {origin for _, origin in found.values()} - {"file", "default"}


@given(settings(), st.data())
def test_an_argument_is_the_same_setting_as_in_the_file(given_settings, data):
    names = sorted(set(given_settings) - set(NEEDED) - PATHS)
    assume(names)
    moved = data.draw(st.lists(st.sampled_from(names), unique=True, min_size=1))
    rest = {name: value for name, value in given_settings.items() if name not in moved}
    arguments = [f"{name}={toml(given_settings[name])}" for name in moved]
    plan = resolve_table(table_of(rest), FILE, arguments)
    assert plan.digest == resolve_table(table_of(given_settings), FILE).digest
    assert {n for n, _, origin in plan.settings() if origin == "override"} == set(moved)


@given(settings(), st.data())
def test_an_argument_goes_over_the_file(given_settings, data):
    name = data.draw(st.sampled_from(sorted(set(VALID) - PATHS)))
    value = data.draw(st.sampled_from(VALID[name]))
    whole = {**given_settings, name: value}
    if name.startswith("data.columns"):
        whole["data.columns.label"] = given_settings.setdefault("data.columns.label", "label")
        given_settings.setdefault("data.columns.text", "text")
    before = {**given_settings, name: given_settings.get(name, VALID[name][0])}
    plan = resolve_table(table_of(before), FILE, [f"{name}={toml(value)}"])
    assert plan.digest == resolve_table(table_of(whole), FILE).digest


@given(settings(), st.data())
def test_a_misspelled_setting_is_refused_with_the_right_name(given_settings, data):
    table_names = [name for name in given_settings if "." in name and name != "adapters.mood.kind"]
    name = data.draw(st.sampled_from(sorted(table_names)))
    owner, _, last = name.rpartition(".")
    spot = data.draw(st.integers(0, len(last)))
    misspelled = f"{last[:spot]}x{last[spot:]}"
    given_settings[f"{owner}.{misspelled}"] = given_settings.pop(name)
    lines = told(table_of(given_settings), *())
    line = next(line for line in lines if f"{owner}.{misspelled} is not a setting" in line)
    assert line.startswith("run.toml: ")
    assert line.endswith(f"did you mean {name}?")


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in WRONG.items() for v in vs])
def test_a_wrong_value_is_refused_by_name(name, value):
    extra = {"data.columns.label": "label"} if name == "data.columns.text" else {}
    lines = told(table_of({**NEEDED, **extra, name: value}))
    assert len(lines) == 1
    assert lines[0].startswith("run.toml: ")
    assert name in lines[0]


@given(
    st.lists(
        st.sampled_from(sorted(set(WRONG) - {"data.dev", "evaluate.scorers"})),
        unique=True,
        min_size=2,
    )
)
def test_all_faults_come_at_once(names):
    table = table_of({**NEEDED, **{name: WRONG[name][0] for name in names}})
    lines = told(table)
    assert all(any(name in line for line in lines) for name in names)


def test_the_form_of_a_message():
    table = table_of({**NEEDED, "adapters.mood.kind": "bottleneck.v1", "adapters.mood.widht": 3})
    assert told(table) == [
        "run.toml: adapters.mood.widht is not a setting of bottleneck.v1; "
        "did you mean adapters.mood.width?"
    ]
    assert told(table_of(NEEDED), "train.shedule=linear") == [
        "argument train.shedule=linear: train.shedule is not a setting; "
        "did you mean train.schedule?"
    ]


@pytest.mark.parametrize(
    ("argument", "meant"),
    [
        ("epochs=3", "train.epochs"),
        ("epoch=3", "train.epochs"),
        ("model.epochs=3", "train.epochs"),
        ("trian.epochs=3", "train.epochs"),
        ("trian.epoch=3", "train.epochs"),
        ("trian={epochs=3}", "train.epochs"),
        ("train.lerning_rate=1", "train.learning_rate"),
        ("dat.columns.text=t", "data.columns.text"),
        ("data.column.text=t", "data.columns"),
        ("columns.text=t", "data.columns.text"),
        ("data.columns.lable=t", "data.columns.label"),
        ("rank=4", "adapters.mood.rank"),
        ("train.sites=4", "adapters.mood.sites"),
        ("adapter.mood.rank=4", "adapters.mood.rank"),
        ("adapters.mood.rnak=4", "adapters.mood.rank"),
        ("sed=4", "seed"),
        ("trian={}", "train"),
    ],
)
def test_the_full_name_is_offered_whatever_is_wrong_with_it(argument, meant):
    (line,) = told(table_of({**NEEDED, "data.columns.text": "text"}), argument)
    assert line.startswith(f"argument {argument}: ")
    assert line.endswith(f"did you mean {meant}?")


def test_where_nothing_is_near_the_table_is_listed():
    (line,) = told(table_of(NEEDED), "text.zzz=3")
    known = ", ".join(sorted(FLOORS["text"].model_fields))
    assert line.endswith(f"text.zzz is not a setting; known here: {known}")


@given(st.sampled_from(known_names()), st.sampled_from(["", "zz.", "train.x."]))
def test_every_setting_is_found_by_its_last_part(name, before):
    last = name.rpartition(".")[2]
    meant = suggestion(f"{before}{last}", known_names())
    assert meant.startswith("did you mean ")
    assert meant.removesuffix("?").rpartition(".")[2].endswith(last)


def test_a_choice_is_offered():
    (line,) = told(table_of({**NEEDED, "train.schedule": "cosin"}))
    assert line == (
        'run.toml: train.schedule = "cosin" is not one of cosine, linear, constant; '
        "did you mean cosine?"
    )


def test_what_is_missing_is_told_together():
    lines = told({})
    assert [line.split(" ")[1] for line in lines] == ["base", "data.train", "adapters"]


def test_what_stands_above_all_tables_is_not_said_to_be_of_one():
    assert told({})[0] == 'run.toml: base is missing; write it above the first table: base = "..."'


def test_what_may_be_two_things_is_told_as_both():
    (line,) = told(table_of({**NEEDED, "data.dev": True}))
    assert line == "run.toml: data.dev = true; it should be a valid string or a valid number"


def test_an_empty_text_is_called_empty():
    (line,) = told(table_of({**NEEDED, "base": ""}))
    assert line == 'run.toml: base = "" is empty; give one'


def test_a_value_in_the_place_of_the_adapters_tables():
    assert told(table_of(NEEDED), "adapters=3") == [
        "argument adapters=3: adapters = 3 is not a table; "
        'write [adapters.NAME] with kind = "lora.v1"'
    ]


def test_a_table_that_is_a_value():
    assert "train = 3 is not a table" in told({**table_of(NEEDED), "train": 3})[0]
    assert "not a table" in told({**table_of(NEEDED), "adapters": {"mood": "lora.v1"}})[0]


class TestAdapters:
    def test_two_are_refused(self):
        table = table_of({**NEEDED, "adapters.other.kind": "lora.v1"})
        assert "give exactly one" in told(table)[0]

    def test_an_argument_for_another_adapter_is_a_misspelling(self):
        (line,) = told(table_of(NEEDED), "adapters.moood.rank=4")
        assert "did you mean mood?" in line
        assert line.startswith("argument adapters.moood.rank=4")

    def test_arguments_alone_can_make_one(self):
        table = table_of({name: NEEDED[name] for name in ("base", "data.train")})
        plan = resolve_table(table, FILE, ["adapters.new.kind=lora.v1", "adapters.new.rank=2"])
        assert plan.adapter.name == "new"
        assert plan.adapter.own["rank"] == 2

    @pytest.mark.parametrize("name", ["../up", "a b", "", "a/b", ".hidden", "x" * 65])
    def test_hostile_names(self, name):
        table = {**table_of(NEEDED), "adapters": {name: {"kind": "lora.v1"}}}
        assert told(table)

    def test_a_choice_of_a_kind_is_offered_as_any_other(self):
        kind = {"adapters.mood.kind": "bottleneck.v1"}
        (line,) = told(table_of({**NEEDED, **kind, "adapters.mood.preset": "holsby"}))
        assert line == (
            'run.toml: adapters.mood.preset = "holsby" is not one of houlsby, pfeiffer, parallel, '
            "scaled-parallel, adapterplus, compacter, compacter++, mad-x; did you mean houlsby?"
        )

    def test_a_bound_of_a_kind_is_told_as_any_other(self):
        kind = {"adapters.mood.kind": "bottleneck.v1"}
        (line,) = told(table_of({**NEEDED, **kind, "adapters.mood.width": 0}))
        assert line == (
            "run.toml: adapters.mood.width = 0; it should be greater than or equal to 1"
        )

    def test_an_unknown_kind_is_told_with_the_nearest(self):
        (line,) = told(table_of({**NEEDED, "adapters.mood.kind": "lora.v9"}))
        assert "adapters.mood.kind" in line
        assert "did you mean lora.v1?" in line


class TestTypes:
    def test_a_date_is_no_setting(self):
        table = parse_toml(b'base = "b"\nseed = 2020-01-01\n[data]\ntrain = "t"', "run.toml")
        table["adapters"] = {"mood": {"kind": "lora.v1"}}
        assert "seed" in told(table)[0]

    def test_a_whole_number_is_a_share(self):
        assert resolve_table(table_of({**NEEDED, "train.weight_decay": 1}), FILE)

    def test_a_bare_text_is_literal_where_text_is_wanted(self):
        arguments = ["data.columns.text=0", "data.columns.label=true", "base=3"]
        plan = resolve_table(table_of(NEEDED), FILE, arguments)
        assert plan.data.columns is not None
        assert (plan.data.columns.text, plan.data.columns.label) == ("0", "true")
        assert plan.base == "3"


class TestPaths:
    def test_they_are_relative_to_the_file(self, tmp_path):
        (tmp_path / "models" / "small").mkdir(parents=True)
        plan = resolve_table(
            table_of({**NEEDED, "base": "models/small", "data.dev": "../dev.csv"}),
            tmp_path / "run.toml",
        )
        assert plan.data.train == str(tmp_path / "train.csv")
        assert plan.data.dev == str(tmp_path.parent / "dev.csv")
        assert plan.base == str(tmp_path / "models" / "small")

    def test_those_of_arguments_are_relative_to_the_working_folder(self, tmp_path, monkeypatch):
        (tmp_path / "here" / "base").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / "here")
        arguments = ["data.test=t.csv", "data.dev=d.zip#dev", "base=base", "data.train=hub:a/b#c"]
        plan = resolve_table(table_of(NEEDED), tmp_path / "there" / "run.toml", arguments)
        here = tmp_path / "here"
        assert (plan.data.test, plan.data.dev) == (f"{here}/t.csv", f"{here}/d.zip#dev")
        assert (plan.base, plan.data.train) == (str(here / "base"), "hub:a/b#c")
        assert resolve_table(table_of(NEEDED), FILE, ["data.dev=0.3"]).data.dev == 0.3

    def test_a_base_that_is_no_folder_stays_a_name(self, tmp_path):
        plan = resolve_table(table_of(NEEDED), tmp_path / "run.toml")
        assert plan.base == "owner/base"

    @given(
        st.sampled_from(["a.csv", "./a.csv", "b/../a.csv", "/x/a.csv", "~/a.csv"]),
        st.sampled_from(["", "#train", "#a/b.tsv"]),
    )
    def test_the_member_stays(self, path, member):
        placed = place(path + member, Path("/folder"))
        assert placed.endswith(f"a.csv{member}")
        assert Path(placed).is_absolute()
        assert ".." not in placed

    def test_a_file_with_a_mark_in_its_name_is_whole(self, tmp_path):
        (tmp_path / "odd#name.csv").touch()
        assert place("odd#name.csv", tmp_path) == str(tmp_path / "odd#name.csv")

    def test_the_hub_is_no_path(self):
        assert place("hub:a/b#c", Path("/folder")) == "hub:a/b#c"

    @given(settings())
    def test_a_project_may_move(self, given_settings):
        table = table_of(given_settings)
        here, there = (resolve_table(table, Path(f"/{at}/run.toml")) for at in ("a/b", "a/c"))
        assert here.data.train != there.data.train
        if not str(given_settings.get("data.test", "")).startswith(".."):
            assert here.digest == there.digest


class TestFile:
    def test_absent(self, tmp_path):
        with pytest.raises(FileError, match="no such file"):
            resolve(tmp_path / "run.toml")

    def test_it_is_read(self, tmp_path):
        path = tmp_path / "run.toml"
        path.write_text('base = "b"\n[data]\ntrain = "t.csv"\n[adapters.mood]\nkind = "lora.v1"\n')
        assert resolve(path, ["seed=3"]).seed == 3

    @pytest.mark.parametrize(
        ("content", "line"),
        [(b'base = "b"\nseed =\n', 2), (b"base = x", 1), (b"a = 1\na = 2", 2), (b'a = "\xe9"', 1)],
    )
    def test_a_fault_of_form_has_its_line(self, content, line):
        with pytest.raises(PlanError, match=rf"^run\.toml:{line}: "):
            parse_toml(content, "run.toml")


def test_every_floor_has_defaults_that_hold():
    plan = resolve_table(table_of(NEEDED), FILE)
    own = BY_TASK["text-classification"]
    by_task = {
        "train": {"metric": own.dev[0]},
        "evaluate": {"scorers": list(own.scorers), "against": list(own.baselines)},
    }
    for name, floor in FLOORS.items():
        required = {
            field: "x.csv" for field, info in floor.model_fields.items() if info.is_required()
        }
        default = json.loads(floor(**required).model_dump_json()) | by_task.get(name, {})
        now = json.loads(getattr(plan, name).model_dump_json())
        assert {k: v for k, v in now.items() if k not in required} == {
            k: v for k, v in default.items() if k not in required
        }
