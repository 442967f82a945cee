"""Label probe: one logistic regression for each label, on the frozen base's features.

R rows, D features, L labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from tenon.evaluate.frequent import Frequent
from tenon.evaluate.probe import HELD_OUT, MAX_ITERATIONS, PATIENCE, SPREADS, Probe, Scale, scale_of

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
MIXED = 0.5
"""Rows with and without each label that are joined to train's, so that no label is impossible."""


def log_sigmoid(logits_RL: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give the natural logarithm of each label's probability."""
    return -np.logaddexp(0, -logits_RL)


def loss_of(logits_RL: npt.NDArray[Any], gold_RL: npt.NDArray[Any]) -> float:
    """Give the binary cross-entropy in nats, summed over the labels of a row, mean over rows."""
    nats_RL = np.logaddexp(0, logits_RL) - np.where(gold_RL > 0, logits_RL, 0)
    return float(nats_RL.sum() / max(1, len(logits_RL)))


def frequencies(gold_RL: npt.NDArray[Any]) -> Frequent:
    """Give what one answers who knows only how often each label stands in train."""
    known_RL = gold_RL[gold_RL[:, 0] >= 0]
    shares_L = (known_RL.sum(0) + MIXED) / (len(known_RL) + 2 * MIXED)
    labels = gold_RL.shape[1]
    return Frequent(np.log(shares_L).astype(np.float32), (), np.zeros((0, labels), np.float32))


def fit(
    features_RD: Floats,
    gold_R: npt.NDArray[Any],
    classes: int,
    *,
    seed: int,
    dev: tuple[Floats, npt.NDArray[Any]] | None = None,
) -> Probe:
    """Fit the logistic regressions of all labels, with one penalty: the one that is best on dev.

    Features are standardised. What a rare label needs is told badly by its few rows, so the
    penalty is shared; where `dev` is None, a tenth of the rows chooses it.

    Args:
        features_RD: what the head reads of the frozen base.
        gold_R: of shape [R, L]: 1 for each label that a row has; all known.
        classes: L.
        seed: chooses the held-out tenth.
        dev: features and gold for choosing the penalty.

    Returns:
        The probe; equal inputs give equal weights.
    """
    gold_RL = gold_R.reshape(-1, classes)
    scale = scale_of(features_RD)
    scaled_RD = scale.apply(features_RD)
    if dev is not None and len(dev[0]):
        chosen = _choose((scaled_RD, gold_RL), (scale.apply(dev[0]), dev[1]))
        return _finish(chosen, scale)
    held_R = held_rows(len(gold_RL), seed)
    train, kept = (scaled_RD[~held_R], gold_RL[~held_R]), (scaled_RD[held_R], gold_RL[held_R])
    (last,) = _path(scaled_RD, gold_RL, (_choose(train, kept).penalty,))
    return _finish(last, scale)


def held_rows(rows: int, seed: int) -> Bools:
    """Mark a seeded tenth of the rows."""
    held_R = np.zeros(rows, bool)
    held_R[np.random.default_rng(seed).permutation(rows)[: round(rows * HELD_OUT)]] = True
    return held_R


class _Fit(NamedTuple):
    """Weights on standardised features for all L labels, at one penalty."""

    weight_LD: Doubles
    bias_L: Doubles
    penalty: float
    converged: bool

    def logits(self, scaled_RD: Floats) -> Any:
        return scaled_RD @ self.weight_LD.T + self.bias_L


def _choose(train: tuple[Floats, Any], dev: tuple[Floats, Any]) -> _Fit:
    """Walk from strong to weak penalties until dev has not gained `PATIENCE` times."""
    spreads = SPREADS if len(dev[0]) else (1.0,)
    penalties = tuple(spread / train[0].shape[1] for spread in spreads)
    best: tuple[float, _Fit] | None = None
    worse = 0
    for fitted in _path(*train, penalties):
        nats = loss_of(fitted.logits(dev[0]), dev[1])
        worse = worse + 1 if best and nats >= best[0] else 0
        if not worse:
            best = nats, fitted
        if worse == PATIENCE:
            break
    assert best is not None  # noqa: S101 - there is at least one penalty
    return best[1]


def _path(scaled_RD: Floats, gold_RL: Any, penalties: tuple[float, ...]) -> Iterator[_Fit]:
    """Fit at each penalty in turn, each from the weights of the one before."""
    features, labels = scaled_RD.shape[1], gold_RL.shape[1]
    wanted_RL = (gold_RL > 0).astype(np.float32)
    start = np.zeros((labels, features + 1), np.float64)
    shares_L = (wanted_RL.sum(0) + MIXED) / (len(wanted_RL) + 2 * MIXED)
    start[:, -1] = np.log(shares_L / (1 - shares_L))
    for penalty in penalties:
        found: Any = minimize(
            _nats,
            start.ravel(),
            args=(scaled_RD, wanted_RL, penalty),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": MAX_ITERATIONS, "gtol": 1e-4 * len(wanted_RL) ** 0.5},
        )
        start = found.x.reshape(labels, features + 1)
        yield _Fit(start[:, :-1], start[:, -1], penalty, bool(found.success))


def _nats(
    weights: Doubles, scaled_RD: Floats, wanted_RL: Floats, penalty: float
) -> tuple[float, Doubles]:
    """Give the penalised loss of all labels, and its gradient; biases are free."""
    joined_LE = weights.reshape(wanted_RL.shape[1], -1)
    weight_LD = joined_LE[:, :-1]
    logits_RL = scaled_RD @ weight_LD.T.astype(np.float32) + joined_LE[:, -1].astype(np.float32)
    nats = float((np.logaddexp(0, logits_RL) - wanted_RL * logits_RL).sum(dtype=np.float64))
    gap_RL = expit(logits_RL) - wanted_RL
    gradient_LE = np.empty_like(joined_LE)
    gradient_LE[:, :-1] = gap_RL.T @ scaled_RD + weight_LD / penalty
    gradient_LE[:, -1] = gap_RL.sum(0, dtype=np.float64)
    return nats + float((weight_LD**2).sum()) / (2 * penalty), gradient_LE.ravel()


def _finish(fitted: _Fit, scale: Scale) -> Probe:
    folded = scale.fold(fitted.weight_LD.astype(np.float32), fitted.bias_L.astype(np.float32))
    return Probe(*folded, fitted.penalty, temperature=1.0, converged=fitted.converged)
