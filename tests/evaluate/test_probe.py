"""The probe is a strong baseline: scikit-learn's optimum, chosen on dev, on raw features."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tenon.evaluate import probe


def blobs(rows, classes, features, *, seed, noise=1.0, spread=1.0, offset=0.0):
    """Give features around a centre a class, and gold; equal centres for equal shapes."""
    centre_LD = np.random.default_rng(99).normal(size=(classes, features))
    generator = np.random.default_rng(seed)
    gold_R = generator.integers(0, classes, rows)
    noise_RD = generator.normal(size=(rows, features)) * noise
    scale_D = np.geomspace(1, spread, features)
    return (((centre_LD[gold_R] + noise_RD) * scale_D) + offset).astype(np.float32), gold_R


def log_loss(fitted, features_RD, gold_R):
    return -float(fitted.log_probs(features_RD)[np.arange(len(gold_R)), gold_R].mean())


def accuracy(fitted, features_RD, gold_R):
    return float((fitted.log_probs(features_RD).argmax(axis=1) == gold_R).mean())


def test_log_probs_are_of_a_distribution():
    features_RD, gold_R = blobs(300, 5, 8, seed=0)
    log_probs_RL = probe.fit(features_RD, gold_R, 5, seed=0).log_probs(features_RD)
    assert log_probs_RL.dtype == np.float32
    assert log_probs_RL.shape == (300, 5)
    assert np.exp(log_probs_RL.astype(float)).sum(axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_at_its_penalty_it_is_scikit_learns_optimum(classes):
    features_RD, gold_R = blobs(600, classes, 6, seed=1, noise=2, spread=50, offset=30)
    dev = blobs(200, classes, 6, seed=2, noise=2, spread=50, offset=30)
    fitted = probe.fit(features_RD, gold_R, classes, seed=0, dev=dev)
    scaler = StandardScaler().fit(features_RD.astype(float))
    exact = LogisticRegression(C=fitted.C, tol=1e-8, max_iter=5000)
    exact.fit(scaler.transform(features_RD.astype(float)), gold_R)
    logits_RL = exact.decision_function(scaler.transform(dev[0].astype(float)))
    if classes == 2:
        logits_RL = np.stack([-logits_RL / 2, logits_RL / 2], axis=1)
    theirs_RL = log_softmax(logits_RL / fitted.temperature, axis=1)
    assert fitted.log_probs(dev[0]) == pytest.approx(theirs_RL, abs=0.02)


def test_it_is_not_weaker_on_dev_than_any_penalty_of_a_plain_regression():
    features_RD, gold_R = blobs(400, 6, 40, seed=1, noise=2.5)
    dev = blobs(300, 6, 40, seed=2, noise=2.5)
    fitted = probe.fit(features_RD, gold_R, 6, seed=0, dev=dev)
    scaler = StandardScaler().fit(features_RD)
    for penalty in (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0):
        plain = LogisticRegression(C=penalty, max_iter=2000).fit(
            scaler.transform(features_RD), gold_R
        )
        log_probs_RL = plain.predict_log_proba(scaler.transform(dev[0]))
        theirs = -log_probs_RL[np.arange(300), dev[1]].mean()
        assert log_loss(fitted, *dev) <= theirs + 0.01, penalty


def test_equal_inputs_give_equal_weights():
    features_RD, gold_R = blobs(300, 4, 8, seed=0)
    first, again = (probe.fit(features_RD, gold_R, 4, seed=3) for _ in range(2))
    assert np.array_equal(first.weight_LD, again.weight_LD)
    assert np.array_equal(first.bias_L, again.bias_L)


def test_the_seed_chooses_what_is_held_out():
    features_RD, gold_R = blobs(300, 4, 8, seed=0, noise=2)
    first, other = (probe.fit(features_RD, gold_R, 4, seed=seed) for seed in (1, 2))
    assert first.temperature != other.temperature


def test_the_scale_and_place_of_features_do_not_matter():
    features_RD, gold_R = blobs(400, 3, 6, seed=0, noise=1.5)
    moved_RD = features_RD * np.float32(37) + np.float32(11)
    here = probe.fit(features_RD, gold_R, 3, seed=0).log_probs(features_RD)
    there = probe.fit(moved_RD, gold_R, 3, seed=0).log_probs(moved_RD)
    assert here == pytest.approx(there, abs=5e-3)


def test_a_constant_feature_does_no_harm():
    features_RD, gold_R = blobs(300, 3, 6, seed=0)
    constant_RD = np.concatenate([features_RD, np.full((300, 2), 3.5, np.float32)], axis=1)
    fitted = probe.fit(constant_RD, gold_R, 3, seed=0)
    assert np.isfinite(fitted.weight_LD).all()
    assert np.isfinite(fitted.bias_L).all()
    plain = probe.fit(features_RD, gold_R, 3, seed=0)
    assert accuracy(fitted, constant_RD, gold_R) == pytest.approx(
        accuracy(plain, features_RD, gold_R), abs=0.02
    )


def test_all_features_constant_gives_the_frequencies():
    gold_R = np.array([0] * 60 + [1] * 30 + [2] * 10)
    fitted = probe.fit(
        np.ones((100, 4), np.float32),
        gold_R,
        3,
        seed=0,
        dev=(np.ones((100, 4), np.float32), gold_R),
    )
    assert np.exp(fitted.log_probs(np.ones((1, 4), np.float32)))[0] == pytest.approx(
        [0.6, 0.3, 0.1], abs=0.02
    )


def test_a_label_without_rows_is_not_answered():
    features_RD, gold_R = blobs(300, 3, 6, seed=0)
    fitted = probe.fit(features_RD, gold_R * 2, 6, seed=0)
    log_probs_RL = fitted.log_probs(features_RD)
    assert set(log_probs_RL.argmax(axis=1)) <= {0, 2, 4}
    assert np.isfinite(log_probs_RL).all()
    assert np.exp(log_probs_RL[:, [1, 3, 5]]).max() < 0.05


def test_a_label_that_only_dev_has_does_no_harm():
    features_RD, gold_R = blobs(200, 2, 6, seed=0)
    dev_RD, dev_gold_R = blobs(80, 2, 6, seed=1)
    dev_gold_R[:5] = 2
    fitted = probe.fit(features_RD, gold_R, 3, seed=0, dev=(dev_RD, dev_gold_R))
    assert np.isfinite(fitted.log_probs(dev_RD)).all()


def test_one_label_only_is_answered_always():
    features_RD, _ = blobs(20, 2, 4, seed=0)
    fitted = probe.fit(features_RD, np.ones(20, int), 3, seed=0)
    assert set(fitted.log_probs(features_RD).argmax(axis=1)) == {1}


@pytest.mark.parametrize("rows", [2, 3, 5, 12])
def test_a_handful_of_rows_is_enough(rows):
    features_RD, _ = blobs(rows, 2, 4, seed=0)
    gold_R = np.arange(rows) % 2
    fitted = probe.fit(features_RD, gold_R, 2, seed=0)
    assert np.isfinite(fitted.log_probs(features_RD)).all()


def test_rows_without_gold_do_not_matter():
    features_RD, gold_R = blobs(200, 3, 6, seed=0)
    dev_RD, dev_gold_R = blobs(60, 3, 6, seed=1)
    known = probe.fit(
        features_RD[:150], gold_R[:150], 3, seed=0, dev=(dev_RD[:40], dev_gold_R[:40])
    )
    gold_R[150:], dev_gold_R[40:] = -1, -1
    features_RD[150:] = np.nan
    mixed = probe.fit(features_RD, gold_R, 3, seed=0, dev=(dev_RD, dev_gold_R))
    assert np.array_equal(known.weight_LD, mixed.weight_LD)


@pytest.mark.parametrize("fault", ["unlabelled", "nan"])
def test_nothing_to_fit_is_refused(fault):
    features_RD, gold_R = blobs(20, 2, 4, seed=0)
    if fault == "unlabelled":
        gold_R[:] = -1
    else:
        features_RD[3, 2] = np.nan
    with pytest.raises(ValueError, match="at least one labelled row, and finite"):
        probe.fit(features_RD, gold_R, 2, seed=0)


def test_inputs_are_left_as_they_were():
    features_RD, gold_R = blobs(100, 2, 4, seed=0)
    before = features_RD.copy(), gold_R.copy()
    probe.fit(features_RD, gold_R, 2, seed=0)
    assert np.array_equal(features_RD, before[0])
    assert np.array_equal(gold_R, before[1])


def test_temperature_mends_confidence_on_dev():
    """A strong penalty finds the direction but shrinks the logits; the temperature undoes that."""
    features_RD, gold_R = blobs(60, 3, 50, seed=0, noise=3)
    dev = blobs(500, 3, 50, seed=1, noise=3)
    fitted = probe.fit(features_RD, gold_R, 3, seed=0, dev=dev)
    raw = probe.Probe(
        fitted.weight_LD * fitted.temperature, fitted.bias_L * fitted.temperature, 1, 1, True
    )
    assert fitted.temperature < 0.5
    assert log_loss(fitted, *dev) < log_loss(raw, *dev) - 0.05


def test_majority_knows_frequencies_only():
    log_probs_L = probe.majority(np.array([2, 2, 2, 0, -1]), 4)
    assert log_probs_L.dtype == np.float32
    assert np.exp(log_probs_L) == pytest.approx(np.array([2, 1, 4, 1]) / 8)


def test_majority_of_nothing_is_even():
    assert np.exp(probe.majority(np.array([-1, -1]), 4)) == pytest.approx(0.25)


def read_banking(path):
    with path.open(newline="", encoding="utf-8") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


@pytest.mark.public_data
def test_a_bag_of_words_probe_does_well_on_banking77(shared):
    """Hashed words are weak features; a fit on half the rows reaches 81 %, majority 1.3 %."""
    from sklearn.feature_extraction.text import HashingVectorizer

    folder = shared / "data" / "banking77"
    train, test = (read_banking(folder / f"{part}.csv") for part in ("train", "test"))
    names = sorted({label for _, label in train})
    hashed = HashingVectorizer(n_features=512, alternate_sign=True)

    def prepared(rows):
        features_RD = hashed.transform([text for text, _ in rows]).toarray().astype(np.float32)
        return features_RD, np.array([names.index(label) for _, label in rows])

    fitted = probe.fit(*prepared(train[::2]), len(names), seed=0)
    assert fitted.converged
    assert accuracy(fitted, *prepared(test)) > 0.8
