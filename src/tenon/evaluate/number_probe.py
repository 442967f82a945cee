"""Number probe: ridge regression on the frozen base's features.

R rows, D features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tenon.evaluate.frequent import Frequent
from tenon.evaluate.label_probe import held_rows
from tenon.evaluate.probe import Probe, Scale, scale_of

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
PENALTIES = tuple(10.0**power for power in np.arange(-4.0, 2.1, 0.25))
"""On the squared weights of standardised features, in units of the number of rows."""


def spread_of(gold_R: Doubles) -> tuple[float, float]:
    """Give mean and standard deviation of the known numbers; 1 where all are equal."""
    known_R = gold_R[np.isfinite(gold_R)]
    spread = float(known_R.std())
    return float(known_R.mean()), spread if spread > 0 else 1.0


def mean_of(gold_R: Doubles) -> Frequent:
    """Give what one answers who knows only the mean of train."""
    mean, _ = spread_of(gold_R)
    return Frequent(np.array([mean], np.float64), (), np.zeros((0, 1), np.float64))  # type: ignore[arg-type]


def fit(
    features_RD: Floats,
    gold_R: npt.NDArray[Any],
    classes: int,
    *,
    seed: int,
    dev: tuple[Floats, npt.NDArray[Any]] | None = None,
) -> Probe:
    """Fit ridge regression on standardised features and numbers; dev chooses the penalty.

    Args:
        features_RD: what the head reads of the frozen base.
        gold_R: the numbers, all known.
        classes: 1.
        seed: chooses the held-out tenth where `dev` is None.
        dev: features and numbers for choosing the penalty.

    Returns:
        The probe, whose logit is the number, less the mean of train, in units of its spread.
    """
    del classes
    mean, spread = spread_of(gold_R)
    scale = scale_of(features_RD)
    scaled_RD, standard_R = scale.apply(features_RD).astype(np.float64), (gold_R - mean) / spread
    if dev is not None and len(dev[0]):
        held = scale.apply(dev[0]).astype(np.float64), (dev[1] - mean) / spread
        penalty = _choose((scaled_RD, standard_R), held)
    else:
        held_R = held_rows(len(gold_R), seed)
        held = scaled_RD[held_R], standard_R[held_R]
        penalty = _choose((scaled_RD[~held_R], standard_R[~held_R]), held)
    weight_D, bias = _Ridge(scaled_RD, standard_R).weights(penalty)
    return _finish(weight_D, bias, penalty, scale)


class _Ridge:
    """Ridge regressions of one set of rows, any penalty at the cost of a product.

    Source: Hastie, Tibshirani and Friedman 2009, section 3.4.1: by the singular values of X.
    """

    def __init__(self, scaled_RD: Doubles, standard_R: Doubles) -> None:
        self.rows = len(scaled_RD)
        self.centre_D, self.offset = scaled_RD.mean(0), float(standard_R.mean())
        centred_RD = scaled_RD - self.centre_D
        self.sizes_D, self.turn_DD = np.linalg.eigh(centred_RD.T @ centred_RD)
        self.pull_D = self.turn_DD.T @ (centred_RD.T @ (standard_R - self.offset))

    def weights(self, penalty: float) -> tuple[Doubles, float]:
        sizes_D = np.maximum(self.sizes_D, 0) + penalty * self.rows
        weight_D = self.turn_DD @ (self.pull_D / sizes_D)
        return weight_D, self.offset - float(weight_D @ self.centre_D)


def _choose(train: tuple[Doubles, Doubles], dev: tuple[Doubles, Doubles]) -> float:
    if not len(dev[0]):
        return 1.0
    ridge = _Ridge(*train)
    errors = []
    for penalty in PENALTIES:
        weight_D, bias = ridge.weights(penalty)
        errors.append(float(((dev[0] @ weight_D + bias - dev[1]) ** 2).mean()))
    # The strongest of those that are equally good: from strong to weak, the first.
    return PENALTIES[len(PENALTIES) - 1 - int(np.argmin(errors[::-1]))]


def _finish(weight_D: Doubles, bias: float, penalty: float, scale: Scale) -> Probe:
    weights = weight_D[None].astype(np.float32), np.array([bias], np.float32)
    return Probe(*scale.fold(*weights), penalty, temperature=1.0, converged=True)
