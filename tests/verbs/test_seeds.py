"""Several seeds: what differs and what does not, one report of all, and going on after a stop."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

import tenon
from attached import TABLES
from disk import names
from encoder_decoders import folder_of as folder_of_bases
from runs import equal, plan, project
from tenon.core.errors import PlanError
from tenon.core.files import read_json
from tenon.plan.plan import Plan
from tenon.plan.resolve import resolve_table
from tenon.verbs.train import train
from tenon.verbs.workspace import open_workspace
from writers import pairs, write_rows

ACROSS = {"kind": "bottleneck.v1", "preset": "parallel", "reduction": 4}
FILES = ("adapter_model.safetensors", "head.safetensors")


def adapter_of(folder) -> dict[str, torch.Tensor]:
    return {
        f"{name}:{key}": tensor
        for name in FILES
        for key, tensor in load_file(folder / "adapter" / name).items()
    }


def report_of(folder) -> dict:
    """Read a report without what a clock or the memory of the process decides."""
    report = read_json(folder / "report" / "report.json")
    for name in ("seconds", "peak_bytes"):
        report["cost"].pop(name)
    return report


def translation(folder, adapter, seeds=1, **evaluate) -> Plan:
    """Give a plan of a translation by a tiny BART."""
    if not (folder / "pairs.jsonl").exists():
        write_rows(folder / "pairs.jsonl", pairs(50))
    columns = {"source": "prompt", "target": "completion"}
    task = {"task": "translation", "train": "pairs.jsonl", "dev": 0.3, "columns": columns}
    given = {
        "base": str(folder_of_bases(folder, "bart")),
        "seeds": seeds,
        "data": task,
        "adapters": {"mood": adapter},
        "train": {"epochs": 1, "tokens_per_step": 300},
        "evaluate": {"resamples": 200, "against": ["zero_shot"], **evaluate},
        "model": {"device": "cpu"},
    }
    return resolve_table(given, folder / "run.toml")


class Stopping:
    """Stop where a stage begins whose name holds some words, as Ctrl-C would."""

    def __init__(self, words):
        self.words = words

    def start(self, what, total, *, done=0):
        if self.words in what:
            raise KeyboardInterrupt

    def advance(self, n, **fields):
        pass


@pytest.fixture(scope="module")
def made(tmp_path_factory, folder_of):
    folder = tmp_path_factory.mktemp("seeds")
    settled = project(folder, folder_of("bert"), seeds=3)
    return settled, train(settled, folder / "run")


class TestWhatDiffers:
    def test_the_rows_of_each_part_are_the_same(self, made):
        settled, _ = made
        spaces = [open_workspace(settled.of_seed(seed)) for seed in settled.training_seeds]
        for part in ("train", "dev", "test"):
            ids = [list(space.tokens[part].column("id")) for space in spaces]
            assert ids[0] == ids[1] == ids[2]

    def test_another_seed_of_the_plan_moves_the_split(self, made):
        settled, _ = made
        other = open_workspace(settled.model_copy(update={"seed": 8, "seeds": 1}))
        first = open_workspace(settled.of_seed(8))
        assert other.tokens["dev"].column("id") != first.tokens["dev"].column("id")

    def test_first_weights_order_and_dropout_differ(self, made):
        _, run = made
        held = [adapter_of(run.out / "seeds" / seed) for seed in ("7", "8", "9")]
        assert not equal(held[0], held[1])
        assert not equal(held[1], held[2])
        lines = [(run.out / "seeds" / s / "steps.jsonl").read_text() for s in ("7", "8", "9")]
        losses = [[json.loads(line).get("loss") for line in text.splitlines()] for text in lines]
        assert losses[0] != losses[1]

    def test_the_first_run_is_that_of_the_plan_without_seeds(self, made, tmp_path):
        settled, run = made
        alone = train(settled.model_copy(update={"seeds": 1}), tmp_path / "alone")
        assert equal(adapter_of(alone.out), adapter_of(run.out / "seeds" / "7"))

    def test_baselines_are_the_same_bytes(self, made):
        _, run = made
        kept = {path.read_bytes() for path in run.out.rglob("baselines.safetensors")}
        assert len(kept) == 1


@pytest.mark.parametrize(
    "which",
    [
        "lora",
        "parallel",
        "prefix",
        pytest.param("houlsby", marks=pytest.mark.deep),
        pytest.param("pfeiffer", marks=pytest.mark.deep),
    ],
)
def test_a_later_run_is_what_it_is_alone(which, tmp_path, folder_of):
    """The base that several runs share is as it was after each, bit for bit."""
    more = {"adapter": TABLES[which], "train__epochs": 1}
    settled = project(tmp_path, folder_of("bert"), seeds=2, **more)
    run = train(settled, tmp_path / "run")
    own = Plan.read(run.out / "seeds" / "8" / "plan.json")
    assert own.training_seeds == (8,)
    alone = train(own, tmp_path / "alone")
    assert equal(adapter_of(alone.out), adapter_of(run.out / "seeds" / "8"))


def test_an_adapter_that_does_not_come_off_leaves_no_trace(tmp_path):
    """A parallel bottleneck on BART's open MLP holds on to its base, which is loaded again."""
    run = train(translation(tmp_path, ACROSS, seeds=2), tmp_path / "run")
    own = Plan.read(run.out / "seeds" / "1" / "plan.json")
    alone = train(own, tmp_path / "alone")
    held = [
        load_file(folder / "adapter" / FILES[0]) for folder in (alone.out, run.out / "seeds" / "1")
    ]
    assert equal(*held)
    zero = [report_of(run.out / "seeds" / seed)["baselines"]["zero_shot"] for seed in ("0", "1")]
    assert zero[0] == zero[1]
    assert run.report.seeds["seeds"] == [0, 1]


