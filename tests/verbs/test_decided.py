"""What memory and time decide of a run: it fits, it is told, and a run that goes on keeps it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runs import equal, log, project
from tenon.adapters import pack
from tenon.core.errors import Occupied
from tenon.plan.compiling import MOST_SORTS, PAYS, SAVED, Compiling, compiling, sort_of
from tenon.plan.devices import CONTEXT, DEVICES
from tenon.plan.memory import Ground
from tenon.plan.plan import Plan
from tenon.train import steplog
from tenon.verbs.claim import PLAN
from tenon.verbs.decided import decide, decide_together, recorded
from tenon.verbs.forecast import forecast
from tenon.verbs.planned import form_of
from tenon.verbs.train import train
from tenon.verbs.workspace import open_workspace

CARD = DEVICES["a100-40gb"]


def card(room: int):
    """Give a card on which a run can have so many bytes."""
    return replace(CARD, name="small", memory=room + CONTEXT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("decided")


@pytest.fixture(autouse=True)
def cache(folder, monkeypatch):
    monkeypatch.setenv("TENON_CACHE", str(folder / "cache"))


def opened(folder, folder_of, **more):
    more = {"train__tokens_per_step": 2000, "evaluate__batch_tokens": 300, **more}
    return open_workspace(project(folder, folder_of("bert"), **more))


def test_where_memory_is_short_it_fits_and_takes_the_longer_the_shorter_it_is(folder, folder_of):
    space = opened(folder, folder_of)
    whole = decide(space, CARD)
    assert whole.memory.fits
    assert (whole.plan.train.recompute, whole.plan.train.micro_batch_tokens) == (False, 8192)
    assert "all states fit" in str(whole.notes[0])
    took = []
    for share in (0.97, 0.9):
        made = decide(space, card(int(whole.memory.needed * share)))
        assert made.memory.surely, share
        assert made.memory.needed < whole.memory.needed
        assert made.plan.digest != whole.plan.digest
        told = [str(note) for note in made.notes]
        assert all("would be needed, and there are" in line for line in told)
        took.append(float(told[0].rpartition("takes ")[2].partition(" times")[0]))
    assert took == sorted(took)
    assert took[0] > 1
    none = decide(space, card(whole.memory.needed // 10))
    assert none.plan.digest == whole.plan.digest
    assert not none.memory.fits


def test_what_a_user_gave_stays_though_it_does_not_fit(folder, folder_of):
    more = {"train__recompute": False, "train__micro_batch_tokens": 2000}
    space = opened(folder, folder_of, **more)
    needed = decide(space, CARD).memory.needed
    made = decide(space, card(int(needed * 0.9)))
    assert not made.memory.fits
    assert (made.plan.train.recompute, made.plan.train.micro_batch_tokens) == (False, 2000)
    assert made.notes == ()


def test_a_run_goes_on_with_what_it_recorded_and_learns_the_same(folder, folder_of):
    """However much memory there is by then."""
    space = opened(folder, folder_of)
    needed = decide(space, CARD).memory.needed
    made = decide(space, card(int(needed * 0.95)))
    short = made.plan.decided({"model.dtype": space.plan.model.dtype})
    assert short.train.recompute is not False
    short.write((folder / "short") / PLAN)
    (folder / "short" / steplog.NAME).write_text('{"step": 0}\n')  # it took one, and was killed
    assert recorded(space, folder / "short").plan.digest == short.digest
    assert recorded(space, folder / "nowhere") is None
    more = {"train__tokens_per_step": 2000, "evaluate__batch_tokens": 300}
    asked = project(folder, folder_of("bert"), **more)
    runs = [train(asked, folder / name) for name in ("short", "whole")]
    kept, free = (Plan.read(run.out / PLAN) for run in runs)
    assert kept.train.recompute == short.train.recompute
    assert free.train.recompute is False
    assert free.origins["train.recompute"] == kept.origins["train.recompute"] == "measured"
    first, second = (pack.read(run.adapter).weights for run in runs)
    assert equal(first, second)
    assert log(runs[0].out) == log(runs[1].out)
    given = project(folder, folder_of("bert"), **more, train__recompute=False)
    with pytest.raises(Occupied, match=r"train\.recompute was (1|True), is False"):
        train(given, folder / "short")


def test_adapters_that_are_trained_together_find_room_together(folder, folder_of):
    first = opened(folder, folder_of)
    top = opened(folder, folder_of, adapter={"kind": "lora.v1", "rank": 2, "layers": "last:1"})
    spaces = {"all": first, "top": replace(top, trunk=first.trunk)}
    ground = Ground("cuda", 0, 0, 0, 0, "of a card")
    whole = decide_together(spaces, ground)[1].memory
    assert whole.fits
    took = []
    for share in (1.0, 0.9):
        tight = replace(ground, available=int(whole.needed * share))
        made, foretold = decide_together(spaces, tight)
        assert foretold.memory.fits
        plans = {name: space.plan for name, space in made.items()}
        took.append(int(plans["all"].train.recompute) + (plans["all"].train.recompute is True))
        assert bool(foretold.notes) == (share < 1)
        assert plans["all"].train.micro_batch_tokens == 8192
    assert took[0] == 0 < took[1]
    given = first.plan.decided({"train.recompute": False}, "file")
    spaces = {name: replace(space, plan=given) for name, space in spaces.items()}
    tight = replace(ground, available=whole.needed * 9 // 10)
    assert not decide_together(spaces, tight)[1].memory.fits


def test_compiling_is_left_where_it_does_not_pay_and_its_time_is_told(folder, folder_of):
    space = opened(folder, folder_of, model__compile="auto")
    here = decide(space)
    assert here.plan.model.compile is False
    assert "on a CPU compiling takes longer" in str(here.notes[-1])
    short = decide(space, CARD)
    assert short.plan.model.compile is False
    assert "compiling takes about 70 s, and 0 s of training" in str(short.notes[-1])
    long = replace(space, plan=space.plan.decided({"train.epochs": 2_000_000}, "file"))
    made = decide(long, CARD)
    assert made.plan.model.compile is True
    assert made.compiling.pays
    told = forecast(long, 1.0, made, CARD)[0].seconds
    plain = forecast(long, 1.0, decide(space, CARD), CARD)[0].seconds
    assert told.stages["compiling"].seconds == pytest.approx(70)
    assert "compiling" not in plain.stages
    without = forecast(long, 1.0, replace(made, compiling=None), CARD)[0].seconds
    share = told.stages["training"].seconds / without.stages["training"].seconds
    assert share == pytest.approx(1 - SAVED)


def test_compiling_that_is_asked_for_is_counted(folder, folder_of):
    space = opened(folder, folder_of, model__compile=True, model__device="auto")
    made = decide(space, CARD)
    assert made.plan.model.compile is True
    assert made.notes[-1].value is True
    assert not made.compiling.pays
    assert "compiling" in forecast(space, 1.0, made, CARD)[0].seconds.stages


@pytest.mark.parametrize("seconds", [10.0, 100.0, 400.0, 1000.0])
def test_it_pays_where_it_saves_twice_what_it_takes(seconds):
    for sorts in (1, 2, 5):
        found = Compiling(sorts, seconds)
        assert found.pays == (seconds * SAVED > PAYS * 70 * sorts)
        assert not replace(found, why="it cannot be").pays


def test_blocks_are_of_one_sort_where_all_have_the_same_adapter(folder, folder_of):
    for layers, sorts in ((None, 1), ("last:1", 2)):
        adapter = {"kind": "lora.v1", "rank": 2, **({"layers": layers} if layers else {})}
        space = opened(folder, folder_of, adapter=adapter)
        model = form_of(space).model(space.plan).trunk.model
        assert compiling(model, "cuda", 1e6).sorts == sorts
        assert compiling(model, "cuda", 1e6).pays
        assert "on a CPU" in compiling(model, "cpu", 1e9).why
        assert len({sort_of(block) for block in model.encoder.layer}) == sorts <= MOST_SORTS
