"""Temperature: no answer changes, the loss where it was fitted never rises, and it is found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from answers import predictions
from tenon.data.gold import Span
from tenon.evaluate import temperature
from tenon.evaluate.entity_scorers import brier_terms, gap_terms
from tenon.evaluate.scorers import SCORERS
from tenon.evaluate.tagged import Tagged
from tenon.model.head import Head

SEEDS = st.integers(0, 2**32 - 1)
HEATS = st.floats(0.25, 4.5)


def logits(seed: int, rows: int = 200, labels: int = 5, size: float = 3.0):
    return np.random.default_rng(seed).normal(size=(rows, labels)) * size


def classified(logits_RL, gold_R):
    return predictions(gold_R, log_softmax(logits_RL, axis=1))


def drawn(logits_RL, seed: int):
    """Draw gold labels from the very probabilities that logits mean."""
    random = np.random.default_rng(seed)
    chances_RL = np.exp(log_softmax(logits_RL, axis=1))
    return np.array([random.choice(len(row), p=row / row.sum()) for row in chances_RL], np.int32)


def tagged(seed: int, texts: int = 30) -> Tagged:
    """Give texts of random tags, whose scores are drawn by chance."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 9, texts)
    first_R = np.concatenate([[0], sizes.cumsum()])
    units = int(first_R[-1])
    labels = ("O", "B-a", "I-a", "B-b", "I-b")
    starts_U = np.concatenate([np.arange(size) * 2 for size in sizes]).astype(np.int32)
    scores_UL = log_softmax(random.normal(size=(units, 5)) * 2, axis=1).astype(np.float32)
    return Tagged(
        labels=labels,
        ids=[str(row) for row in range(texts)],
        origins=[f"made:{row}" for row in range(texts)],
        texts=["x " * int(size) for size in sizes],
        gold=[(Span(0, 1, "a"),)] * texts,
        first_R=first_R,
        starts_U=starts_U,
        ends_U=starts_U + 1,
        classes_U=random.integers(0, 5, units).astype(np.int32),
        log_probs_UL=scores_UL,
        failed={},
    )


@given(SEEDS, HEATS)
def test_no_answer_changes(seed, heat):
    answers = classified(logits(seed), drawn(logits(seed), seed))
    assert np.array_equal(temperature.scaled(answers, heat).answer_R, answers.answer_R)


@given(SEEDS, HEATS)
def test_no_tag_changes_though_tags_must_follow_each_other(seed, heat):
    answers = tagged(seed)
    assert temperature.scaled(answers, heat).tags == answers.tags


@given(SEEDS)
def test_the_loss_on_what_it_was_fitted_on_never_rises(seed):
    answers = classified(logits(seed), drawn(logits(seed, size=1.0), seed))
    found = temperature.fit(answers)
    loss = SCORERS.get("log_loss")
    assert loss.score(temperature.scaled(answers, found.value)) <= loss.score(answers) + 1e-6


@pytest.mark.parametrize("heat", [0.5, 1.0, 2.0, 3.5])
def test_it_finds_by_what_true_logits_were_multiplied(heat):
    true = logits(4, rows=6_000, size=1.5)
    answers = classified(heat * true, drawn(true, 4))
    found = temperature.fit(answers)
    assert found.value == pytest.approx(heat, rel=0.08)
    assert found.units == 6_000
    error = SCORERS.get("calibration_error")
    after = error.score(temperature.scaled(answers, found.value))
    assert after < 0.03
    if heat != 1:
        assert after < error.score(answers) / 2


def test_scaling_and_scaling_back_changes_nothing_but_rounding():
    answers = classified(logits(2), drawn(logits(2), 2))
    again = temperature.scaled(temperature.scaled(answers, 2.5), 1 / 2.5)
    assert np.allclose(again.log_probs_RL, answers.log_probs_RL, atol=1e-4)


def test_rows_without_gold_have_no_part_in_it():
    gold_R = drawn(logits(3), 3)
    whole = temperature.fit(classified(logits(3), gold_R))
    masked = np.concatenate([gold_R, np.full(50, -1, np.int32)])
    more = np.concatenate([logits(3), logits(8, rows=50)])
    found = temperature.fit(classified(more, masked))
    assert found.units == 200
    assert found.value == pytest.approx(whole.value, rel=1e-3)


def test_too_few_rows_and_one_class_have_none():
    assert temperature.fit(classified(logits(1, rows=9), drawn(logits(1, rows=9), 1))) is None
    assert temperature.fit(classified(logits(1, labels=1), np.zeros(200, np.int32))) is None
    assert temperature.fit(object()) is None


def test_a_folded_head_gives_the_scaled_scores():
    head = Head(8, 3, normalize=False, bias=True)
    pooled_BD = torch.randn(50, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before_BL = head(pooled_BD)
        temperature.fold(head, 1.7)
        after_BL = head(pooled_BD)
    assert torch.allclose(after_BL * 1.7, before_BL, atol=1e-6)
    assert head.temperature == 1.7


def test_the_report_has_what_was_and_what_is_with_intervals():
    true = logits(6, rows=400, size=1.5)
    dev, test = (
        classified(3 * part, drawn(part, place))
        for place, part in enumerate((true[:200], true[200:]))
    )
    found = temperature.fit(dev)
    told = temperature.compare(
        "text-classification",
        found,
        test,
        temperature.scaled(test, found.value),
        stored=False,
        level=0.95,
        resamples=300,
        seed=1,
    )
    assert told["n"] == 200
    assert told["fitted_on"] == "dev"
    assert not told["stored"]
    for name in ("calibration_error", "log_loss", "brier"):
        before, after = told["before"][name], told["after"][name]
        assert before["low"] <= before["value"] <= before["high"]
        assert before["n"] == after["n"] == 200
        assert after["value"] < before["value"]
        difference = after["value"] - before["value"]
        assert told["paired"][name]["difference"] == pytest.approx(difference)
    assert told["paired"]["log_loss"]["p"] < 0.05


def test_the_brier_score_is_the_squared_distance_from_the_gold():
    answers = classified(logits(7, rows=20), drawn(logits(7, rows=20), 7))
    one_RL = np.eye(5)[answers.gold_R]
    expected = ((np.exp(answers.log_probs_RL) - one_RL) ** 2).sum(1).mean()
    assert SCORERS.get("brier").score(answers) == pytest.approx(expected, rel=1e-5)


def test_scores_of_tags_are_those_of_their_units_as_rows():
    answers = tagged(5)
    rows = classified(answers.log_probs_UL, answers.classes_U)
    assert SCORERS.get("tag_brier").score(answers) == pytest.approx(
        SCORERS.get("brier").score(rows), rel=1e-5
    )
    assert SCORERS.get("tag_calibration_error").score(answers) == pytest.approx(
        SCORERS.get("calibration_error").score(rows), rel=1e-5
    )
    assert brier_terms(answers).shape == (30, 2)
    assert gap_terms(answers).shape[0] == 30
