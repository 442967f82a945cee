"""Probe: the honest baseline, a logistic regression on the frozen base's features.

An adapter that does not beat it has learned nothing that the base did not
already know. R rows, D features, L labels; the head of a trained model starts
from the same weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.integer[Any]]

SPREADS = (0.1, 0.3, 1.0, 3.0, 8.0, 16.0, 32.0, 64.0, 128.0, 384.0, 1024.0)
PATIENCE = 2
TOLERANCE = 1e-4
MAX_ITERATIONS = 500
LOG_TEMPERATURE = 1.6
ABSENT_NATS = 10.0
HELD_OUT = 0.1


@dataclass(frozen=True)
class Probe:
    """A fitted linear probe; its weights apply to raw features.

    Args:
        weight_LD: float32, one row a label.
        bias_L: float32.
        C: inverse strength of the penalty on the weights of standardised features.
        temperature: what the fitted logits were divided by; already in the weights.
        converged: whether the solver met its tolerance.
    """

    weight_LD: Floats
    bias_L: Floats
    C: float
    temperature: float
    converged: bool

    def logits(self, features_RD: Floats) -> Floats:
        """Give the score of each label, float32 [R, L]."""
        return features_RD @ self.weight_LD.T + self.bias_L

    def log_probs(self, features_RD: Floats) -> Floats:
        """Give the natural logarithm of each label's probability, float32 [R, L]."""
        return cast(Floats, log_softmax(self.logits(features_RD), axis=1).astype(np.float32))


@dataclass(frozen=True)
class Scale:
    """Mean and spread of each feature."""

    mean_D: Floats
    spread_D: Floats

    def apply(self, features_RD: Floats) -> Floats:
        """Features with mean 0 and spread 1, [R, D]."""
        return (features_RD - self.mean_D) / self.spread_D

    def fold(self, weight_LD: Floats, bias_L: Floats) -> tuple[Floats, Floats]:
        """Weights [L, D] and bias [L] that act on features as they are, not scaled."""
        raw_LD = (weight_LD / self.spread_D).astype(np.float32)
        return raw_LD, (bias_L - raw_LD @ self.mean_D).astype(np.float32)


@dataclass(frozen=True)
class _Fit:
    """Weights on standardised features for all L labels, at one C."""

    weight_LD: Floats
    bias_L: Floats
    C: float
    converged: bool

    def logits(self, scaled_RD: Floats) -> Floats:
        return scaled_RD @ self.weight_LD.T + self.bias_L


def fit(
    features_RD: Floats,
    gold_R: Ints,
    classes: int,
    *,
    seed: int,
    dev: tuple[Floats, Ints] | None = None,
) -> Probe:
    """Fit multinomial logistic regression, as strong as dev allows.

    Each feature is standardised. The penalty is the one whose dev log-loss is
    least *after* the best temperature: that judges the direction of the weights
    apart from their length, and is steadier than dev accuracy. The temperature
    is then folded into the weights, with the standardisation.

    Args:
        features_RD: float32, what the head reads of the frozen base.
        gold_R: index of the true label; rows with -1 are left out.
        classes: number of labels, L; a label without rows gets a probability near 0.
        seed: chooses the held-out tenth where `dev` is None.
        dev: features and gold for choosing the penalty; where None, a tenth of the rows is held
            out for the choice, and the final fit sees all rows.

    Returns:
        The probe; equal inputs give equal weights.

    Raises:
        ValueError: no row has a label, or a feature is not finite.

    Source: temperature scaling, Guo et al. 2017, "On Calibration of Modern Neural Networks".
    """
    features_RD, gold_R = _labelled(features_RD, gold_R)
    if len(gold_R) == 0 or not np.isfinite(features_RD).all():
        raise ValueError("a probe needs at least one labelled row, and finite features")
    if dev is None:
        return _fit_without_dev(features_RD, gold_R, classes, seed)
    dev_RD, dev_gold_R = _labelled(*dev)
    scale = scale_of(features_RD)
    train = (scale.apply(features_RD), gold_R)
    chosen, temperature = _choose(train, (scale.apply(dev_RD), dev_gold_R), classes)
    return _finish(chosen, scale, temperature)


def fit_at(features_RD: Floats, gold_R: Ints, classes: int, C: float) -> Probe:
    """Fit a probe with a penalty that was chosen before; its logits keep the solver's length.

    Args:
        features_RD: float32, finite.
        gold_R: index of the true label of each row.
        classes: number of labels, L.
        C: as of `Probe`.
    """
    scale = scale_of(features_RD)
    (found,) = _path(scale.apply(features_RD), gold_R, classes, (C,))
    return _finish(found, scale, 1.0)


def majority(gold_R: Ints, classes: int) -> Floats:
    """Give the log-probabilities that know only how often each label occurs, float32 [L].

    One is added to each label's count, so that the log-loss stays finite.

    Args:
        gold_R: index of the true label of the train rows; -1 is left out.
        classes: number of labels, L.
    """
    count_L = np.bincount(gold_R[gold_R >= 0], minlength=classes) + 1
    return np.log(count_L / count_L.sum()).astype(np.float32)


def _labelled(features_RD: Floats, gold_R: Ints) -> tuple[Floats, Ints]:
    known_R = gold_R >= 0
    if known_R.all():
        return np.asarray(features_RD, np.float32), gold_R
    return np.asarray(features_RD[known_R], np.float32), gold_R[known_R]


