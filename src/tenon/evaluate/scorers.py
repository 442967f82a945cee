"""Scorers: functions from predictions to one number, each a function of sums over rows.

A scorer names K terms for each row and says how their sums become the score.
The score of any resample of the rows is then one matrix product away, so the
score, its interval and its paired test all come from the same few lines.

R rows, L labels, K terms, S samples of rows (S = 1 for the rows themselves).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tenon.core.registry import Registry
from tenon.evaluate.prediction import A, Answers, Predictions

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Scorer:
    """A score of labelled rows.

    Args:
        name: as in settings and reports.
        title: as people read it.
        better: the direction in which the score improves.
        unit: "percent" and "points" are shown times 100; their differences are points.
        interval: how its interval is made; see `tenon.evaluate.statistics`. "wilson" is for a
            share of rows: one term, 0 or 1; "log" for an amount that is positive and has no upper
            end; "inverted" for a score of gaps that scales with them.
        terms: predictions, all labelled, to the K terms of each row, sparse [R, K].
        combine: sums of the terms over n rows, [S, K], and n, to the scores, [S]; n is a number,
            or [S] where samples differ in it, as those of whole clusters do.
        rows: answers to those that it scores, where these are not all; none where it has none.
    """

    name: str
    title: str
    better: Literal["higher", "lower"]
    unit: Literal["percent", "points", "plain", "nats"]
    interval: Literal["wilson", "bca", "log", "inverted"]
    terms: Callable[[Any], Any]
    combine: Callable[[Doubles, Any], Doubles]
    rows: Callable[[Any], Any] | None = None

    def score(self, predictions: Answers) -> float:
        """Give the score over the rows whose gold is known.

        Raises:
            ValueError: no row has a known gold, or a log-probability is not finite.
        """
        known = labelled(self.rows(predictions) if self.rows else predictions)
        sums_1K = np.asarray(self.terms(known).sum(axis=0), np.float64).reshape(1, -1)
        return float(self.combine(sums_1K, len(known))[0])


SCORERS: Registry[Scorer] = Registry(
    "scorer",
    "tenon.scorers",
    (
        "tenon.evaluate.entity_scorers",
        "tenon.evaluate.write_scorers",
        "tenon.evaluate.form_scorers",
        "tenon.evaluate.answer_scorers",
    ),
)


def by_rows(scorers: Sequence[Scorer]) -> list[list[Scorer]]:
    """Part scorers by the rows that they score."""
    groups: dict[Any, list[Scorer]] = {}
    for scorer in scorers:
        groups.setdefault(scorer.rows, []).append(scorer)
    return list(groups.values())


def scored(scorer: Scorer, predictions: A) -> A | None:
    """Give the labelled rows that a scorer scores; None where none has what it needs."""
    if scorer.rows is None:
        return labelled(predictions)
    rows: A = scorer.rows(predictions)
    return labelled(rows) if len(rows) and rows.known_R.any() else None


def labelled(predictions: A) -> A:
    """Give the answers whose gold is known; the difference in length is what was left out.

    Raises:
        ValueError: none is known, or a score is not finite.
    """
    known_R = predictions.known_R
    if not known_R.any():
        raise ValueError("no row has a known label; nothing can be scored")
    if not predictions.finite():
        raise ValueError("a log-probability is not finite; the model is damaged")
    return predictions if known_R.all() else predictions.take(np.flatnonzero(known_R))


def hits(predictions: Predictions) -> Bools:
    """Say of each row whether its likeliest label is its gold, [R]."""
    return predictions.answer_R == predictions.gold_R


def confidence(predictions: Predictions) -> Doubles:
    """Give the probability of each row's answer, [R]."""
    return np.exp(predictions.log_probs_RL.max(axis=1).astype(np.float64))


