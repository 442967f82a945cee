"""Several adapters by one command: runs like those of each alone, from one plan file."""

from __future__ import annotations

import json

import pytest

import tenon
from runs import log, table
from tenon.core.files import read_json
from tenon.plan.several import resolve_several
from verbs.test_generation import command, run

PLAN = """\
base = "{base}"
seed = 5

[model]
device = "cpu"

[evaluate]
resamples = 200

[train]
epochs = 2
tokens_per_step = 150

[adapters.mood]
kind = "lora.v1"
rank = 2

[adapters.mood.data]
train = "mood.csv"
dev = 0.2

[adapters.size]
kind = "bottleneck.v1"
reduction = 4

[adapters.size.data]
train = "size.csv"
dev = 0.2

[adapters.size.train]
epochs = 3
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory, folder_of):
    """A folder with two sets of rows, a plan of two adapters, and their runs."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "mood.csv").write_text(table(90, 1))
    (folder / "size.csv").write_text(table(70, 2))
    (folder / "run.toml").write_text(PLAN.format(base=folder_of("bert")))
    assert command("train", folder / "run.toml", "--out", folder / "runs", "--quiet") == 0
    return folder


def test_each_run_is_what_its_plan_alone_makes(project):
    for plan in resolve_several(project / "run.toml"):
        name = plan.adapter.name
        alone = tenon.train(plan, project / "alone" / name)
        report = read_json(project / "runs" / name / "report" / "report.json")
        for metric, interval in report["metrics"]["dev"].items():
            assert interval["value"] == pytest.approx(
                alone.report.metrics["dev"][metric].value, abs=2e-3
            )
        kept = [read_json(f / name / "plan.json") for f in (project / "runs", project / "alone")]
        assert kept[0] == kept[1]
        answers = tenon.load_adapter(project / "runs" / name).predict(["a glad red fox", "sad day"])
        expected = tenon.load_adapter(alone.adapter).predict(["a glad red fox", "sad day"])
        for mine, theirs in zip(answers, expected, strict=True):
            assert mine.label == theirs.label
            assert mine.probability == pytest.approx(theirs.probability, abs=1e-2)


def test_blocks_computed_again_change_no_bit_of_any_adapter(project, tmp_path):
    """Also where the adapters draw dropout, each from a generator of its own."""
    given = ["adapters.mood.dropout=0.2", "adapters.size.dropout=0.1", "train.epochs=1"]
    made = {}
    for again in ("false", "1", "true"):
        out = tmp_path / again
        plans = resolve_several(project / "run.toml", [*given, f"train.recompute={again}"])
        tenon.train_together(plans, out)
        made[again] = {
            name: [(out / name / "adapter" / "adapter_model.safetensors").read_bytes(),
                   [entry.get("loss") for entry in log(out / name)]]
            for name in ("mood", "size")
        }  # fmt: skip
    assert made["true"] == made["1"] == made["false"]


def test_each_report_has_what_was_foretold_of_all_beside_what_they_took(project):
    peaks = set()
    for name in ("mood", "size"):
        report = read_json(project / "runs" / name / "report" / "report.json")
        told = {line["name"]: line for line in report["planned"]}
        assert told["training_seconds"]["measured"] > 0
        peaks.add(told["peak_bytes"]["value"])
        assert told["peak_bytes"]["measured"] == report["cost"]["peak_bytes"]
    assert len(peaks) == 1, "one process holds all of them"


def test_the_same_command_says_that_they_have_ended(project, capsys):
    told = run(capsys, "train", project / "run.toml", "--out", project / "runs")
    assert "mood" in told and "size" in told and "report.html" in "".join(told.split())


def test_one_of_them_goes_on_alone(project, capsys):
    """The run of one adapter is an ordinary run."""
    folder = project / "runs" / "mood"
    again = json.loads(run(capsys, "eval", folder, "--json"))
    report = read_json(folder / "report" / "report.json")
    for name, interval in report["metrics"]["dev"].items():
        assert again["metrics"]["dev"][name] == pytest.approx(interval, rel=1e-4), name
    told = run(capsys, "show", folder)
    assert "Accuracy" in told


def test_one_that_has_ended_is_left_as_it_is(project, tmp_path, capsys):
    import shutil

    shutil.copytree(project / "runs" / "mood", tmp_path / "runs" / "mood")
    before = (tmp_path / "runs" / "mood" / "adapter" / "tenon.json").read_bytes()
    told = run(capsys, "train", project / "run.toml", "--out", tmp_path / "runs", "--json")
    runs = json.loads(told)["runs"]
    assert runs["mood"]["ended_before"] and not runs["size"]["ended_before"]
    assert (tmp_path / "runs" / "mood" / "adapter" / "tenon.json").read_bytes() == before
    assert (tmp_path / "runs" / "size" / "adapter" / "tenon.json").exists()


def test_plan_check_and_show_tell_of_each(project, capsys):
    told = run(capsys, "plan", project / "run.toml")
    assert "[adapters.mood]" in told and "[adapters.size]" in told
    assert len(json.loads(run(capsys, "plan", project / "run.toml", "--json"))) == 2
    assert len(json.loads(run(capsys, "check", project / "run.toml", "--json"))) == 2
    assert run(capsys, "check", project / "run.toml").count("Rows") == 2
    assert "[adapters.size]" in run(capsys, "show", project / "run.toml")


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (["model.trunk_dropout=true"], "share the base's states"),
        (["adapters.mood.data.train=absent.csv"], "no such file"),
        (["adapters.mood.text.max_tokens=9999"], "this base holds at most"),
    ],
)
def test_what_cannot_be_done_together_is_refused(arguments, phrase, project, tmp_path, capsys):
    words = ["train", project / "run.toml", *arguments, "--out", tmp_path / "runs"]
    assert phrase in " ".join(run(capsys, *words, code=2).split())


def test_another_plan_does_not_write_over_a_run(project, capsys):
    words = ["train", project / "run.toml", "adapters.mood.rank=3", "--out", project / "runs"]
    told = " ".join(run(capsys, *words, code=2).split())
    assert "holds a run of another plan (adapters.mood.rank was 2, is 3)" in told