def _fit_without_dev(features_RD: Floats, gold_R: Ints, classes: int, seed: int) -> Probe:
    held_R = held_out(gold_R, seed)
    scale = scale_of(features_RD)
    scaled_RD = scale.apply(features_RD)
    chosen, temperature = _choose(
        (scaled_RD[~held_R], gold_R[~held_R]), (scaled_RD[held_R], gold_R[held_R]), classes
    )
    (last,) = _path(scaled_RD, gold_R, classes, (chosen.C,))
    return _finish(last, scale, temperature)


def held_out(gold_R: Ints, seed: int) -> npt.NDArray[np.bool_]:
    """Mark a seeded tenth of the rows, never the last row of a label."""
    order_R = np.random.default_rng(seed).permutation(len(gold_R))
    _, first_L = np.unique(gold_R[order_R], return_index=True)
    spare_R = np.setdiff1d(np.arange(len(gold_R)), first_L, assume_unique=True)
    held_R = np.zeros(len(gold_R), bool)
    held_R[order_R[spare_R[: round(len(gold_R) * HELD_OUT)]]] = True
    return held_R


def scale_of(features_RD: Floats) -> Scale:
    """Mean and spread of features [R, D]; a feature that does not vary keeps its spread of 1."""
    mean_D = features_RD.mean(axis=0, dtype=np.float64)
    spread_D = features_RD.std(axis=0, dtype=np.float64)
    constant_D = spread_D <= 1e-6 * max(float(spread_D.max()), 1e-30)
    return Scale(mean_D.astype(np.float32), np.where(constant_D, 1.0, spread_D).astype(np.float32))


def _choose(
    train: tuple[Floats, Ints], dev: tuple[Floats, Ints], classes: int
) -> tuple[_Fit, float]:
    """Walk from strong to weak penalties until dev has not gained `PATIENCE` times."""
    dev_RD, dev_gold_R = dev
    best: tuple[float, _Fit, float] | None = None
    worse = 0
    for candidate in _path(*train, classes, _penalties(train[0].shape[1], len(dev_gold_R))):
        temperature, nats = temper(candidate.logits(dev_RD), dev_gold_R)
        worse = worse + 1 if best and nats >= best[0] else 0
        if not worse:
            best = (nats, candidate, temperature)
        if worse == PATIENCE:
            break
    assert best is not None
    return best[1], best[2]


def _penalties(features: int, dev_rows: int) -> tuple[float, ...]:
    """Give the grid of C, as prior variances of a logit whatever D is; one where dev is empty."""
    return tuple(spread / features for spread in (SPREADS if dev_rows else (1.0,)))


def _path(
    scaled_RD: Floats, gold_R: Ints, classes: int, penalties: tuple[float, ...]
) -> Iterator[_Fit]:
    """Fit at each C in turn, each from the weights of the one before."""
    if len(np.unique(gold_R)) == 1:
        yield _only(int(gold_R[0]), classes, scaled_RD.shape[1], penalties[0])
        return
    model = LogisticRegression(warm_start=True, tol=TOLERANCE, max_iter=MAX_ITERATIONS)
    for penalty in penalties:
        model.set_params(C=penalty)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            # Few rows of many classes are what some files have; the report says how many there are.
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            model.fit(scaled_RD, gold_R)
        yield _read(model, classes, penalty)


def _only(label: int, classes: int, features: int, penalty: float) -> _Fit:
    bias_L = np.full(classes, -ABSENT_NATS, np.float32)
    bias_L[label] = 0
    return _Fit(np.zeros((classes, features), np.float32), bias_L, penalty, converged=True)


def _read(model: LogisticRegression, classes: int, penalty: float) -> _Fit:
    """Spread scikit-learn's weights over all L labels; it keeps one row for two labels."""
    weight_PD = np.asarray(model.coef_, np.float32)
    bias_P = np.asarray(model.intercept_, np.float32)
    if len(weight_PD) == 1:
        weight_PD = np.concatenate([-weight_PD, weight_PD]) / 2
        bias_P = np.concatenate([-bias_P, bias_P]) / 2
    present_P = np.asarray(model.classes_, np.int64)
    weight_LD = np.zeros((classes, weight_PD.shape[1]), np.float32)
    bias_L = np.full(classes, bias_P.min() - ABSENT_NATS, np.float32)
    weight_LD[present_P] = weight_PD
    bias_L[present_P] = bias_P
    converged = int(np.max(model.n_iter_)) < MAX_ITERATIONS
    return _Fit(weight_LD, bias_L, penalty, converged)


def temper(logits_RL: Floats, gold_R: Ints) -> tuple[float, float]:
    """Give the temperature with the least log-loss, and that loss in nats a row."""
    if len(gold_R) == 0:
        return 1.0, 0.0
    rows_R = np.arange(len(gold_R))

    def nats(log_temperature: float) -> float:
        log_probs_RL = log_softmax(logits_RL / np.exp(log_temperature), axis=1)
        return -float(log_probs_RL[rows_R, gold_R].mean(dtype=np.float64))

    bounds = (-LOG_TEMPERATURE, LOG_TEMPERATURE)
    found: Any = minimize_scalar(nats, bounds=bounds, method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x)), float(found.fun)


def _finish(chosen: _Fit, scale: Scale, temperature: float) -> Probe:
    weight_LD, bias_L = scale.fold(chosen.weight_LD, chosen.bias_L)
    cool = np.float32(temperature)
    return Probe(weight_LD / cool, bias_L / cool, chosen.C, temperature, chosen.converged)
