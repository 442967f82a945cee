"""The probes of labels and numbers are those of scikit-learn, their penalty chosen on dev."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, Ridge

from tenon.evaluate import label_probe, number_probe
from tenon.evaluate.probe import scale_of

ROWS, WIDTH, LABELS = 400, 12, 4


def made(seed: int = 0, rows: int = ROWS):
    """Give features, some of them of other size, labels and numbers that follow from them."""
    random = np.random.default_rng(seed)
    turn = np.random.default_rng(99)
    features = random.normal(size=(rows, WIDTH)) * turn.uniform(0.01, 5, WIDTH) + turn.normal(
        size=WIDTH
    )
    weights = turn.normal(size=(LABELS, WIDTH)) / turn.uniform(0.01, 5, WIDTH)
    logits = (features - features.mean(0)) @ weights.T * 0.2 - 0.5
    gold = (random.random((rows, LABELS)) < expit(logits)).astype(np.int8)
    numbers = 1000 + 3 * (logits[:, 0] + 0.3 * random.normal(size=rows))
    return features.astype(np.float32), gold, numbers


def test_each_label_is_a_logistic_regression_of_its_own():
    features, gold, _ = made()
    fitted = label_probe.fit(features, gold, LABELS, seed=0, dev=made(1)[:2])
    scaled = scale_of(features).apply(features)
    for label in range(LABELS):
        model = LogisticRegression(C=fitted.C, tol=1e-8, max_iter=5000)
        model.fit(scaled, gold[:, label])
        expected = model.decision_function(scaled)
        found = features @ fitted.weight_LD[label] + fitted.bias_L[label]
        np.testing.assert_allclose(found, expected, atol=2e-2)


def test_the_penalty_of_labels_is_the_best_on_dev():
    features, gold, _ = made()
    dev = made(1)[:2]
    fitted = label_probe.fit(features, gold, LABELS, seed=0, dev=dev)
    best = label_probe.loss_of(dev[0] @ fitted.weight_LD.T + fitted.bias_L, dev[1])
    scale = scale_of(features)
    for factor in (0.1, 10):
        (other,) = label_probe._path(scale.apply(features), gold, (fitted.C * factor,))
        nats = label_probe.loss_of(scale.apply(dev[0]) @ other[0].T + other[1], dev[1])
        assert nats >= best - 1e-3


@pytest.mark.parametrize("dev", [None, "dev"])
def test_equal_inputs_give_equal_probes(dev):
    features, gold, numbers = made()
    other = made(1)
    for fit, answers, held in (
        (label_probe.fit, gold, other[1]), (number_probe.fit, numbers, other[2])
    ):  # fmt: skip
        given = (other[0], held) if dev else None
        first, second = (fit(features, answers, LABELS, seed=3, dev=given) for _ in range(2))
        assert (first.weight_LD == second.weight_LD).all() and (first.bias_L == second.bias_L).all()


def test_a_label_that_all_rows_or_none_have_stays_finite():
    features, gold, _ = made()
    gold[:, 0], gold[:, 1] = 1, 0
    fitted = label_probe.fit(features, gold, LABELS, seed=0, dev=made(1)[:2])
    chances = expit(features @ fitted.weight_LD.T + fitted.bias_L)
    assert np.isfinite(chances).all()
    assert chances[:, 0].min() > 0.9 and chances[:, 1].max() < 0.1


def test_frequencies_are_those_of_train_and_never_0_or_1():
    gold = np.array([[1, 0, 1], [1, 0, 0], [-1, -1, -1]], np.int8)
    found = np.exp(label_probe.frequencies(gold).classes_L)
    np.testing.assert_allclose(found, [2.5 / 3, 0.5 / 3, 0.5], rtol=1e-6)


def test_the_probe_of_numbers_is_ridge_regression():
    features, _, numbers = made()
    fitted = number_probe.fit(features, numbers, 1, seed=0, dev=(made(1)[0], made(1)[2]))
    mean, spread = number_probe.spread_of(numbers)
    scaled = scale_of(features).apply(features).astype(np.float64)
    model = Ridge(alpha=fitted.C * ROWS).fit(scaled, (numbers - mean) / spread)
    found = features @ fitted.weight_LD.T + fitted.bias_L
    np.testing.assert_allclose(found[:, 0], model.predict(scaled), atol=1e-4)
    assert np.corrcoef(found[:, 0], numbers)[0, 1] > 0.8


def test_what_says_nothing_is_shrunk_to_the_mean():
    random = np.random.default_rng(0)
    features = random.normal(size=(200, WIDTH)).astype(np.float32)
    numbers = random.normal(size=200)
    dev = random.normal(size=(100, WIDTH)).astype(np.float32), random.normal(size=100)
    fitted = number_probe.fit(features, numbers, 1, seed=0, dev=dev)
    assert np.abs(dev[0] @ fitted.weight_LD[0] + fitted.bias_L).max() < 0.5


def test_the_mean_is_that_of_the_known_numbers():
    numbers = np.array([1.0, np.nan, 4.0])
    assert number_probe.spread_of(numbers) == (2.5, 1.5)
    assert number_probe.mean_of(numbers).log_probs(None, 3).tolist() == [[2.5]] * 3
    assert number_probe.spread_of(np.array([2.0, 2.0])) == (2.0, 1.0)
