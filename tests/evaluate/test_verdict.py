"""The verdict says what the numbers say, in words that a reader can trust."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.evaluate import verdict
from tenon.evaluate.scorers import SCORERS
from tenon.evaluate.statistics import Interval, Paired

ACCURACY = SCORERS.get("accuracy")
LOSS = SCORERS.get("log_loss")
MCC = SCORERS.get("mcc")


def interval(value):
    return Interval(value, value - 0.01, value + 0.01, 3080)


def pair(difference, low, high, p):
    return Paired(difference, low, high, p, 3080, "a test")


def judged(scorer, value, rivals):
    """Judge with rivals given as name to (score, paired difference)."""
    return verdict.judge(
        scorer,
        interval(value),
        {name: interval(score) for name, (score, _) in rivals.items()},
        {name: compared for name, (_, compared) in rivals.items()},
        part="test",
        level=0.95,
    )


def test_better():
    found = judged(ACCURACY, 0.934, {"linear_probe": (0.903, pair(0.031, 0.022, 0.04, 1e-6))})
    assert found.outcome == "better"
    assert found.sentence == (
        "Accuracy on test is 93.4 %, better than the linear probe's 90.3 % by 3.1 points "
        "(2.2 to 4.0; p < 0.001, 3,080 rows)."
    )


def test_worse():
    found = judged(ACCURACY, 0.90, {"linear_probe": (0.92, pair(-0.02, -0.031, -0.009, 0.004))})
    assert found.outcome == "worse"
    assert found.sentence == (
        "Accuracy on test is 90.0 %, worse than the linear probe's 92.0 % by 2.0 points "
        "(0.9 to 3.1; p = 0.004, 3,080 rows)."
    )


def test_no_difference_says_that_the_gain_is_within_noise():
    found = judged(ACCURACY, 0.933, {"linear_probe": (0.9305, pair(0.0025, -0.004, 0.009, 0.48))})
    assert found.outcome == "no_difference"
    assert found.sentence == (
        "Accuracy on test is 93.3 %: no difference from the linear probe (93.0 %) that 3,080 rows "
        "could show. The change of +0.2 points (−0.4 to +0.9) is within noise, p = 0.48."
    )


def test_a_lower_loss_is_better():
    found = judged(LOSS, 0.25, {"linear_probe": (0.29, pair(-0.04, -0.06, -0.02, 0.001))})
    assert found.outcome == "better"
    assert "by 0.040 nats (0.020 to 0.060; p = 0.001" in found.sentence


def test_a_higher_loss_is_worse():
    assert judged(LOSS, 0.3, {"linear_probe": (0.25, pair(0.05, 0.03, 0.07, 0.001))}).outcome == (
        "worse"
    )


def test_without_baselines_nothing_is_proved():
    found = judged(ACCURACY, 0.9, {})
    assert found.outcome == "unproved"
    assert "no baseline" in found.sentence


def test_the_probe_leads_whatever_the_order():
    rivals = {
        "majority": (0.1, pair(0.8, 0.7, 0.9, 1e-9)),
        "linear_probe": (0.9, pair(0.0, -0.01, 0.01, 1.0)),
    }
    found = judged(ACCURACY, 0.9, rivals)
    assert found.outcome == "no_difference"
    assert "linear probe" in found.sentence
    assert "commonest" not in found.sentence


def test_the_majority_is_named_where_even_it_is_not_beaten():
    rivals = {
        "linear_probe": (0.9, pair(0.0, -0.01, 0.01, 1.0)),
        "majority": (0.9, pair(0.0, -0.01, 0.01, 1.0)),
    }
    assert judged(ACCURACY, 0.9, rivals).sentence.endswith(
        "It is not even shown to be better than always answering the commonest label."
    )


def test_the_majority_alone_is_a_rival():
    found = judged(ACCURACY, 0.9, {"majority": (0.5, pair(0.4, 0.3, 0.5, 1e-9))})
    assert found.outcome == "better"
    assert "better than the majority class's 50.0 %" in found.sentence


def test_another_baseline_is_spoken_of_by_its_name():
    found = judged(ACCURACY, 0.9, {"old_model": (0.5, pair(0.4, 0.3, 0.5, 1e-9))})
    assert "better than old model's 50.0 %" in found.sentence


@given(
    low=st.floats(-1, 1),
    width=st.floats(0, 1),
    place=st.floats(0, 1),
    p=st.floats(0, 1),
    scorer=st.sampled_from([ACCURACY, LOSS, MCC]),
)
def test_a_difference_counts_where_test_and_interval_agree(low, width, place, p, scorer):
    high = low + width
    compared = pair(low + place * width, low, high, p)
    found = verdict.decide(scorer, compared, 0.95)
    if p >= 0.05 or low <= 0 <= high:
        assert found == "no_difference"
        return
    up = found == ("better" if scorer.better == "higher" else "worse")
    assert up == (low > 0)


@given(value=st.floats(-1, 1), scorer=st.sampled_from([ACCURACY, LOSS, MCC]))
def test_a_difference_says_its_sign_or_that_it_rounds_to_none(value, scorer):
    text = verdict.signed(scorer, value)
    assert "-" not in text
    number = float(text.replace(verdict.MINUS, "-"))
    shown = 100 * value if scorer.unit == "percent" else value
    assert number == pytest.approx(shown, abs=0.0501 if scorer.unit == "percent" else 0.000501)
    assert re.fullmatch(r"[+−]\d+\.\d+" if number else r"0\.0+", text)


@pytest.mark.parametrize(
    ("p", "text"),
    [(1.0, "p = 1.00"), (0.48, "p = 0.48"), (0.0123, "p = 0.012"), (0.00099, "p < 0.001")],
)
def test_p_values_are_written_as_people_do(p, text):
    assert verdict.probability(p) == text


@pytest.mark.parametrize(
    ("scorer", "value", "step", "mark"),
    [
        (ACCURACY, 0.01, "+1", "1 %"),
        (ACCURACY, 0.0, "0", "0 %"),
        (LOSS, -0.05, "−0.05", "−0.05"),
        (MCC, 0.9, "+0.9", "0.9"),
    ],
)
def test_round_values_are_short(scorer, value, step, mark):
    assert verdict.step(scorer, value) == step
    assert verdict.mark(scorer, value) == mark


@pytest.mark.parametrize(
    ("scorer", "text"), [(ACCURACY, "93.4 %"), (LOSS, "0.934 nats"), (MCC, "0.934")]
)
def test_an_amount_has_its_unit(scorer, text):
    assert verdict.amount(scorer, 0.934) == text
