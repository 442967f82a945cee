"""L4, L5 and L6 of runs that read the states of the lower layers from disk.

A run from stored states is the run that computes them, up to the rounding of other batches: 1e-3
of a tensor's largest value after all steps. However it is interrupted, it is bit for bit the run
that was not, as what is stored depends on nothing but the base and the rows.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch

from runs import Keeping, classifier, equal, log, project, settings, tokens, weights
from tenon.core import cache
from tenon.core.errors import PlanError
from tenon.core.files import read_json
from tenon.evaluate.predict import inference
from tenon.model.lower import entry_of
from tenon.train.loop import Course, Loop
from tenon.train.trunk_cache import ABOUT, FOLDER, choose, keep, prune
from tenon.verbs.together import train_together
from tenon.verbs.train import train

ROWS = 24
HOW = {"epochs": 2, "save_every": 1, "tokens_per_step": 40, "micro_batch_tokens": 24}
TOP = {"kind": "lora.v1", "rank": 2, "dropout": 0.1, "layers": "last:1"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / FOLDER


def loop_of(folder, run, wish, **more) -> Loop:
    model = classifier(folder, layers="last:1", **more)
    rows, how = tokens(ROWS), settings(**HOW, trunk_cache=wish)
    with inference(model):
        entry = entry_of(model.trunk)
    choice = choose(how, entry, {"train": rows}, model.trunk.model.dtype)
    assert choice.layers == (0 if wish == "off" else 1)
    kept = keep(model, {"train": rows}, choice, "base")
    return Loop(model, kept["train"], Course(run, "plan", 5, how))


def differ(first, second) -> float:
    return max(
        float((first[key] - second[key]).abs().max() / second[key].abs().max().clamp_min(1e-3))
        for key in first
    )


@pytest.mark.parametrize("arch", ["bert", "llama"])
@pytest.mark.parametrize("batches", ["packed", "padded"])
def test_a_run_from_stored_states_is_the_run_without(folder_of, tmp_path, arch, batches):
    runs, losses = {}, {}
    for wish in ("off", "exact", "int8"):
        # Dropout draws for padding as well, and for as many numbers either way.
        loop = loop_of(folder_of(arch), tmp_path / wish, wish, batches=batches)
        before = weights(loop.model)
        loop.run()
        runs[wish] = weights(loop.model)
        losses[wish] = [entry["loss"] for entry in log(loop.course.run)]
        assert differ(before, runs[wish]) > 1e-2, "it has learned"
    assert 0 < differ(runs["exact"], runs["off"]) < 1e-3
    assert losses["exact"] == pytest.approx(losses["off"], rel=1e-4)
    assert losses["int8"] != pytest.approx(losses["off"], rel=1e-4)
    assert losses["int8"] == pytest.approx(losses["off"], rel=2e-2)


def test_resumed_from_every_step_it_is_the_same_run(folder_of, tmp_path, own_cache):
    """With the states that are there, and where someone has emptied the cache meanwhile."""
    whole = loop_of(folder_of("bert"), tmp_path / "whole", "auto")
    course = whole.course
    whole.course = replace(course, progress=Keeping(course.run, tmp_path))
    whole.run()
    for step in range(whole.steps):
        if step % 2:
            shutil.rmtree(own_cache)
        again = loop_of(folder_of("bert"), tmp_path / str(step), "auto")
        again.resume()
        assert again.position == step
        again.run()
        assert equal(weights(again.model), weights(whole.model)), step
        assert log(again.course.run) == log(course.run)


def test_what_is_stored_does_not_know_who_stored_it(folder_of, tmp_path, own_cache):
    """Another seed and other batches, and the base that carries no adapter, store the same."""
    found = []
    for number, how in enumerate(({}, {"pooling": "cls", "rank": 3})):
        loop = loop_of(folder_of("bert"), tmp_path / str(number), "exact", **how)
        (store,) = own_cache.iterdir()
        found.append({path.name: path.read_bytes() for path in store.glob("*.states")})
        assert read_json(store / ABOUT)["rows"] == ROWS == len(loop.tokens)
        shutil.rmtree(own_cache)
    assert found[0] == found[1]


def test_a_fill_that_was_killed_is_gone_on_with(folder_of, tmp_path, own_cache):
    """What lay half-written is removed; nobody reads a store before it is whole."""
    expected = loop_of(folder_of("bert"), tmp_path / "a", "exact").tokens.below
    (store,) = own_cache.iterdir()
    (whole,) = store.glob("*.states")
    content = whole.read_bytes()
    for left in (b"", content[:100]):
        whole.unlink()
        half = store / f".{whole.name}.0123abcd.part"
        half.write_bytes(left)
        rows = loop_of(folder_of("bert"), tmp_path / "b", "exact").tokens
        assert not half.exists()
        assert whole.read_bytes() == content
        every = rows.lengths_R.argsort()
        assert torch.equal(rows.below.states_TD(every), expected.states_TD(every))


def test_a_store_that_nobody_opens_is_removed_after_a_week(folder_of, tmp_path, own_cache):
    import os

    loop_of(folder_of("bert"), tmp_path / "a", "exact")
    (store,) = own_cache.iterdir()
    prune(own_cache, own_cache / "other")
    assert store.exists()
    os.utime(store / ABOUT, (1e9, 1e9))
    prune(own_cache, store)
    assert store.exists()
    prune(own_cache, own_cache / "other")
    assert not store.exists()


@pytest.mark.parametrize(
    ("more", "how", "told"),
    [
        ({}, {"epochs": 1}, "every row is read once"),
        ({"layers": "0"}, {}, "the lowest layer has an adapter"),
        ({}, {"dropout": True}, "the base keeps its own dropout"),
    ],
)
def test_what_cannot_be_kept_is_left_out_or_refused(folder_of, more, how, told):
    model = classifier(folder_of("bert"), **{"layers": "last:1", **more}).eval()
    entry, rows = entry_of(model.trunk), {"train": tokens(ROWS)}
    dropout = how.get("dropout", False)
    dtype = model.trunk.model.dtype
    rules = settings(**{**HOW, "epochs": how.get("epochs", 2)})
    found = choose(rules, entry, rows, dtype, dropout=dropout)
    assert (found.layers, found.bytes) == (0, 0)
    assert told in found.why
    for wish in ("exact", "bfloat16", "int8"):
        asked = rules.model_copy(update={"trunk_cache": wish})
        with pytest.raises(PlanError, match=f'train.trunk_cache = "{wish}": .*{told}'):
            choose(asked, entry, rows, dtype, dropout=dropout)


def test_a_disk_without_room_is_seen_before(folder_of, monkeypatch):
    from tenon.train import trunk_cache

    model = classifier(folder_of("bert"), layers="last:1").eval()
    entry, rows, dtype = entry_of(model.trunk), {"train": tokens(ROWS)}, model.trunk.model.dtype
    rules = settings(**HOW)
    size = choose(rules, entry, rows, dtype).bytes
    assert size == rows["train"].total * 32 * 4
    monkeypatch.setattr(trunk_cache, "_free_bytes", lambda: int(1.5 * size))
    assert "GB of disk are free" in choose(rules, entry, rows, dtype).why
    exact = rules.model_copy(update={"trunk_cache": "exact"})
    assert choose(exact, entry, rows, dtype).layers == 1
    assert choose(rules, entry, rows, dtype, stored=lambda _: size).layers == 1, "it is there"
    monkeypatch.setattr(trunk_cache, "_free_bytes", lambda: size // 2)
    with pytest.raises(PlanError, match="GB of disk are free"):
        choose(exact, entry, rows, dtype)


def test_seeds_share_one_store(folder_of, tmp_path, own_cache):
    """They read each row once, and yet several times."""
    made = project(tmp_path, folder_of("bert"), adapter=TOP, seeds=2, train__epochs=1)
    train(made, tmp_path / "run")
    assert len(list(own_cache.iterdir())) == 2, "one of train, one of dev"
    for seed in ("7", "8"):
        told = (tmp_path / "run" / "seeds" / seed / "report" / "report.json").read_text()
        assert "trunk cache: layers 0 to 0 of 2 are computed once, not 2 times" in told


def test_adapters_that_are_trained_together_share_one_store(folder_of, tmp_path, own_cache):
    """Up to rounding they are what each is alone."""
    plans = []
    for name, rank in (("a", 2), ("b", 4)):
        made = project(tmp_path, folder_of("bert"), adapter={**TOP, "rank": rank, "dropout": 0.0})
        named = made.adapter.model_copy(update={"name": name})
        plans.append(made.model_copy(update={"adapters": (named,)}))
    runs = train_together(plans, tmp_path / "both").runs
    assert len(list(own_cache.iterdir())) == 2
    for made in plans:
        alone = train(made, tmp_path / f"alone-{made.adapter.name}")
        first, second = log(alone.out), log(runs[made.adapter.name].out)
        losses = [[e["loss"] for e in each if "loss" in e] for each in (first, second)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
        assert any("trunk cache" in note for note in runs[made.adapter.name].report.notes)
    assert len(list(own_cache.iterdir())) == 2


def test_full_fine_tuning_beside_it_computes_all_layers(folder_of, tmp_path):
    """Its lower layers change, so that no stored state is theirs."""
    against = ["majority", "linear_probe", "full"]
    more = {"adapter": TOP, "train__epochs": 2, "evaluate__against": against}
    logs = {}
    for wish in ("off", "exact"):
        made = project(tmp_path, folder_of("bert"), **more, train__trunk_cache=wish)
        logs[wish] = log(train(made, tmp_path / wish).out / "full")
    assert logs["off"] == logs["exact"]
