"""Multilabel scores are scikit-learn's, and tuned thresholds are the best there are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics

from tenon.evaluate import multilabel
from tenon.evaluate.multilabel import COMBINE


def score(name, terms_RK):
    sums_1K = np.asarray(terms_RK.sum(axis=0)).reshape(1, -1)
    return float(COMBINE[name](sums_1K, terms_RK.shape[0])[0])


@st.composite
def answered(draw):
    """Gold and probabilities with many ties, absent labels and empty rows."""
    shape = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    gold_RL = draw(arrays.arrays(bool, shape))
    steps_RL = draw(arrays.arrays(np.int64, shape, elements=st.integers(0, 10)))
    return gold_RL, (steps_RL / 10).astype(draw(st.sampled_from([np.float32, np.float64])))


def drawn(seed, rows, labels):
    generator = np.random.default_rng(seed)
    gold_RL = generator.random((rows, labels)) < generator.random(labels) * 0.6
    noise_RL = generator.normal(size=(rows, labels))
    return gold_RL, 1 / (1 + np.exp(-(2.0 * gold_RL - 1.5 + noise_RL)))


def f1(gold, answers, average):
    return metrics.f1_score(gold, answers, average=average, zero_division=0)


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_scikit_learns(seed):
    gold_RL, probabilities_RL = drawn(seed, 1_000, 12)
    answers_RL = multilabel.decide(probabilities_RL, np.full(12, 0.5))
    terms_RK = multilabel.terms(gold_RL, answers_RL)
    assert score("micro_f1", terms_RK) == pytest.approx(f1(gold_RL, answers_RL, "micro"))
    assert score("macro_f1", terms_RK) == pytest.approx(f1(gold_RL, answers_RL, "macro"))
    expected = metrics.accuracy_score(gold_RL, answers_RL)
    assert score("subset_accuracy", terms_RK) == pytest.approx(expected)
    ranked_R1 = multilabel.ranking_terms(gold_RL, probabilities_RL)
    expected = metrics.label_ranking_average_precision_score(gold_RL, probabilities_RL)
    assert score("ranking_precision", ranked_R1) == pytest.approx(expected)


@given(case=answered())
def test_small_cases_are_scikit_learns(case):
    gold_RL, probabilities_RL = case
    answers_RL = probabilities_RL >= 0.5
    terms_RK = multilabel.terms(gold_RL, answers_RL)
    occurs_L = gold_RL.any(axis=0) | answers_RL.any(axis=0)
    gold, answers = gold_RL[:, occurs_L].astype(int), answers_RL[:, occurs_L].astype(int)
    hits, both = (gold & answers).sum(axis=0), gold.sum(axis=0) + answers.sum(axis=0)
    expected = 2 * hits.sum() / both.sum() if occurs_L.any() else 0
    assert score("micro_f1", terms_RK) == pytest.approx(expected)
    expected = (2 * hits / both).mean() if occurs_L.any() else 0
    assert score("macro_f1", terms_RK) == pytest.approx(expected)
    assert score("subset_accuracy", terms_RK) == (gold_RL == answers_RL).all(axis=1).mean()
    if gold_RL.shape[1] > 1:
        ranked_R1 = multilabel.ranking_terms(gold_RL, probabilities_RL)
        expected = metrics.label_ranking_average_precision_score(gold_RL, probabilities_RL)
        assert score("ranking_precision", ranked_R1) == pytest.approx(expected)


def best_by_trying(gold_N, probability_N):
    """The highest F1 of any threshold, found by trying all that differ."""
    scores = []
    for threshold in [*np.unique(probability_N), 1.1]:
        answer_N = probability_N >= threshold
        both = gold_N.sum() + answer_N.sum()
        scores.append(2 * (gold_N & answer_N).sum() / both if both else 0.0)
    return max(scores)


def f1_of(gold_N, answer_N):
    both = gold_N.sum() + answer_N.sum()
    return 2 * (gold_N & answer_N).sum() / both if both else 0.0


@given(case=answered())
def test_tuned_thresholds_are_the_best(case):
    gold_RL, probabilities_RL = case
    one_L = multilabel.tune(gold_RL, probabilities_RL)
    assert len(set(one_L.tolist())) == 1
    answers_RL = multilabel.decide(probabilities_RL, one_L)
    expected = best_by_trying(gold_RL.ravel(), probabilities_RL.ravel())
    assert f1_of(gold_RL, answers_RL) == pytest.approx(expected)
    own_L = multilabel.tune(gold_RL, probabilities_RL, per_label=True)
    answers_RL = multilabel.decide(probabilities_RL, own_L)
    for label in range(gold_RL.shape[1]):
        expected = best_by_trying(gold_RL[:, label], probabilities_RL[:, label])
        assert f1_of(gold_RL[:, label], answers_RL[:, label]) == pytest.approx(expected)


@given(case=answered(), seed=st.integers(0, 9))
def test_thresholds_do_not_depend_on_the_order_of_rows(case, seed):
    gold_RL, probabilities_RL = case
    order_R = np.random.default_rng(seed).permutation(len(gold_RL))
    for per_label in (False, True):
        found_L = multilabel.tune(gold_RL, probabilities_RL, per_label=per_label)
        other_L = multilabel.tune(gold_RL[order_R], probabilities_RL[order_R], per_label=per_label)
        np.testing.assert_array_equal(found_L, other_L)


def test_the_threshold_is_half_where_half_is_as_good():
    gold_RL = np.array([[True], [False]])
    assert multilabel.tune(gold_RL, np.array([[0.9], [0.2]])) == 0.5
    assert multilabel.tune(gold_RL, np.array([[0.4], [0.2]])) == pytest.approx(0.3)
    assert multilabel.tune(gold_RL, np.array([[0.9], [0.7]])) == pytest.approx(0.8)
    assert multilabel.tune(~gold_RL & False, np.array([[0.9], [0.7]])) == 0.5


def test_neighbouring_doubles_are_parted():
    low = 0.3
    high = np.nextafter(low, 1)
    probabilities_R1 = np.array([[high], [low]])
    thresholds_1 = multilabel.tune(np.array([[True], [False]]), probabilities_R1)
    assert multilabel.decide(probabilities_R1, thresholds_1).ravel().tolist() == [True, False]


@given(case=answered(), seed=st.integers(0, 9))
def test_samples_are_scored_as_the_rows_they_hold(case, seed):
    gold_RL, probabilities_RL = case
    rows = len(gold_RL)
    answers_RL = probabilities_RL >= 0.5
    taken = np.random.default_rng(seed).integers(0, rows, rows)
    count_1R = np.bincount(taken, minlength=rows)[None].astype(float)
    for name, combine in COMBINE.items():
        terms = multilabel.ranking_terms if name == "ranking_precision" else multilabel.terms
        given_RL = probabilities_RL if name == "ranking_precision" else answers_RL
        value = combine(np.asarray(count_1R @ terms(gold_RL, given_RL)), rows)[0]
        assert value == pytest.approx(score(name, terms(gold_RL[taken], given_RL[taken])))


def test_the_table_has_every_label():
    gold_RL = np.array([[True, False, False], [True, True, False]])
    answers_RL = np.array([[True, False, False], [False, True, False]])
    first, second, third = multilabel.per_label(("a", "b", "c"), gold_RL, answers_RL, 0.95)
    assert (first["rows"], first["answers"], first["hits"]) == (2, 1, 1)
    assert (first["precision"]["value"], first["recall"]["value"]) == (1, 0.5)
    assert first["f1"] == pytest.approx(2 / 3)
    assert second["f1"] == 1
    assert (third["precision"], third["recall"], third["f1"]) == (None, None, None)


def test_no_label_anywhere_scores_nothing_but_whole_rows():
    none_RL = np.zeros((1, 3), bool)
    terms_RK = multilabel.terms(none_RL, none_RL)
    assert score("micro_f1", terms_RK) == score("macro_f1", terms_RK) == 0
    assert score("subset_accuracy", terms_RK) == 1


def test_what_cannot_be_scored_is_refused():
    gold_RL = np.zeros((2, 3), bool)
    with pytest.raises(ValueError, match=r"shape \(2, 3\), the answers \(2, 2\)"):
        multilabel.terms(gold_RL, gold_RL[:, :2])
    for hostile in (np.nan, -0.1, 1.1):
        with pytest.raises(ValueError, match=r"not in \[0, 1\]"):
            multilabel.tune(gold_RL, np.full((2, 3), hostile))
