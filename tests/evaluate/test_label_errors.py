"""Label errors and learning curves: what was planted is found, and nothing where nothing was."""

from __future__ import annotations

import numpy as np
import pytest

from tenon.evaluate.cross_fit import FOLDS, cross_fit, folds
from tenon.evaluate.label_errors import ODDS, doubts, label_errors, least_nats
from tenon.evaluate.learnability import Curve, learnability, learning_curve

LABELS = ("a", "b", "c", "d")


def clusters(rows: int, spread: float, seed: int, width: int = 16):
    """Give features around one centre a label, and the labels."""
    random = np.random.default_rng(seed)
    gold_R = random.integers(0, len(LABELS), rows)
    centre_LD = random.normal(size=(len(LABELS), width))
    features_RD = centre_LD[gold_R] + spread * random.normal(size=(rows, width))
    return features_RD.astype(np.float32), gold_R.astype(np.int32)


def named(rows: int) -> list[str]:
    return [f"id{row}" for row in range(rows)]


@pytest.mark.parametrize("seed", range(3))
def test_flipped_labels_are_found_and_ranked(seed):
    features_RD, true_R = clusters(600, 0.5, seed)
    random = np.random.default_rng(seed + 10)
    flipped = random.choice(600, 60, replace=False)
    gold_R = true_R.copy()
    gold_R[flipped] = (true_R[flipped] + random.integers(1, 4, 60)) % 4
    crossed = cross_fit(features_RD, gold_R, 4, named(600), seed=seed)
    found = doubts(crossed.log_probs_RL, gold_R)
    rows = {doubt.row for doubt in found}
    assert len(rows & set(flipped.tolist())) >= 0.8 * 60
    assert len(rows - set(flipped.tolist())) <= 0.01 * 540
    assert [doubt.nats for doubt in found] == sorted((d.nats for d in found), reverse=True)
    right = [true_R[doubt.row] == doubt.rather for doubt in found if doubt.row in set(flipped)]
    assert np.mean(right) > 0.95


@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_clean_labels_are_left_alone_however_hard_the_rows_are(spread):
    features_RD, gold_R = clusters(800, spread, 5)
    crossed = cross_fit(features_RD, gold_R, 4, named(800), seed=0)
    assert len(doubts(crossed.log_probs_RL, gold_R)) <= 0.01 * 800


def test_a_row_is_judged_by_probes_that_saw_neither_it_nor_its_like():
    """Rows of one id are in one fold: features that tell the id alone say nothing of the label."""
    random = np.random.default_rng(0)
    ids = [f"id{row // 2}" for row in range(400)]
    features_RD = np.repeat(random.normal(size=(200, 300)), 2, axis=0).astype(np.float32)
    gold_R = np.repeat(random.integers(0, 2, 200), 2).astype(np.int32)
    crossed = cross_fit(features_RD, gold_R, 2, ids, seed=0)
    accuracy = (crossed.log_probs_RL.argmax(1) == gold_R).mean()
    assert accuracy < 0.65


def test_folds_are_even_and_keep_ids_together():
    fold_R = folds([f"id{row // 3}" for row in range(300)], seed=1)
    assert set(np.bincount(fold_R)) == {60}
    assert len(np.bincount(fold_R)) == FOLDS
    assert all(len(set(fold_R[at : at + 3])) == 1 for at in range(0, 300, 3))


def test_the_finding_names_rows_and_labels():
    low, high, even = np.log(1e-3), np.log(1 - 1e-3), np.log(0.5)
    log_probs_RL = np.array([[high, low], [low, high], [even, even]], np.float32)
    assert least_nats(log_probs_RL) == pytest.approx(np.log(ODDS))
    finding = label_errors(log_probs_RL, np.array([1, 1, 0]), ["yes", "no"], ["f:1", "f:2", "f:3"])
    assert finding is not None
    assert finding.rows == ("f:1",)
    assert finding.examples == ("f:1 (no; rather yes)",)
    assert label_errors(log_probs_RL, np.array([0, 1, 0]), ["yes", "no"], ["f:1"] * 3) is None


class TestLearningCurve:
    def curve(self, rows: int, spread: float, width: int) -> Curve:
        features_RD, gold_R = clusters(rows, spread, 2, width)
        crossed = cross_fit(features_RD, gold_R, 4, named(rows), seed=0)
        return learning_curve(features_RD, gold_R, LABELS, crossed, seed=0)

    def test_few_rows_of_many_features_leave_more_to_learn(self):
        curve = self.curve(3_000, 10.0, 400)
        assert len(curve.rows) == len(curve.accuracies) == 5
        assert curve.rows == tuple(sorted(curve.rows))
        assert curve.rising
        assert set(curve.needy) <= set(LABELS)
        assert "more rows would help" in learnability(curve).remedy

    def test_what_is_learned_from_few_rows_needs_no_more(self):
        curve = self.curve(2_000, 0.3, 8)
        assert not curve.rising
        assert curve.needy == ()
        assert "would help little" in learnability(curve).remedy

    def test_what_chance_hides_is_not_judged(self):
        curve = Curve((5, 10, 20, 40, 80), (0.3, 0.4, 0.5, 0.5, 0.56), 0.06, 0.07, ("a",))
        assert not curve.rising
        assert not curve.flat
        assert "too few to tell" in learnability(curve).remedy
        assert "most of all" not in learnability(curve).remedy
