"""Regression scores are scipy's and scikit-learn's; what does not vary has no correlation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from tenon.evaluate import regression
from tenon.evaluate.regression import COMBINE


def terms_of(name):
    return regression.rank_terms if name == "spearman" else regression.terms


def score(name, gold_R, answers_R):
    sums_1K = np.asarray(terms_of(name)(gold_R, answers_R).sum(axis=0)).reshape(1, -1)
    return float(COMBINE[name](sums_1K, len(gold_R))[0])


def expected(name, gold_R, answers_R):
    if name == "mae":
        return metrics.mean_absolute_error(gold_R, answers_R)
    if name == "rmse":
        return metrics.mean_squared_error(gold_R, answers_R) ** 0.5
    test = stats.spearmanr if name == "spearman" else stats.pearsonr
    return test(gold_R, answers_R).statistic


@pytest.mark.parametrize("name", sorted(COMBINE))
@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (1e-3, 1e6), (1e9, 0), (1e-9, 5)])
def test_scores_are_scipys(name, scale, offset):
    generator = np.random.default_rng(3)
    gold_R = offset + scale * generator.integers(0, 26, 1_000) / 5
    answers_R = gold_R + scale * generator.normal(size=1_000)
    value = score(name, gold_R, answers_R)
    # scipy centres on a mean that is rounded, which shows where the offset is large.
    assert value == pytest.approx(expected(name, gold_R, answers_R), rel=1e-6)


numbers = st.lists(st.tuples(*[st.integers(-20, 20)] * 2), min_size=1, max_size=25)


@pytest.mark.parametrize("name", sorted(COMBINE))
@given(rows=numbers)
def test_small_cases_with_ties_are_scipys(name, rows):
    gold_R, answers_R = np.array(rows, float).T / 4
    if name in ("mae", "rmse"):
        assert score(name, gold_R, answers_R) == pytest.approx(expected(name, gold_R, answers_R))
        return
    assume(len(rows) > 1 and np.ptp(gold_R) > 0 and np.ptp(answers_R) > 0)
    assert score(name, gold_R, answers_R) == pytest.approx(
        expected(name, gold_R, answers_R), abs=1e-9
    )


@given(rows=numbers, slope=st.floats(0.01, 100), offset=st.floats(-100, 100))
def test_correlations_do_not_see_scale_and_offset(rows, slope, offset):
    gold_R, answers_R = np.array(rows, float).T
    for name in ("pearson", "spearman"):
        value = score(name, gold_R, answers_R)
        assert -1 <= value <= 1
        assert score(name, gold_R, slope * answers_R + offset) == pytest.approx(value, abs=1e-6)
        assert score(name, answers_R, gold_R) == pytest.approx(value, abs=1e-12)
        assert score(name, gold_R, -answers_R) == pytest.approx(-value, abs=1e-9)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9 + 0.1, -1e-300])
@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_what_does_not_vary_has_no_correlation(name, constant):
    varied = np.linspace(0, 1, 7)
    level = np.full(7, constant)
    assert score(name, varied, level) == score(name, level, varied) == 0
    assert score(name, level, level) == 0
    assert score(name, [constant], [0.3]) == 0


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_a_sample_that_does_not_vary_has_no_correlation(name):
    gold_R, answers_R = np.array([0.1, 0.7, 3.3, 0.1]), np.array([0.2, 0.5, 4.1, 0.3])
    terms_RK = terms_of(name)(gold_R, answers_R)
    count_SR = np.array([[4.0, 0, 0, 0], [0, 0, 4, 0], [2, 0, 0, 2], [1, 1, 1, 1]])
    score_S = COMBINE[name](np.asarray(count_SR @ terms_RK), 4)
    assert score_S[:3].tolist() == [0, 0, 0]
    assert score_S[3] == pytest.approx(expected(name, gold_R, answers_R))


@pytest.mark.parametrize("name", ["mae", "pearson", "rmse"])
@given(rows=numbers, seed=st.integers(0, 9))
def test_samples_are_scored_as_the_rows_they_hold(name, rows, seed):
    gold_R, answers_R = np.array(rows, float).T
    taken = np.random.default_rng(seed).integers(0, len(rows), len(rows))
    count_1R = np.bincount(taken, minlength=len(rows))[None].astype(float)
    sums_1K = np.asarray(count_1R @ regression.terms(gold_R, answers_R))
    value = COMBINE[name](sums_1K, len(rows))[0]
    assert value == pytest.approx(score(name, gold_R[taken], answers_R[taken]), abs=1e-9)


def test_samples_of_fixed_ranks_spread_a_little_less_than_samples_ranked_anew():
    generator = np.random.default_rng(0)
    gold_R = generator.normal(size=300)
    answers_R = gold_R + generator.normal(size=300)
    terms_RK = regression.rank_terms(gold_R, answers_R)
    taken_SR = generator.integers(0, 300, (1_000, 300))
    count_SR = np.stack([np.bincount(taken, minlength=300) for taken in taken_SR]).astype(float)
    fixed_S = regression.pearson(np.asarray(count_SR @ terms_RK), 300)
    anew_S = np.array([expected("spearman", gold_R[t], answers_R[t]) for t in taken_SR])
    assert np.corrcoef(fixed_S, anew_S)[0, 1] > 0.98
    assert 0.92 < fixed_S.std() / anew_S.std() < 1


@pytest.mark.parametrize("terms", [regression.terms, regression.rank_terms])
def test_what_cannot_be_scored_is_refused(terms):
    with pytest.raises(ValueError, match="row 1 has nan as its gold"):
        terms([1.0, np.nan], [1.0, 2.0])
    with pytest.raises(ValueError, match="row 0 has inf as its answer"):
        terms([1.0], [np.inf])
    for gold, answers in (([], []), ([1.0], [1.0, 2.0]), ([[1.0]], [[1.0]])):
        with pytest.raises(ValueError, match="gold has shape"):
            terms(gold, answers)
