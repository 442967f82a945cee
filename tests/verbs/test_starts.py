"""Starts of LoRA from the plan to the adapter: resumed, judged and read, it is one adapter."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest
from safetensors.torch import load_file

from models import TEXTS, examples
from runs import Keeping, equal, log, project
from tenon.adapters.starts import FROM_WEIGHTS
from tenon.core.errors import FileError
from tenon.evaluate.answerer import open_answerer
from tenon.model.base import locate
from tenon.model.inputs import FROM_ROWS
from tenon.plan.budget import budget
from tenon.train import start
from tenon.verbs import train as verb
from tenon.verbs.compose import compose, load_composition
from tenon.verbs.export import export
from tenon.verbs.together import train_together
from tenon.verbs.train import train

INITS = (*FROM_WEIGHTS, *FROM_ROWS)


class KeepingSteps(Keeping):
    """Keep a copy at each step of training, and at no other stage's."""

    training = False

    def start(self, what, total, *, done=0):
        self.training = what == "train"

    def advance(self, n, **fields):
        if self.training:
            super().advance(n, **fields)


def plan_of(folder, base, init):
    adapter = {"kind": "lora.v1", "rank": 2, "init": init, "dropout": 0.1}
    return project(folder, base, adapters={init: adapter}, train__epochs=2, train__save_every=2)


def adapter_of(run):
    return load_file(run / "adapter" / "adapter_model.safetensors")


@pytest.mark.parametrize("init", INITS)
def test_l4_from_every_step_it_ends_as_the_run_that_was_never_stopped(
    init, folder_of, tmp_path, monkeypatch, deep
):
    """From each, or in a usual run from the first, the middle and the last."""
    plan = plan_of(tmp_path, folder_of("bert"), init)
    keeping = KeepingSteps(tmp_path / "run", tmp_path / "copies")
    whole = train(plan, tmp_path / "run", progress=keeping)
    first = start.load(tmp_path / "run")
    assert first and keeping.steps >= 4
    # kept, they are not computed again, as another machine would round them otherwise
    monkeypatch.setattr(verb, "compute_first", None)
    every = range(keeping.steps)
    for step in every if deep else (0, every[-1] // 2, every[-1]):
        copy = tmp_path / "copies" / str(step)
        again = train(plan, copy)
        assert equal(adapter_of(copy), adapter_of(whole.out))
        assert equal(start.load(copy), first)
        assert log(copy) == log(whole.out)
        assert again.report.metrics == whole.report.metrics


@pytest.mark.parametrize("init", INITS)
def test_what_is_judged_is_what_is_written_and_told(init, folder_of, tmp_path):
    plan = plan_of(tmp_path, folder_of("bert"), init)
    told = budget(plan, locate(plan.base), 3)
    run = train(plan, tmp_path / "run")
    assert run.report.cost["trainable_parameters"] == told.trained
    held = adapter_of(run.out)
    numbers = sum(t.numel() for key, t in held.items() if ".lora_" in key)
    assert numbers == told.adapter_parameters + told.fixed_parameters
    answerer = open_answerer(run.out / "adapter")
    first = answerer.answer_examples(examples(TEXTS)).log_probs_RL
    assert (open_answerer(run.out / "adapter").answer_examples(examples(TEXTS)).log_probs_RL
            == first).all()  # fmt: skip


def test_first_weights_that_changed_are_refused_and_anew_removes_them(folder_of, tmp_path):
    plan = plan_of(tmp_path, folder_of("bert"), "pissa")
    run = train(plan, tmp_path / "run").out
    shutil.rmtree(run / "report")
    path = run / start.NAME
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(FileError, match="start anew with --resume never"):
        train(plan, run)
    assert train(plan, run, resume="never").report
    assert start.load(run)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, folder_of):
    """A run with a start that is subtracted, one with a start from rows, and one without."""
    folder = tmp_path_factory.mktemp("starts")
    made = {}
    for init in ("pissa", "eva", "kaiming"):
        plan = plan_of(folder / init, folder_of("bert"), init)
        made[init] = (plan, train(plan, folder / init / "run"))
    return made


def scores(answerer):
    answers = answerer.predict(list(TEXTS))
    return np.array([list(answer.probabilities.values()) for answer in answers])


def test_l8_merged_it_is_a_plain_model_that_answers_the_same(runs, tmp_path):
    made = export(runs["pissa"][1].adapter, tmp_path / "merged")
    assert made.error <= 1e-5


def test_it_is_composed_by_its_delta(runs, tmp_path):
    one, other = (runs[init][1].adapter for init in ("pissa", "kaiming"))
    made = compose(f"average({one}:0.5, {other}:0.5)", tmp_path / "both")
    composed = open_answerer(made.folder)
    assert composed.manifest.settings.own["rank"] == 2 * 2 + 2
    assert composed.manifest.settings.own["init"] == "kaiming"
    running = load_composition(f"average({one}:0.5, {other}:0.5)")
    np.testing.assert_allclose(scores(composed), scores(running), rtol=1e-3, atol=1e-4)


def test_l6_trained_together_each_is_what_it_is_alone(runs, tmp_path):
    together = train_together([plan for plan, _ in runs.values()], tmp_path / "together").runs
    for init, (_, alone) in runs.items():
        expected = alone.report.metrics["test"]["log_loss"].value
        found = together[init].report.metrics["test"]["log_loss"].value
        assert math.isclose(found, expected, rel_tol=1e-4), init
        first, again = start.load(together[init].out), start.load(alone.out)
        assert (first is None) == (again is None) == (init == "kaiming")
        assert first is None or equal(first, again)


def test_a_start_that_is_drawn_leaves_no_file(folder_of, tmp_path):
    plan = plan_of(tmp_path, folder_of("bert"), "gaussian")
    assert not (train(plan, tmp_path / "run").out / start.NAME).exists()
