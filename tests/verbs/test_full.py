"""Full fine-tuning as a baseline: of every task, beside an adapter that it leaves as it is."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from safetensors.torch import load_file

import tenon
from disk import names
from encoder_decoders import folder_of as seq2seq_folder
from reading import squad
from runs import base_digests, equal, project
from tenon.core.errors import PlanError
from tenon.core.files import read_json
from tenon.evaluate import baselines as baseline
from tenon.model.holding import STORED, Holding
from tenon.plan.resolve import resolve_table
from tenon.verbs.full import refuse_untrainable, train_full
from tenon.verbs.train import build, score_of, train
from tenon.verbs.workspace import open_workspace
from verbs.test_forms import numbered, rows_of, several
from verbs.test_seeds import Stopping, adapter_of, report_of
from verbs.test_tagging import table as tagged
from writers import causal_folder, pairs, write_rows

RATE = 2e-3


@pytest.fixture(scope="module")
def made(tmp_path_factory, folder_of):
    folder = tmp_path_factory.mktemp("full")
    against = ["linear_probe", "full"]
    rates = {"evaluate__against": against, "evaluate__full_learning_rate": RATE}
    settled = project(folder, folder_of("bert"), **rates)
    return settled, train(settled, folder / "run")


def test_it_is_scored_and_paired_as_any_baseline(made):
    _, run = made
    report = read_json(run.out / "report" / "report.json")
    assert set(report["baselines"]) == {"linear_probe", "full"}
    assert set(report["paired"]["full"]) == set(report["metrics"]["test"])
    assert "Full fine-tuning" in (run.out / "report" / "report.html").read_text()
    note = next(note for note in report["notes"] if note.startswith("full fine-tuning: "))
    assert "learning rate 0.002" in note
    assert "dev chose step" in note


def test_it_learns_in_as_many_steps_as_the_adapter(made):
    _, run = made
    both = [
        [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
        for folder in (run.out, run.out / "full")
    ]
    adapter, full = ([entry for entry in log if "loss" in entry] for log in both)
    assert len(adapter) == len(full)
    assert [entry["tokens"] for entry in adapter] == [entry["tokens"] for entry in full]
    assert adapter[0]["loss"] == pytest.approx(full[0]["loss"], abs=1e-6)
    by_epoch = [[e["loss"] for e in full if e["epoch"] <= end][-4:] for end in (1, 3)]
    assert sum(by_epoch[1]) < sum(by_epoch[0])


def test_only_its_log_is_kept(made):
    _, run = made
    assert names(run.out / "full") == {"steps.jsonl"}


def test_the_adapter_is_what_it_is_without_it(made, tmp_path):
    settled, run = made
    alone = settled.model_copy(
        update={"evaluate": settled.evaluate.model_copy(update={"against": ("linear_probe",)})}
    )
    assert equal(adapter_of(train(alone, tmp_path / "alone").out), adapter_of(run.out))


def test_the_base_that_carries_the_adapter_keeps_every_byte(made, tmp_path):
    settled, run = made
    space = open_workspace(settled)
    known = baseline.load(run.out)
    model, _ = build(space, known)
    before = base_digests(model)
    found = train_full(space, known, score_of(space), tmp_path, None)
    assert set(found.answers) == {"dev", "test"}
    assert base_digests(model) == before


@pytest.mark.parametrize("words", ["train", "answers of full fine-tuning of dev"])
def test_a_stop_changes_nothing_of_the_end(words, made, tmp_path):
    settled, whole = made
    folder = tmp_path / "project"
    shutil.copytree(whole.out.parent, folder, ignore=shutil.ignore_patterns("run"))
    rates = {"evaluate__against": ["linear_probe", "full"], "evaluate__full_learning_rate": RATE}
    again = project(folder, settled.base, **rates)

    class AtFull(Stopping):
        """Stop in the training of the whole base, not in the adapter's."""

        started = False

        def start(self, what, total, *, done=0):
            self.started = self.started or "full fine-tuning" in what
            if self.started:
                super().start(what, total, done=done)

    with pytest.raises(KeyboardInterrupt):
        train(again, folder / "run", progress=AtFull(words))
    run = train(again, folder / "run")
    first, second = report_of(run.out), report_of(whole.out)
    assert first["baselines"] == second["baselines"]
    assert first["paired"] == second["paired"]
    assert first["metrics"] == second["metrics"]
    assert names(run.out / "full") == {"steps.jsonl"}


