"""Scorers agree with scikit-learn, and do not care about the order of the rows."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn import metrics

from answers import drawn, predictions
from tenon.core.errors import PlanError
from tenon.evaluate.scorers import (
    CALIBRATION_BINS,
    SCORERS,
    calibration_bins,
    confidence,
    hits,
    labelled,
)
from tenon.evaluate.settings import BY_TASK

NAMES = ["accuracy", "calibration_error", "log_loss", "macro_f1", "mcc"]


@st.composite
def answered(draw, unlabelled=False):
    """Any small set of predictions, with ties, absent labels and single rows."""
    classes = draw(st.integers(2, 5))
    rows = draw(st.integers(1, 40))
    logits = draw(
        st.lists(
            st.lists(st.integers(-6, 6), min_size=classes, max_size=classes),
            min_size=rows,
            max_size=rows,
        )
    )
    lowest = -1 if unlabelled else 0
    gold = draw(st.lists(st.integers(lowest, classes - 1), min_size=rows, max_size=rows))
    return predictions(gold, log_softmax(np.array(logits, float), axis=1))


def expected(name, answers):
    """Ask scikit-learn for the same score."""
    gold, answer = answers.gold_R, answers.answer_R
    with warnings.catch_warnings():
        # scikit-learn warns of a single label, which is a case that is meant here.
        warnings.simplefilter("ignore")
        if name == "accuracy":
            return metrics.accuracy_score(gold, answer)
        if name == "macro_f1":
            return metrics.f1_score(gold, answer, average="macro", zero_division=0)
        if name == "mcc":
            return metrics.matthews_corrcoef(gold, answer)
        probs = np.exp(answers.log_probs_RL.astype(np.float64))
        probs /= probs.sum(axis=1, keepdims=True)
        return metrics.log_loss(gold, probs, labels=np.arange(probs.shape[1]))


def test_the_registry_has_the_scorers_that_the_tasks_name():
    assert sorted(BY_TASK["text-classification"].scorers) == NAMES
    named = {name for judging in BY_TASK.values() for name in (*judging.scorers, *judging.dev)}
    assert named <= set(SCORERS.names())


def test_an_unknown_scorer_gets_the_nearest_name():
    with pytest.raises(PlanError, match="did you mean accuracy"):
        SCORERS.get("acuracy")


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "mcc", "log_loss"])
@settings(max_examples=60, deadline=None)
@given(answers=answered())
def test_a_score_is_scikit_learns(name, answers):
    assert SCORERS.get(name).score(answers) == pytest.approx(expected(name, answers), abs=2e-6)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30, deadline=None)
@given(answers=answered(), seed=st.integers(0, 99))
def test_the_order_of_rows_does_not_matter(name, answers, seed):
    shuffled = answers.take(np.random.default_rng(seed).permutation(len(answers)))
    scorer = SCORERS.get(name)
    assert scorer.score(shuffled) == pytest.approx(scorer.score(answers), abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30, deadline=None)
@given(answers=answered(unlabelled=True))
def test_rows_without_gold_do_not_matter(name, answers):
    known = np.flatnonzero(answers.gold_R >= 0)
    if not len(known):
        with pytest.raises(ValueError, match="no row has a known label"):
            SCORERS.get(name).score(answers)
        return
    scorer = SCORERS.get(name)
    assert scorer.score(answers) == pytest.approx(scorer.score(answers.take(known)), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(answers=answered())
def test_scores_lie_where_they_can(answers):
    score = {name: SCORERS.get(name).score(answers) for name in NAMES}
    assert 0 <= score["accuracy"] <= 1
    assert 0 <= score["macro_f1"] <= 1
    assert -1 - 1e-12 <= score["mcc"] <= 1 + 1e-12
    assert score["log_loss"] >= 0
    assert 0 <= score["calibration_error"] <= 1


def test_a_perfect_system_has_perfect_scores():
    gold = np.arange(30) % 3
    log_probs = np.full((30, 3), -40.0)
    log_probs[np.arange(30), gold] = 0
    answers = predictions(gold, log_probs)
    score = {name: SCORERS.get(name).score(answers) for name in NAMES}
    assert score == {
        "accuracy": 1,
        "macro_f1": 1,
        "mcc": pytest.approx(1),
        "log_loss": 0,
        "calibration_error": 0,
    }


def test_a_constant_answer_has_no_correlation():
    answers = predictions([0, 0, 1, 1, 2], np.tile(np.log([0.5, 0.3, 0.2]), (5, 1)))
    assert SCORERS.get("mcc").score(answers) == 0


@pytest.mark.parametrize("hostile", [np.nan, -np.inf])
def test_a_log_probability_that_is_not_finite_is_refused(hostile):
    log_probs = np.log(np.full((4, 2), 0.5))
    log_probs[2, 1] = hostile
    with pytest.raises(ValueError, match="not finite"):
        labelled(predictions([0, 1, 0, 1], log_probs))


def test_a_damaged_row_without_gold_is_not_scored_and_not_refused():
    log_probs = np.log(np.full((3, 2), 0.5))
    log_probs[1] = np.nan
    assert len(labelled(predictions([0, -1, 1], log_probs))) == 2


def test_take_keeps_every_column_of_a_row_together():
    answers = drawn(20, 3, 0.5, seed=1)
    rows = np.array([7, 3, 19])
    taken = answers.take(rows)
    assert taken.ids == [answers.ids[row] for row in rows]
    assert taken.texts == ["text 7", "text 3", "text 19"]
    assert taken.origins == ["test.csv:9", "test.csv:5", "test.csv:21"]
    assert np.array_equal(taken.gold_R, answers.gold_R[rows])
    assert np.array_equal(taken.log_probs_RL, answers.log_probs_RL[rows])
    assert taken.pairs is None


def test_take_keeps_pairs():
    answers = predictions([0, 1], np.log(np.full((2, 2), 0.5)), pairs=["a", "b"])
    assert answers.take(np.array([1])).pairs == ["b"]


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.integers(0, 50), min_size=1, max_size=200))
def test_equal_confidences_share_a_bin_and_bins_are_ordered(values):
    confidence_R = np.array(values) / 50
    bin_R = calibration_bins(confidence_R)
    order = np.argsort(confidence_R, kind="stable")
    assert (np.diff(bin_R[order]) >= 0).all()
    assert 0 <= bin_R.min() <= bin_R.max() < CALIBRATION_BINS
    for value in set(values):
        assert len(set(bin_R[confidence_R == value / 50])) == 1


@pytest.mark.parametrize("rows", [15, 150, 3080])
def test_bins_of_distinct_confidences_have_equal_mass(rows):
    confidence_R = np.random.default_rng(0).permutation(rows) / rows
    counts = np.bincount(calibration_bins(confidence_R), minlength=CALIBRATION_BINS)
    assert counts.max() - counts.min() <= 1


def test_the_calibration_error_is_the_mean_gap_over_bins():
    answers = drawn(600, 4, 0.7, seed=3)
    confidence_R, hit_R = confidence(answers), hits(answers)
    order = np.argsort(confidence_R, kind="stable")
    gaps = [
        abs(confidence_R[part].mean() - hit_R[part].mean()) * len(part) / 600
        for part in np.array_split(order, CALIBRATION_BINS)
    ]
    assert SCORERS.get("calibration_error").score(answers) == pytest.approx(sum(gaps))


def test_a_system_that_is_as_sure_as_right_has_no_calibration_error():
    log_probs = np.log(np.tile([0.75, 0.25], (400, 1)))
    answers = predictions([0, 0, 0, 1] * 100, log_probs)
    assert SCORERS.get("calibration_error").score(answers) == pytest.approx(0, abs=1e-6)