def calibration_bins(confidence_R: Doubles, bins: int = CALIBRATION_BINS) -> npt.NDArray[np.intp]:
    """Give each row's bin, [R]: bins of equal mass by confidence, equal confidences together.

    Source: Nixon et al. 2019, "Measuring Calibration in Deep Learning" (adaptive bins).
    """
    rows = len(confidence_R)
    starts = np.unique(np.arange(1, bins) * rows // bins)
    edges = np.unique(np.sort(confidence_R)[starts])
    return np.searchsorted(edges, confidence_R, side="right")


def _hit_terms(predictions: Predictions) -> Any:
    return _column(hits(predictions).astype(np.float64))


def _loss_terms(predictions: Predictions) -> Any:
    rows_R = np.arange(len(predictions))
    return _column(-predictions.log_probs_RL[rows_R, predictions.gold_R].astype(np.float64))


def _column(values_R: Doubles) -> Any:
    return sparse.csr_array(values_R[:, None])


def _mean(sums_SK: Doubles, rows: int) -> Doubles:
    return sums_SK[:, 0] / rows


def _count_terms(predictions: Predictions) -> Any:
    """Mark gold, answer and hit of each row: three blocks of L columns."""
    labels = len(predictions.labels)
    hit_R = hits(predictions)
    rows_R = np.arange(len(predictions))
    row_N = np.concatenate([rows_R, rows_R, rows_R[hit_R]])
    gold_R = predictions.gold_R.astype(np.int64)
    column_N = np.concatenate(
        [gold_R, predictions.answer_R.astype(np.int64) + labels, gold_R[hit_R] + 2 * labels]
    )
    shape = (len(predictions), 3 * labels)
    return sparse.csr_array((np.ones(len(row_N)), (row_N, column_N)), shape=shape)


def _macro_f1(sums_SK: Doubles, _rows: int) -> Doubles:
    """Average F1 over the labels that occur in gold or answers, as scikit-learn does."""
    gold_SL, answer_SL, hit_SL = np.split(sums_SK, 3, axis=1)
    both_SL = gold_SL + answer_SL
    f1_SL = 2 * hit_SL / np.maximum(both_SL, 1)
    return f1_SL.sum(axis=1) / (both_SL > 0).sum(axis=1)


def _mcc(sums_SK: Doubles, rows: int) -> Doubles:
    """Correlate gold and answers over all labels; 0 where either is constant.

    Source: Gorodkin 2004, the R_K statistic; scikit-learn `matthews_corrcoef`.
    """
    gold_SL, answer_SL, hit_SL = np.split(sums_SK, 3, axis=1)
    shared_S = hit_SL.sum(axis=1) * rows - (gold_SL * answer_SL).sum(axis=1)
    gold_S = rows**2 - (gold_SL**2).sum(axis=1)
    answer_S = rows**2 - (answer_SL**2).sum(axis=1)
    spread_S = np.sqrt(gold_S) * np.sqrt(answer_S)
    return np.divide(shared_S, spread_S, out=np.zeros_like(spread_S), where=spread_S > 0)


def _gap_terms(predictions: Predictions) -> Any:
    """Give confidence minus hit in the column of the row's bin."""
    confidence_R = confidence(predictions)
    bin_R = calibration_bins(confidence_R)
    gap_R = confidence_R - hits(predictions)
    rows_R = np.arange(len(predictions))
    shape = (len(predictions), CALIBRATION_BINS)
    return sparse.csr_array((gap_R, (rows_R, bin_R)), shape=shape)


def _brier_terms(predictions: Predictions) -> Any:
    """Give the squared distance of each row's probabilities from its gold.

    Source: Brier 1950, "Verification of Forecasts Expressed in Terms of Probability".
    """
    chances_RL = np.exp(predictions.log_probs_RL.astype(np.float64))
    gold_R = chances_RL[np.arange(len(predictions)), predictions.gold_R]
    return _column((chances_RL**2).sum(axis=1) - 2 * gold_R + 1)


def gap_sum(sums_SK: Doubles, rows: int) -> Doubles:
    """Add up the gaps of all bins, [S]; each counts by the rows that are in it."""
    return np.abs(sums_SK).sum(axis=1) / rows


for _scorer in (
    Scorer("accuracy", "Accuracy", "higher", "percent", "wilson", _hit_terms, _mean),
    Scorer("macro_f1", "Macro-F1", "higher", "percent", "bca", _count_terms, _macro_f1),
    Scorer("mcc", "Matthews correlation", "higher", "plain", "bca", _count_terms, _mcc),
    Scorer("log_loss", "Log-loss", "lower", "nats", "log", _loss_terms, _mean),
    Scorer("brier", "Brier score", "lower", "plain", "bca", _brier_terms, _mean),
    Scorer(
        "calibration_error",
        "Calibration error",
        "lower",
        "percent",
        "inverted",
        _gap_terms,
        gap_sum,
    ),
):
    SCORERS.add(_scorer.name, _scorer)
