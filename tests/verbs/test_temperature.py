"""Temperature in a run: reported always, stored when asked, and the same wherever it is read."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import tenon
from runs import project
from tenon.core.errors import PlanError
from tenon.core.files import read_json
from tenon.verbs.train import train
from verbs.test_tagging import planned

HEAD = "adapter/head.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory, folder_of):
    """Two runs of one plan, whose second one stores the temperature."""
    folder = tmp_path_factory.mktemp("temperature")
    plain = project(folder, folder_of("bert"))
    asked = project(folder, folder_of("bert"), evaluate__temperature=True)
    return train(plain, folder / "plain"), train(asked, folder / "stored")


def answers_of(run) -> list[dict]:
    lines = (run.out / "report" / "predictions.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_it_is_reported_whether_it_is_stored_or_not(made):
    told = [run.report.temperature for run in made]
    assert [each["stored"] for each in told] == [False, True]
    assert told[0]["temperature"] == told[1]["temperature"] != 1
    assert {each["fitted_on"] for each in told} == {"dev"}
    assert {each["n"] for each in told} == {26}
    for name in ("calibration_error", "log_loss", "brier"):
        for side in ("before", "after"):
            one, other = (each[side][name] for each in told)
            assert one["value"] == pytest.approx(other["value"], abs=1e-4)
            assert one["low"] <= one["value"] <= one["high"]


def test_no_answer_changes_and_each_probability_does(made):
    plain, stored = map(answers_of, made)
    assert [row["answer"] for row in plain] == [row["answer"] for row in stored]
    assert plain != stored


def test_the_scores_of_the_report_are_those_of_the_stored_adapter(made):
    plain, stored = (run.report for run in made)
    for name, side in ((plain, "before"), (stored, "after")):
        told = name.temperature[side]
        for scorer in ("log_loss", "calibration_error"):
            assert name.metrics["test"][scorer].value == pytest.approx(told[scorer]["value"])
    assert plain.metrics["test"]["accuracy"] == stored.metrics["test"]["accuracy"]


def test_it_is_in_the_heads_weights_and_the_manifest_says_so(made):
    plain, stored = (load_file(run.out / HEAD) for run in made)
    heat = read_json(made[1].adapter / "tenon.json")["temperature"]
    assert heat == made[1].report.temperature["temperature"]
    assert read_json(made[0].adapter / "tenon.json")["temperature"] == 1
    for name, tensor in plain.items():
        assert torch.allclose(stored[name] * heat, tensor, atol=1e-6)
    assert "calibrated" in (made[1].adapter / "README.md").read_text()
    assert "calibrated" not in (made[0].adapter / "README.md").read_text()


def test_who_loads_it_gets_the_probabilities_of_the_report(made):
    _, run = made
    rows = answers_of(run)
    found = tenon.load_adapter(run.out).predict([row["text"] for row in rows])
    for row, answer in zip(rows, found, strict=True):
        assert answer.label == row["answer"]
        assert answer.probability == pytest.approx(row["probability"], abs=1e-4)
    report = tenon.eval(run.out)
    for scorer, interval in run.report.metrics["test"].items():
        assert report.metrics["test"][scorer].value == pytest.approx(interval.value, abs=1e-4)


def test_what_is_exported_has_it_too(made, tmp_path):
    """A merged model and PEFT's files are compared with the adapter's scores when written."""
    _, run = made
    for target in ("merged", "peft"):
        tenon.export(run.out, tmp_path / target, to=target)
        heads = load_file(tmp_path / target / "head.safetensors")
        own = load_file(run.out / HEAD)
        assert torch.equal(heads["weight"], own["weight"])


def test_a_second_look_does_not_scale_twice(tmp_path, folder_of):
    """Of several seeds, one that had ended is asked again, with a head that is scaled already."""
    from verbs.test_seeds import Stopping, report_of

    more = {"evaluate__temperature": True, "seeds": 2, "train__epochs": 1}
    settled = project(tmp_path, folder_of("bert"), **more)
    whole = train(settled, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(settled, tmp_path / "run", progress=Stopping("seed 8 (2 of 2): train"))
    run = train(settled, tmp_path / "run")
    first, second = (report_of(each.out)["metrics"] for each in (run, whole))
    for name, interval in first["test"].items():
        assert interval["value"] == pytest.approx(second["test"][name]["value"], abs=1e-5)


def test_tags_have_one_too(tmp_path, folder_of):
    settled = planned(tmp_path, folder_of("bert"))
    told = train(settled, tmp_path / "run").report.temperature
    assert set(told["before"]) == {"tag_calibration_error", "tag_log_loss", "tag_brier"}
    assert told["n"] > 26
    assert np.isfinite(told["temperature"])


def test_without_test_there_is_none_in_the_report(tmp_path, folder_of):
    settled = project(tmp_path, folder_of("bert"), data__test="", evaluate__temperature=True)
    run = train(settled, tmp_path / "run")
    assert run.report.temperature == {}
    assert read_json(run.adapter / "tenon.json")["temperature"] != 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"data__dev": ""}, "leaves no rows to fit it on"),
        ({"data__task": "multi-label-classification"}, "each label has a threshold of its own"),
        ({"data__task": "text-regression"}, "a number has no probabilities"),
        ({"data__task": "question-answering"}, "places in a context are no classes"),
        ({"data__task": "text-generation"}, "the base writes its answers"),
    ],
)
def test_where_it_means_nothing_it_is_refused(more, said, tmp_path, folder_of):
    with pytest.raises(PlanError, match=said):
        project(tmp_path, folder_of("bert"), evaluate__temperature=True, **more)