def test_each_seed_has_its_own_and_a_stop_loses_none(tmp_path, folder_of):
    against = {"evaluate__against": ["full"], "evaluate__full_learning_rate": RATE}
    settled = project(tmp_path, folder_of("bert"), seeds=2, train__epochs=1, **against)
    whole = train(settled, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(settled, tmp_path / "run", progress=Stopping("seed 8 (2 of 2): train"))
    run = train(settled, tmp_path / "run")
    first, second = report_of(run.out), report_of(whole.out)
    assert first["baselines"] == second["baselines"]
    assert first["paired"] == second["paired"]
    told = [report_of(whole.out / "seeds" / seed)["baselines"]["full"] for seed in ("7", "8")]
    assert told[0]["log_loss"] != told[1]["log_loss"]
    mean = sum(each["log_loss"]["value"] for each in told) / 2
    assert second["baselines"]["full"]["log_loss"]["value"] == pytest.approx(mean)
    assert names(run.out / "seeds" / "7" / "full") == {"steps.jsonl"}


TASKS = {
    "token-classification": ("train.conll", lambda n, s: tagged(n, s), "bert"),
    "question-answering": ("train.json", squad, "bert"),
    "multi-label-classification": ("several.jsonl", lambda n, s: several(rows_of(n, s)), "bert"),
    "text-regression": ("numbers.csv", lambda n, s: numbered(rows_of(n, s)), "bert"),
    "text-generation": ("train.jsonl", None, "llama"),
    "translation": ("pairs.jsonl", None, "t5"),
}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_it(task, tmp_path, folder_of):
    name, write, base = TASKS[task]
    if write is None:
        write_rows(tmp_path / name, pairs(60))
        columns = {"source": "prompt", "target": "completion"} if task == "translation" else None
        folder = (seq2seq_folder if base == "t5" else causal_folder)(tmp_path, base)
    else:
        (tmp_path / name).write_text(write(60, 1))
        columns, folder = None, folder_of(base)
    data = {"task": task, "train": name, "dev": 0.3, **({"columns": columns} if columns else {})}
    given = {
        "base": str(folder),
        "data": data,
        "adapters": {"mood": {"kind": "lora.v1", "rank": 2}},
        "train": {"epochs": 1, "tokens_per_step": 200},
        "evaluate": {"resamples": 200, "against": ["full"]},
        "model": {"device": "cpu"},
    }
    run = tenon.train(resolve_table(given, tmp_path / "run.toml"), tmp_path / "run")
    assert set(run.report.baselines) == {"full"}
    assert set(run.report.paired["full"]) == set(run.report.metrics["dev"])
    rates = {"bert": 5e-5, "llama": 2e-5, "t5": 1e-4}
    settled = read_json(run.out / "plan.json")
    assert settled["evaluate"]["full_learning_rate"] == rates[base]
    assert settled["origins"]["evaluate.full_learning_rate"] == "measured"


def test_a_rate_without_it_has_no_effect(tmp_path, folder_of):
    with pytest.raises(PlanError, match='evaluate.against lacks "full"'):
        project(tmp_path, folder_of("bert"), evaluate__full_learning_rate=1e-4)


def test_a_base_that_is_stored_in_few_bits_is_refused(made):
    settled, _ = made
    space = open_workspace(settled)
    held = Holding(STORED, 4, 100, 25, 0, "", "float32")
    stored = replace(space, trunk=replace(space.trunk, holding=held))
    with pytest.raises(PlanError, match="is stored quantised"):
        refuse_untrainable(stored)
    refuse_untrainable(space)


def test_a_rate_at_which_it_diverges_names_the_setting(tmp_path, folder_of):
    rates = {"evaluate__against": ["full"], "evaluate__full_learning_rate": 1.0}
    settled = project(tmp_path, folder_of("bert"), train__clip=1e9, train__epochs=9, **rates)
    try:
        train(settled, tmp_path / "run")
    except tenon.core.errors.RunError as error:
        assert "evaluate.full_learning_rate" in str(error)


def test_another_evaluation_says_that_it_is_not_there(made):
    _, run = made
    report = tenon.eval(run.out)
    assert set(report.baselines) == {"linear_probe"}
    assert any("weights are not kept" in note for note in report.notes)


def test_the_weights_of_the_adapter_hold_nothing_of_it(made):
    _, run = made
    assert all("lora" in name for name in load_file(run.adapter / "adapter_model.safetensors"))
