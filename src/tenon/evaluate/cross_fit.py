"""Cross fit: what linear probes say of rows that they were not fitted on.

Legend: R rows, D features, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from tenon.evaluate import probe
from tenon.evaluate.probe import Floats, Ints

FOLDS = 5


@dataclass(frozen=True)
class CrossFit:
    """Log-probabilities of every row, each by a probe that has not seen it nor its like.

    Args:
        log_probs_RL: float32, natural logarithm of each label's probability.
        fold_R: the fold of each row.
        C: inverse strength of the probes' penalty, chosen on the first fold.
    """

    log_probs_RL: Floats
    fold_R: npt.NDArray[np.int64]
    C: float


def cross_fit(
    features_RD: Floats, gold_R: Ints, classes: int, ids: Sequence[str], *, seed: int
) -> CrossFit:
    """Fit five probes, each on four fifths of the rows, and let each judge the last fifth.

    One temperature for all is fitted on all judged rows.

    Args:
        features_RD: float32, what the head reads of the frozen base; finite.
        gold_R: index of each row's label.
        classes: number of labels, L.
        ids: of each row; rows with one id share a fold.
        seed: of the folds.

    Source: Northcutt, Jiang and Chuang 2021, "Confident Learning", for out-of-sample probabilities
    as the ground of finding label errors.
    """
    fold_R = folds(ids, seed)
    first_R = fold_R == 0
    chosen = probe.fit(
        features_RD[~first_R],
        gold_R[~first_R],
        classes,
        seed=seed,
        dev=(features_RD[first_R], gold_R[first_R]),
    )
    logits_RL = np.empty((len(gold_R), classes), np.float32)
    for fold in range(FOLDS):
        held_R = fold_R == fold
        fitted = probe.fit_at(features_RD[~held_R], gold_R[~held_R], classes, chosen.C)
        logits_RL[held_R] = fitted.logits(features_RD[held_R])
    temperature, _ = probe.temper(logits_RL, gold_R)
    log_probs_RL = cast(Floats, log_softmax(logits_RL / temperature, axis=1).astype(np.float32))
    return CrossFit(log_probs_RL, fold_R, chosen.C)


def folds(ids: Sequence[str], seed: int) -> npt.NDArray[np.int64]:
    """Deal rows out to five folds of like size, those with one id together."""
    distinct, place_R = np.unique(np.array(ids), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(distinct))
    return (order % FOLDS)[place_R].astype(np.int64)
