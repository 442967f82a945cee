"""Forgetting: texts and other adapters' tasks, with an adapter and without; what is refused."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors.torch import load_file

import tenon
from runs import equal, project
from tenon.core.errors import AdapterError, PlanError, TenonError
from tenon.core.files import read_json
from tenon.plan.plan import Plan
from tenon.plan.resolve import resolve, resolve_table
from tenon.verbs.train import train
from verbs.test_seeds import ACROSS, adapter_of, translation
from writers import causal_folder, pairs, write_rows

WORDS = ("glad", "sad", "tired", "red", "old", "bad", "good", "worst", "best", "early", "fox")


def own_texts(folder):
    (folder / "own.txt").write_text(
        "\n".join(f"the old dog was {word} by the river" for word in WORDS)
    )
    return "own.txt"


@pytest.fixture(scope="module")
def made(tmp_path_factory, folder_of):
    """A run that another one is asked about, and that other one."""
    folder = tmp_path_factory.mktemp("forgetting")
    first = train(project(folder, folder_of("bert")), folder / "first")
    more = {"evaluate__forgetting": [own_texts(folder), "first"], "seed": 9}
    return first, train(project(folder, folder_of("bert"), **more), folder / "second")


def test_the_report_has_what_was_asked_in_its_order(made):
    _, run = made
    texts, task = read_json(run.out / "report" / "report.json")["forgetting"]
    assert (texts["text"], texts["of"], texts["metric"]) == ("own.txt", "texts", "vector_cosine")
    assert (texts["n"], texts["found"]) == (11, 11)
    assert (task["text"], task["of"], task["metric"]) == ("first", "adapter", "accuracy")
    assert task["n"] == 30
    for each in (texts, task):
        assert each["difference"] == pytest.approx(each["after"] - each["before"])
        assert each["low"] <= each["difference"] <= each["high"]
        assert 0 <= each["p"] <= 1


def test_the_other_adapter_alone_scores_as_in_its_own_report(made):
    first, run = made
    task = run.report.forgetting[1]
    assert task["before"] == pytest.approx(first.report.metrics["test"]["accuracy"].value)


def test_looking_changes_no_adapter(made, tmp_path):
    first, run = made
    plan = Plan.read(run.out / "plan.json")
    without = plan.model_copy(
        update={"evaluate": plan.evaluate.model_copy(update={"forgetting": ()})}
    )
    assert equal(adapter_of(train(without, tmp_path / "without").out), adapter_of(run.out))
    assert tenon.eval(first.out).metrics["test"].keys() == first.report.metrics["test"].keys()


def test_what_cannot_be_beside_another_is_told_in_the_notes(tmp_path):
    """On BART's open MLP the parallel bottleneck reads what another module was given."""
    first = tenon.train(translation(tmp_path, {"kind": "lora.v1", "rank": 2}), tmp_path / "first")
    more = {"forgetting": [str(first.out)]}
    run = tenon.train(translation(tmp_path, ACROSS, **more), tmp_path / "run")
    assert run.report.forgetting == []
    assert any("first was not asked" in note for note in run.report.notes)


def test_a_decoder_is_asked_for_its_perplexity(tmp_path):
    write_rows(tmp_path / "train.jsonl", pairs(60))
    given = {
        "base": str(causal_folder(tmp_path, "llama")),
        "data": {"task": "text-generation", "train": "train.jsonl", "dev": 0.3},
        "adapters": {"mood": {"kind": "lora.v1", "rank": 2}},
        "train": {"epochs": 3, "tokens_per_step": 200, "learning_rate": 0.01},
        "evaluate": {"resamples": 200, "against": [], "forgetting": [own_texts(tmp_path)]},
        "model": {"device": "cpu"},
    }
    run = tenon.train(resolve_table(given, tmp_path / "run.toml"), tmp_path / "run")
    (told,) = run.report.forgetting
    assert told["metric"] == "perplexity"
    assert told["before"] > 1
    assert told["after"] != pytest.approx(told["before"], rel=1e-4)
    assert all("lora" in name for name in load_file(run.adapter / "adapter_model.safetensors"))


class TestPaths:
    def test_they_are_read_from_the_plans_folder_and_kept_so(self, made):
        _, run = made
        plan = Plan.read(run.out / "plan.json")
        folder = run.out.parent
        assert plan.evaluate.forgetting == (str(folder / "own.txt"), str(folder / "first"))

    def test_an_argument_is_read_from_the_working_folder(self, tmp_path, folder_of, monkeypatch):
        (tmp_path / "plans").mkdir()
        (tmp_path / "plans" / "run.toml").write_text(
            f'base = "{folder_of("bert")}"\n[data]\ntrain = "a.csv"\n'
            '[adapters.mood]\nkind = "lora.v1"\n'
        )
        monkeypatch.chdir(tmp_path)
        plan = resolve(tmp_path / "plans" / "run.toml", ['evaluate.forgetting=["own.txt"]'])
        assert plan.evaluate.forgetting == (str(tmp_path / "own.txt"),)

    def test_a_project_that_is_moved_keeps_its_digest(self, tmp_path, folder_of):
        digests = []
        for name in ("one", "two"):
            plan = project(tmp_path / name, folder_of("bert"), evaluate__forgetting=["own.txt"])
            digests.append(plan.digest)
        assert digests[0] == digests[1]


class TestRefusals:
    def refused(self, folder, base, spec, error, said, **more):
        with pytest.raises(error, match=said):
            train(project(folder, base, evaluate__forgetting=[spec], **more), folder / "run")
        assert {path.name for path in (folder / "run").iterdir()} == {".lock"}

    def test_texts_that_are_not_there_or_too_few(self, tmp_path, folder_of):
        self.refused(tmp_path, folder_of("bert"), "none.txt", TenonError, "no such file")
        (tmp_path / "few.jsonl").write_text(json.dumps({"text": "a"}) + "\n")
        self.refused(tmp_path, folder_of("bert"), "few.jsonl", PlanError, "holds 1 different texts")

    def test_an_adapter_of_another_base(self, made, tmp_path, folder_of):
        first, _ = made
        self.refused(tmp_path, folder_of("roberta"), str(first.out), AdapterError, "base")

    def test_an_adapter_in_no_run(self, made, tmp_path, folder_of):
        first, _ = made
        shutil.copytree(first.adapter, tmp_path / "alone")
        self.refused(tmp_path, folder_of("bert"), "alone", PlanError, "lies in no run")

    def test_a_name_twice(self, tmp_path, folder_of):
        with pytest.raises(PlanError, match="names .* twice"):
            project(tmp_path, folder_of("bert"), evaluate__forgetting=["a.txt", "a.txt"])
