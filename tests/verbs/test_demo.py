"""The demo's material: what lies in the wheel, and the plans made of it."""

from __future__ import annotations

from importlib import resources

import pytest

from tenon.core.errors import FileError
from tenon.data.load import load
from tenon.plan.resolve import resolve
from tenon.verbs.check import check
from tenon.verbs.demo import BASE, FILES, TRIALS, demo, trial


@pytest.fixture
def folder(tmp_path):
    for name in FILES:
        text = (resources.files("tenon") / "demo" / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("name", TRIALS)
def test_a_trial_is_its_plan_file(folder, name):
    plan = trial(folder / f"{name}.toml", name, TRIALS[name])
    assert resolve(folder / f"{name}.toml").digest == plan.digest
    assert plan.base == BASE
    assert plan.adapter.name == name


def test_the_trials_differ_in_their_adapter_only(folder):
    plans = [trial(folder / f"{name}.toml", "same", adapter) for name, adapter in TRIALS.items()]
    assert len({plan.digest for plan in plans}) == len(TRIALS) >= 2
    assert (
        len({plan.model_copy(update={"adapters": plans[0].adapters}).digest for plan in plans}) == 1
    )


def test_there_is_enough_of_it(folder):
    plan = trial(folder / "lora.toml", "lora", TRIALS["lora"])
    parts = load(plan.data, plan.seed)
    assert sum(parts.counts.values()) >= 800
    assert len(parts.labels) >= 10
    assert not parts.dropped


def test_the_good_files_are_good_and_the_faulty_one_is_not(folder, folder_of):
    trial(folder / "lora.toml", "lora", TRIALS["lora"])
    assert check(str(folder / "lora.toml"), [f"base={folder_of('bert')}"]).errors == 0
    assert check(str(folder / "faulty.csv")).errors >= 3


@pytest.mark.parametrize("there", ["notes.txt", "train.csv"])
def test_a_folder_of_something_else_stays_as_it_is(tmp_path, there):
    (tmp_path / there).write_text("mine")
    with pytest.raises(FileError, match=f"holds {there}, which is no part of a demo"):
        demo(tmp_path)
    with pytest.raises(FileError, match="is a file; choose another --out"):
        demo(tmp_path / there)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(there, "mine")]
