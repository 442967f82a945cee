"""A report holds every number, survives JSON, and says what was left out."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from answers import drawn, predictions
from taggers import TAGS, renderer_of, tagged
from tenon.core import files
from tenon.core.errors import DataError, PlanError
from tenon.evaluate.assessment import MOST_POINTS, assess, leading_part
from tenon.evaluate.report import Report
from tenon.evaluate.scorers import SCORERS
from tenon.evaluate.settings import BY_TASK, FEWEST_ROWS, EvaluateSettings
from tenon.evaluate.statistics import intervals, paired
from tenon.evaluate.tag import tagged as put_together
from tenon.evaluate.tag import unit_classes
from tenon.text.tokens import collect

SCORED = BY_TASK["text-classification"].scorers
QUICK = EvaluateSettings(scorers=SCORED, resamples=200)


def made(parts, baselines=None, evaluate=QUICK, **given_too):
    """Make a report with little around it."""
    around = {"task": "text-classification", "cost": {}, "data": {}, "curve": {}, "notes": []}
    return assess(parts, baselines or {}, evaluate, **{**around, **given_too})


def full(seed=0, rows=120, classes=4):
    """Make a report with everything in it."""
    adapter, dev = drawn(rows, classes, 0.9, seed=seed), drawn(rows // 2, classes, 0.9, seed=seed)
    return made(
        {"dev": dev, "test": adapter},
        {
            "majority": {"test": drawn(rows, classes, 0.0, seed=seed + 1)},
            "linear_probe": {"test": drawn(rows, classes, 0.6, seed=seed + 2), "dev": dev},
        },
        cost={"seconds": 12.5, "tokens": 9000, "peak_bytes": 1 << 30, "trainable_parameters": 70},
        data={"counts": {"train": 100, "test": rows}, "columns": ("text", "label")},
        curve={"loss": [(1, 2.0), (2, 1.0)], "accuracy": [(2, 0.5)]},
        notes=["3 rows were cut at 128 tokens"],
        seen_in_train=adapter.ids[:7],
        environment={"torch": "2.13.0"},
        title="mood on MiniLM",
        command="tenon train run.toml",
    )


def test_the_json_has_the_shape_that_scripts_read():
    value = full().to_json()
    assert value["format"] == 1
    assert next(iter(value)) == "format"
    assert set(value["metrics"]["test"]["accuracy"]) == {"value", "low", "high", "n"}
    assert set(value["baselines"]) == {"majority", "linear_probe"}
    assert set(value["baselines"]["linear_probe"]["accuracy"]) == {"value", "low", "high", "n"}
    pair = value["paired"]["linear_probe"]["accuracy"]
    assert {"difference", "low", "high", "p"} <= set(pair)
    assert value["cost"]["peak_bytes"] == 1 << 30
    assert isinstance(value["verdict"], str)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999), rows=st.integers(3, 60), classes=st.integers(2, 5))
def test_json_gives_the_same_report_back(seed, rows, classes):
    made_first = full(seed, rows, classes)
    text = json.dumps(made_first.to_json(), allow_nan=False)
    assert Report.from_json(json.loads(text)) == made_first


def test_a_report_is_written_and_read_as_a_file(tmp_path):
    files.write_json(tmp_path / "report.json", full().to_json())
    assert Report.from_json(files.read_json(tmp_path / "report.json")) == full()


def test_equal_inputs_give_an_equal_report():
    assert full() == full()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format is 2; this Tenon reads format 1"),
        ({"format": None}, "format is None"),
        ({"suprise": 1}, "missing or unknown: suprise"),
        ({"metrics": {"test": {"accuracy": {"valeu": 1}}}}, "not of format 1"),
        ({"paired": {"probe": {"accuracy": 3}}}, "not of format 1"),
        ({"unseen": [1]}, "not of format 1"),
    ],
)
def test_a_report_of_another_form_is_refused(change, message):
    with pytest.raises(DataError, match=message):
        Report.from_json({**full().to_json(), **change})


def test_a_report_without_a_field_is_refused():
    value = full().to_json()
    del value["paired"]
    with pytest.raises(DataError, match="missing or unknown: paired"):
        Report.from_json(value)


def test_the_numbers_are_those_of_the_statistics():
    adapter, probe = drawn(100, 3, 0.9, seed=1), drawn(100, 3, 0.6, seed=2)
    found = made({"test": adapter}, {"linear_probe": {"test": probe}}, seed=5)
    scorers = [SCORERS.get(name) for name in QUICK.scorers]
    same = {"level": 0.95, "resamples": 200, "seed": 5}
    assert found.metrics["test"] == intervals(adapter, scorers, **same)
    assert found.baselines["linear_probe"] == intervals(probe, scorers, **same)
    assert found.paired["linear_probe"] == paired(adapter, probe, scorers, **same)


@pytest.mark.parametrize(
    ("parts", "leading"),
    [(("dev", "test"), "test"), (("dev",), "dev"), (("extra",), "extra"), (("a", "dev"), "dev")],
)
def test_test_leads_then_dev(parts, leading):
    found = made({part: drawn(30, 2, 0.9, seed=1) for part in parts})
    assert found.part == leading
    assert f" on {leading} " in found.verdict
    assert set(found.metrics) == set(parts)


def test_dev_alone_is_said_to_flatter():
    assert any("flatter" in note for note in made({"dev": drawn(30, 2, 0.9, seed=1)}).notes)
    assert not any("flatter" in note for note in made({"test": drawn(30, 2, 0.9, seed=1)}).notes)


def test_a_part_without_labels_is_in_no_score_but_in_a_note():
    blind = replace(drawn(30, 2, 0.9, seed=1), gold_R=np.full(30, -1, np.int32))
    found = made({"test": blind, "dev": drawn(30, 2, 0.9, seed=1)})
    assert found.part == "dev"
    assert "test" not in found.metrics
    assert "test: 30 rows have no known label and are in no score." in found.notes


def test_no_label_at_all_is_an_error():
    blind = replace(drawn(30, 2, 0.9, seed=1), gold_R=np.full(30, -1, np.int32))
    with pytest.raises(DataError, match="no part has a labelled row"):
        made({"test": blind})


def test_rows_without_label_are_counted():
    answers = drawn(30, 2, 0.9, seed=1)
    gold_R = answers.gold_R.copy()
    gold_R[:4] = -1
    found = made({"test": replace(answers, gold_R=gold_R)})
    assert found.metrics["test"]["accuracy"].n == 26
    assert "test: 4 rows have no known label and are in no score." in found.notes


def test_failed_rows_are_counted_with_their_cause():
    answers = replace(drawn(30, 2, 0.9, seed=1), failed={"t.csv:9": "too long", "t.csv:10": "x"})
    (note,) = made({"test": answers}).notes
    assert note == "test: 2 rows could not be answered, first t.csv:9: too long"


def test_rows_that_train_has_are_scored_apart():
    answers = drawn(100, 3, 0.8, seed=1)
    found = made({"test": answers}, seen_in_train=set(answers.ids[:25]))
    expected = SCORERS.get("accuracy").score(answers.take(np.arange(25, 100)))
    assert found.unseen["accuracy"].value == expected
    assert found.unseen["accuracy"].n == 75
    assert "test: 25 rows have inputs that train has too." in found.notes


def test_rows_that_train_has_not_need_no_second_score():
    answers = drawn(100, 3, 0.8, seed=1)
    found = made({"test": answers}, seen_in_train={"elsewhere"})
    assert found.unseen == {}
    assert found.notes == []


def test_without_baselines_nothing_is_won():
    found = made({"test": drawn(30, 2, 0.9, seed=1)})
    assert (found.outcome, found.won, found.lost) == ("unproved", {}, {})


def test_a_baseline_of_another_part_only_is_left_out():
    answers = drawn(30, 2, 0.9, seed=1)
    assert made({"test": answers}, {"linear_probe": {"dev": answers}}).paired == {}


def test_won_and_lost_are_against_the_probe_where_there_is_one():
    found = full()
    assert {row["baseline_answer"] for row in found.won["rows"]} <= set(found.confusion["labels"])
    pair = found.paired["linear_probe"]["accuracy"]
    assert (found.won["count"] - found.lost["count"]) / pair.n == pytest.approx(pair.difference)


def test_the_first_scorer_leads():
    answers = drawn(60, 2, 0.9, seed=1)
    found = made({"test": answers}, evaluate=EvaluateSettings(scorers=("mcc",), resamples=200))
    assert found.verdict.startswith("Matthews correlation on test")
    assert set(found.metrics["test"]) == {"mcc"}
    assert found.intervals["methods"] == {"mcc": "bca"}


def test_an_unknown_scorer_is_refused():
    with pytest.raises(PlanError, match="did you mean accuracy"):
        made({"test": drawn(9, 2, 0.9, seed=1)}, evaluate=EvaluateSettings(scorers=("acuracy",)))


def test_baselines_with_other_labels_are_refused():
    with pytest.raises(ValueError, match="different labels"):
        made(
            {"test": drawn(50, 2, 0.9, seed=1)},
            {"linear_probe": {"test": drawn(50, 2, 0.9, seed=1, gold_seed=4)}},
        )


@pytest.mark.parametrize("points", [0, 1, MOST_POINTS, MOST_POINTS + 1, 9_999])
def test_a_long_curve_is_thinned_by_averaging(points):
    curve = {"loss": [(step, 2.0 * step) for step in range(points)]}
    thin = made({"test": drawn(9, 2, 0.9, seed=1)}, curve=curve).learning_curve["loss"]
    assert len(thin) == min(points, MOST_POINTS)
    assert all(value == pytest.approx(2 * step) for step, value in thin)
    assert [step for step, _ in thin] == sorted(step for step, _ in thin)


def test_thinning_keeps_the_mean_of_a_jagged_curve():
    curve = {"loss": [(step, float(step % 2)) for step in range(10 * MOST_POINTS)]}
    thin = made({"test": drawn(9, 2, 0.9, seed=1)}, curve=curve).learning_curve["loss"]
    assert {value for _, value in thin} == {0.5}


@pytest.mark.parametrize("value", [float("nan"), object()])
def test_what_is_not_json_is_refused_when_the_report_is_made(value):
    with pytest.raises((TypeError, ValueError), match="JSON"):
        made({"test": drawn(9, 2, 0.9, seed=1)}, cost={"seconds": value})


@pytest.mark.parametrize("rows", [1, 2, FEWEST_ROWS - 1])
def test_a_handful_of_rows_make_a_report_that_claims_nothing(rows):
    answers = predictions([0] * rows, np.log(np.tile([0.7, 0.3], (rows, 1))))
    found = made({"test": answers}, {"majority": {"test": answers}})
    assert found.metrics["test"]["accuracy"].value == 1
    assert (set(found.metrics["test"]), found.paired) == ({"accuracy"}, {})
    assert found.outcome == "unproved"
    counted = "1 row, which is" if rows == 1 else f"{rows} rows, which are"
    assert f"{counted} too few to compare it with the majority class" in found.verdict
    assert any("too few" in note for note in found.notes)
    json.dumps(found.to_json(), allow_nan=False)


def test_one_row_more_is_compared():
    answers = predictions([0] * FEWEST_ROWS, np.log(np.tile([0.7, 0.3], (FEWEST_ROWS, 1))))
    found = made({"test": answers}, {"majority": {"test": answers}})
    assert found.outcome == "no_difference"
    assert set(found.paired["majority"]) == set(found.metrics["test"]) == set(QUICK.scorers)


def test_a_leading_score_that_few_rows_do_not_allow_gives_way_to_accuracy():
    evaluate = EvaluateSettings(scorers=("macro_f1",), resamples=200)
    parts = {"test": drawn(3, 2, 0.9, seed=1), "dev": drawn(30, 2, 0.9, seed=2)}
    found = made(parts, evaluate=evaluate)
    assert set(found.metrics["test"]) == {"accuracy"}
    assert set(found.metrics["dev"]) == {"macro_f1"}


def test_of_a_task_without_shares_the_leading_score_of_few_rows_is_said_to_be_rough(folder_of):
    tokens = collect(tagged(3), renderer_of(folder_of("bert")))
    even = np.full((len(unit_classes(tokens)), len(TAGS)), -np.log(len(TAGS)), np.float32)
    evaluate = EvaluateSettings(scorers=("entity_f1", "tag_accuracy"), resamples=200)
    task = "token-classification"
    found = made({"test": put_together(tokens, TAGS, even)}, evaluate=evaluate, task=task)
    assert set(found.metrics["test"]) == {"entity_f1"}
    assert any("any score but Entity F1, whose interval is rough" in note for note in found.notes)


def test_inputs_are_left_as_they_were():
    answers = drawn(40, 3, 0.8, seed=1)
    before = answers.log_probs_RL.copy(), answers.gold_R.copy()
    notes = ["one"]
    made({"test": answers}, {"majority": {"test": answers}}, notes=notes)
    assert np.array_equal(answers.log_probs_RL, before[0])
    assert np.array_equal(answers.gold_R, before[1])
    assert notes == ["one"]


def test_dev_leads_where_test_has_no_labels():
    known = drawn(20, 3, 0.8, seed=1)
    blind = replace(known, gold_R=np.full(20, -1, np.int32))
    assert leading_part({"dev": known, "test": known}) == "test"
    assert leading_part({"dev": known, "test": blind}) == "dev"
    with pytest.raises(DataError, match="no part has a labelled row"):
        leading_part({"dev": blind, "test": blind})
