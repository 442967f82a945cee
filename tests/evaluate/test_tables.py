"""Tables agree with scikit-learn and with each other."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from answers import drawn, predictions
from tenon.evaluate import tables
from tenon.evaluate.scorers import SCORERS, hits


@st.composite
def systems(draw):
    return drawn(
        draw(st.integers(1, 80)),
        draw(st.integers(2, 6)),
        draw(st.sampled_from([0.0, 0.5, 1.0])),
        seed=draw(st.integers(0, 999)),
        gold_seed=draw(st.integers(0, 999)),
    )


@settings(max_examples=60, deadline=None)
@given(system=systems())
def test_per_class_is_scikit_learns(system):
    table = tables.per_class(system, 0.95)
    labels = np.arange(len(system.labels))
    theirs = metrics.precision_recall_fscore_support(
        system.gold_R, system.answer_R, labels=labels, zero_division=0
    )
    for index, entry in enumerate(table):
        precision, recall, f1, support = (column[index] for column in theirs)
        assert entry["label"] == system.labels[index]
        assert entry["rows"] == support
        assert (entry["precision"] or {"value": 0})["value"] == pytest.approx(precision)
        assert (entry["recall"] or {"value": 0})["value"] == pytest.approx(recall)
        assert (entry["f1"] or 0) == pytest.approx(f1)


@settings(max_examples=40, deadline=None)
@given(system=systems())
def test_a_share_of_no_rows_is_not_a_number(system):
    for entry in tables.per_class(system, 0.95):
        assert (entry["recall"] is None) == (entry["rows"] == 0)
        assert (entry["precision"] is None) == (entry["answers"] == 0)
        assert (entry["f1"] is None) == (entry["rows"] + entry["answers"] == 0)
        for share in (entry["recall"], entry["precision"]):
            if share:
                assert 0 <= share["low"] <= share["value"] <= share["high"] <= 1


@settings(max_examples=60, deadline=None)
@given(system=systems())
def test_confusion_is_scikit_learns(system):
    table = tables.confusion(system)
    labels = len(system.labels)
    dense = np.zeros((labels, labels), int)
    for gold, answer, rows in table["cells"]:
        assert rows > 0
        dense[gold, answer] += rows
    theirs = metrics.confusion_matrix(system.gold_R, system.answer_R, labels=np.arange(labels))
    assert np.array_equal(dense, theirs)


@settings(max_examples=40, deadline=None)
@given(system=systems())
def test_pairs_are_the_largest_errors_first(system):
    table = tables.confusion(system)
    sizes = [pair["rows"] for pair in table["pairs"]]
    assert sizes == sorted(sizes, reverse=True)
    wrong = sorted((cell[2] for cell in table["cells"] if cell[0] != cell[1]), reverse=True)
    assert sizes == wrong[: tables.MOST_PAIRS]
    for pair in table["pairs"]:
        assert pair["gold"] != pair["answer"]
        assert pair["rows"] <= pair["of"]


def test_pairs_name_the_labels():
    log_probs = np.log(np.array([[0.1, 0.9], [0.2, 0.8], [0.9, 0.1]]))
    table = tables.confusion(predictions([0, 0, 0], log_probs, labels=["cat", "dog"]))
    assert table["pairs"] == [{"gold": "cat", "answer": "dog", "rows": 2, "of": 3}]


@settings(max_examples=40, deadline=None)
@given(system=systems())
def test_calibration_bins_hold_every_row_once(system):
    bins = tables.calibration(system, 0.95)
    assert sum(entry["n"] for entry in bins) == len(system)
    right = sum(entry["accuracy"] * entry["n"] for entry in bins)
    assert right == pytest.approx(hits(system).sum())
    places = [entry["confidence"] for entry in bins]
    assert places == sorted(places)
    for entry in bins:
        assert 0 <= entry["low"] <= entry["accuracy"] <= entry["high"] <= 1


@settings(max_examples=40, deadline=None)
@given(system=systems())
def test_calibration_bins_add_up_to_the_calibration_error(system):
    bins = tables.calibration(system, 0.95)
    error = sum(abs(entry["confidence"] - entry["accuracy"]) * entry["n"] for entry in bins)
    score = SCORERS.get("calibration_error").score(system)
    assert error / len(system) == pytest.approx(score, abs=1e-9)


def test_tables_are_plain_values():
    system = drawn(60, 4, 0.6, seed=1)
    for table in (
        tables.per_class(system, 0.95),
        tables.confusion(system),
        tables.calibration(system, 0.95),
    ):
        assert json.loads(json.dumps(table, allow_nan=False)) == table
