"""What a plan says of the trunk cache is what the run does."""

from __future__ import annotations

import pytest

import tenon
from runs import project, table
from tenon.core import cache
from tenon.core.errors import PlanError
from tenon.plan.devices import DEVICES
from tenon.text.states import Layout
from tenon.train.trunk_cache import FOLDER
from tenon.verbs.decided import decide
from tenon.verbs.forecast import forecast
from tenon.verbs.train import train
from tenon.verbs.workspace import open_workspace

PLAN = """\
base = "{base}"
[data]
train = "train.csv"
dev = 0.3
[adapters.mood]
kind = "lora.v1"
rank = 2
layers = "last:1"
[train]
epochs = 1
tokens_per_step = 250
[evaluate]
resamples = 200
[model]
device = "cpu"
"""
TOP = {"kind": "lora.v1", "rank": 2, "dropout": 0.1, "layers": "last:1"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / FOLDER


def foretold(made, device=""):
    space, card = open_workspace(made), DEVICES.get(device)
    return forecast(space, 0.1, decide(space, card), card)[0]


@pytest.mark.parametrize("device", ["", "h100-80gb"])
def test_it_foretells_what_is_kept_and_what_that_takes(folder_of, tmp_path, own_cache, device):
    made = project(tmp_path, folder_of("bert"), adapter=TOP, train__trunk_cache="exact")
    found = foretold(made, device)
    assert not own_cache.exists(), "a plan keeps nothing"
    assert (found.cache.layers, found.cache.of) == (1, 2)
    assert found.cache.why == "layers 0 to 0 of 2 are computed once, not 3 times"
    stages = found.seconds.stages
    assert stages["states"].seconds > 0
    assert stages["states"].low < stages["states"].seconds < stages["states"].high
    if not device:
        train(made, tmp_path / "run")
        files = list(own_cache.glob("*/*.states"))
        assert sum(file.stat().st_size for file in files) == found.cache.bytes


def test_on_a_device_that_is_not_here_less_work_takes_less_time(folder_of, tmp_path):
    base = folder_of("bert")
    seconds = []
    for layers, wish in ((None, "auto"), ("last:1", "off"), ("last:1", "exact")):
        adapter = {**TOP, "layers": layers}
        adapter = {name: value for name, value in adapter.items() if value}
        made = project(tmp_path, base, adapter=adapter, train__trunk_cache=wish)
        seconds.append(foretold(made, "h100-80gb").seconds.stages["training"].seconds)
    whole, above, stored = seconds
    assert whole > above > stored > whole / 4


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"adapter": {"kind": "lora.v1"}}, "the lowest layer has an adapter, or what is below it"),
        ({"train__epochs": 1}, "every row is read once"),
        ({"train__trunk_cache": "off"}, "asked for"),
    ],
)
def test_it_says_why_nothing_is_kept(folder_of, tmp_path, more, told):
    made = project(tmp_path, folder_of("bert"), **{"adapter": TOP, **more})
    found = foretold(made)
    assert (found.cache.layers, found.cache.why) == (0, told)
    assert "states" not in found.seconds.stages


def test_asked_for_in_vain_it_is_refused_by_plan_and_train(folder_of, tmp_path):
    made = project(
        tmp_path, folder_of("bert"), adapter={"kind": "lora.v1"}, train__trunk_cache="int8"
    )
    with pytest.raises(PlanError, match='train.trunk_cache = "int8": cannot be done: the lowest'):
        foretold(made)
    with pytest.raises(PlanError, match='train.trunk_cache = "int8": cannot be done: the lowest'):
        train(made, tmp_path / "run")


def test_trials_of_a_sweep_share_one_store(folder_of, tmp_path, own_cache, monkeypatch):
    """Each reads every row once, and all of them several times."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train.csv").write_text(table(60, 1))
    (folder / "run.toml").write_text(PLAN.format(base=folder_of("bert")))
    filled = []
    write = Layout.write
    monkeypatch.setattr(
        Layout, "write", lambda self, *given: (filled.append(self), write(self, *given))
    )
    over = ["adapters.mood.layers=last:1,1"]
    made = tenon.sweep(
        str(folder / "run.toml"), over=over, trials=2, out=tmp_path / "sweep", seeds=2
    )
    assert [trial.state for trial in made.swept.trials] == ["complete"] * 2
    first, second = (trial.value for trial in made.swept.trials)
    assert first == pytest.approx(second), "it is the same layer of two"
    assert len(filled) == len(list(own_cache.iterdir())) == 2, "one of train, one of dev"