class TestTheReport:
    def test_scores_are_means_with_intervals_around_all_seeds_noise(self, made):
        _, run = made
        told = read_json(run.out / "report" / "report.json")
        each = [
            read_json(run.out / "seeds" / s / "report" / "report.json") for s in ("7", "8", "9")
        ]
        for metric in ("accuracy", "log_loss"):
            values = [report["metrics"]["test"][metric]["value"] for report in each]
            mean = told["metrics"]["test"][metric]
            assert mean["value"] == pytest.approx(sum(values) / 3)
            assert mean["low"] <= mean["value"] <= mean["high"]
            assert told["seeds"]["scores"][metric]["values"] == pytest.approx(values)
            assert mean["n"] == 30
        assert told["seeds"]["seeds"] == [7, 8, 9]
        assert told["paired"]["linear_probe"]["accuracy"]["n"] == 30
        assert "means of 3 seeds" in told["verdict"]
        assert told["title"].endswith("3 seeds")
        steps = sum(report["cost"]["steps"] for report in each)
        assert told["cost"]["steps"] == steps

    def test_the_adapter_is_that_of_the_best_seed_on_dev(self, made):
        _, run = made
        told = read_json(run.out / "report" / "report.json")["seeds"]
        kept = run.out / "seeds" / str(told["kept"])
        assert equal(adapter_of(run.out), adapter_of(kept))
        dev = {}
        for seed in (7, 8, 9):
            lines = (run.out / "seeds" / str(seed) / "steps.jsonl").read_text().splitlines()
            found = [json.loads(line).get("dev", {}).get("accuracy") for line in lines]
            dev[seed] = max(value for value in found if value is not None)
        assert dev[told["kept"]] == max(dev.values())
        assert told["why"] == "the best on dev by accuracy"

    def test_adapter_and_card_know_the_whole_plan_and_the_means(self, made):
        settled, run = made
        manifest = read_json(run.adapter / "tenon.json")
        assert manifest["plan_digest"] == Plan.read(run.out / "plan.json").digest
        assert manifest["report"]["verdict"] == run.report.verdict
        assert "means of 3 seeds" in (run.adapter / "README.md").read_text()
        assert settled.seeds == 3

    def test_the_run_can_be_evaluated_shown_and_asked(self, made):
        _, run = made
        assert tenon.eval(run.out).baselines.keys() == {"majority", "linear_probe"}
        assert tenon.load_adapter(run.out).predict(["a glad red fox"])[0].label
        shown = tenon.show(run.out)
        assert shown.report == run.report
        assert shown.steps == run.report.cost["steps"]

    def test_its_folder_holds_the_runs(self, made):
        _, run = made
        assert names(run.out) == {
            ".lock", "adapter", "baselines.safetensors", "inputs.json", "plan.json", "report",
            "seeds",
        }  # fmt: skip
        assert names(run.out / "seeds") == {"7", "8", "9"}


class TestGoingOn:
    @pytest.mark.parametrize(
        "words",
        [
            pytest.param("seed 7 (1 of 3): train", marks=pytest.mark.deep),
            "seed 8 (2 of 3): train",
            "seed 9 (3 of 3): answers",
        ],
    )
    def test_a_stop_changes_nothing_of_the_end(self, words, made, tmp_path):
        _, whole = made
        again = tmp_path / "project"
        shutil.copytree(whole.out.parent, again, ignore=shutil.ignore_patterns("run"))
        settled = project(again, made[0].base, seeds=3)
        with pytest.raises(KeyboardInterrupt):
            train(settled, again / "run", progress=Stopping(words))
        run = train(settled, again / "run")
        assert equal(adapter_of(run.out), adapter_of(whole.out))
        first, second = report_of(run.out), report_of(whole.out)
        resumed = [note for note in first["notes"] if not note.startswith("resumed at")]
        assert resumed == second["notes"]
        for report in (first, second):
            del (
                report["command"],
                report["notes"],
                report["planned"],
                report["preflight"]["seconds"],
            )
        assert first == second

    def test_a_run_that_has_ended_trains_nothing(self, made):
        settled, run = made
        again = train(settled, run.out)
        assert again.ended_before
        assert again.report == run.report

    def test_resume_never_removes_all_of_it(self, made, tmp_path):
        settled, run = made
        copy = tmp_path / "run"
        shutil.copytree(run.out, copy)
        with pytest.raises(KeyboardInterrupt):
            train(settled, copy, resume="never", progress=Stopping("seed 7 (1 of 3): train"))
        assert names(copy / "seeds") == {"7"}
        assert not (copy / "adapter").exists()


class TestRefusals:
    @pytest.mark.parametrize(
        ("seeds", "said"),
        [([], "seeds is empty"), ([3, 3], "seeds names 3 twice"), (0, "seeds = 0"), ("x", "seeds")],
    )
    def test_seeds_that_are_none(self, seeds, said, tmp_path, folder_of):
        with pytest.raises(PlanError, match=said):
            plan(tmp_path, folder_of("bert"), seeds=seeds)

    def test_adapters_that_are_trained_together(self, tmp_path, folder_of):
        one = project(tmp_path, folder_of("bert"), seeds=2)
        with pytest.raises(PlanError, match="one run each"):
            tenon.train_together([one], tmp_path / "runs")

    def test_a_list_is_taken_as_it_is(self, tmp_path, folder_of):
        listed = project(tmp_path, folder_of("bert"), seeds=[11, 4])
        assert listed.training_seeds == (11, 4)
        assert listed.of_seed(4).training_seeds == (4,)
        assert listed.of_seed(4).seed == 7
