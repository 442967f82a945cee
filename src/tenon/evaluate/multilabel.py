"""Multilabel: rows with any number of labels, answered by a probability of each.

A label is answered where its probability reaches its threshold. Thresholds are tuned on dev
and then fixed: tuned on the rows that are scored, they flatter.

R rows, L labels, S samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse, stats

from tenon.evaluate import counts

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.floating[Any]]
NEUTRAL = 0.5


def tune(gold_RL: Bools, probabilities_RL: Floats, *, per_label: bool = False) -> Doubles:
    """Choose the thresholds that give the best F1, [L]; equal inputs give equal thresholds.

    Of thresholds that are equally good the one nearest to 0.5 is taken; one that parts two
    probabilities lies halfway. A label without gold keeps 0.5.

    Args:
        gold_RL: of the dev rows.
        probabilities_RL: of the same rows, in [0, 1].
        per_label: one threshold for each label and its own F1; else one for all and micro-F1.
            Rare labels make thresholds of their own fit noise.

    Raises:
        ValueError: shapes differ, or a probability is not in [0, 1].
    """
    _check(gold_RL, probabilities_RL)
    probabilities_RL = probabilities_RL.astype(np.float64)
    if per_label:
        columns = range(gold_RL.shape[1])
        return np.array([_best(gold_RL[:, at], probabilities_RL[:, at]) for at in columns])
    return np.full(gold_RL.shape[1], _best(gold_RL.ravel(), probabilities_RL.ravel()))


def _best(gold_N: Bools, probability_N: Doubles) -> float:
    """Give the threshold with the highest F1 over N decisions."""
    if not gold_N.any():
        return NEUTRAL
    order_N = np.argsort(-probability_N, kind="stable")
    high_N = probability_N[order_N]
    low_N = np.append(high_N[1:], 0.0)
    hits_N = np.cumsum(gold_N[order_N])
    f1_N = 2 * hits_N / (np.arange(1, len(high_N) + 1) + gold_N.sum())
    f1_N[high_N == low_N] = -1  # equal probabilities cannot be parted
    f1_N[-1] = 2 * hits_N[-1] / (len(high_N) + gold_N.sum())
    best = np.flatnonzero(f1_N == f1_N.max())
    return min((_between(low_N[at], high_N[at]) for at in best), key=lambda t: abs(t - NEUTRAL))


def _between(low: float, high: float) -> float:
    """Give a threshold that `high` reaches and `low` does not: 0.5 if it does, else halfway."""
    if low < NEUTRAL <= high:
        return NEUTRAL
    middle = float((low + high) / 2)
    return middle if middle > low else float(high)


def decide(probabilities_RL: Floats, thresholds_L: Doubles) -> Bools:
    """Give the labels that are answered, bool [R, L]."""
    return probabilities_RL.astype(np.float64) >= thresholds_L


def terms(gold_RL: Bools, answers_RL: Bools) -> Any:
    """Mark whether a row is all right, and gold, answer and hit of each label, sparse [R, 1 + 3 L].

    Raises:
        ValueError: shapes differ.
    """
    _check(gold_RL, answers_RL)
    right_R1 = (gold_RL == answers_RL).all(axis=1, keepdims=True)
    marked_RK = np.concatenate([right_R1, gold_RL, answers_RL, gold_RL & answers_RL], axis=1)
    return sparse.csr_array(marked_RK.astype(np.float64))


def micro_f1(sums_SK: Doubles, _rows: int) -> Doubles:
    """Give the F1 of all decisions together, [S]; 0 where no label occurs."""
    return counts.micro_f1(*_blocks(sums_SK))


def macro_f1(sums_SK: Doubles, _rows: int) -> Doubles:
    """Give F1 averaged over the labels that occur in gold or answers, [S].

    It is scikit-learn's with `zero_division=numpy.nan`, which leaves absent labels out.
    """
    return counts.macro_f1(*_blocks(sums_SK))


def subset_accuracy(sums_SK: Doubles, rows: int) -> Doubles:
    """Give the share of rows whose labels are all right, [S]."""
    return sums_SK[:, 0] / rows


def _blocks(sums_SK: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    gold_SL, answer_SL, hit_SL = np.split(sums_SK[:, 1:], 3, axis=1)
    return gold_SL, answer_SL, hit_SL


def ranking_terms(gold_RL: Bools, probabilities_RL: Floats) -> Any:
    """Give each row's label ranking average precision, sparse [R, 1].

    For each gold label: the share of gold among the labels ranked as high or higher. A row
    where no label or every label is gold has 1, for no order could be wrong.

    Raises:
        ValueError: shapes differ, or a probability is not in [0, 1].

    Source: Tsoumakas et al. 2010, "Mining Multi-label Data"; as in scikit-learn.
    """
    _check(gold_RL, probabilities_RL)
    below_RL = -probabilities_RL.astype(np.float64)
    rank_RL = stats.rankdata(below_RL, method="max", axis=1)
    # What is not gold is sent to the end, so that gold is ranked among itself.
    gold_rank_RL = stats.rankdata(np.where(gold_RL, below_RL, 1.0), method="max", axis=1)
    share_RL = np.where(gold_RL, gold_rank_RL / rank_RL, 0.0)
    gold_R = gold_RL.sum(axis=1)
    precise_R = share_RL.sum(axis=1) / np.maximum(gold_R, 1)
    value_R = np.where((gold_R == 0) | (gold_R == gold_RL.shape[1]), 1.0, precise_R)
    return sparse.csr_array(value_R[:, None])


def ranking_precision(sums_SK: Doubles, rows: int) -> Doubles:
    """Give the mean label ranking average precision (LRAP), [S]."""
    return sums_SK[:, 0] / rows


COMBINE: dict[str, Callable[[Doubles, int], Doubles]] = {
    "micro_f1": micro_f1,
    "macro_f1": macro_f1,
    "subset_accuracy": subset_accuracy,
    "ranking_precision": ranking_precision,
}


def per_label(
    labels: Sequence[str], gold_RL: Bools, answers_RL: Bools, level: float
) -> list[dict[str, Any]]:
    """Give each label's counts, precision, recall and F1; see `tenon.evaluate.counts.table`.

    Raises:
        ValueError: shapes differ.
    """
    sums_K = np.asarray(terms(gold_RL, answers_RL).sum(axis=0), np.float64).reshape(-1)
    return counts.table(labels, sums_K[1:], level)


def _check(gold_RL: Bools, answers_RL: npt.NDArray[Any]) -> None:
    """Refuse shapes that differ, and numbers outside [0, 1]."""
    if gold_RL.ndim != 2 or gold_RL.shape != answers_RL.shape:
        raise ValueError(f"gold has shape {gold_RL.shape}, the answers {answers_RL.shape}")
    if not ((answers_RL >= 0) & (answers_RL <= 1)).all():
        raise ValueError("a probability is not in [0, 1]; the model is damaged")
