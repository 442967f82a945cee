"""Bounds: intervals drawn from the values of a score on resamples.

U units (rows or clusters), K terms, S resamples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from tenon.evaluate.resampling import Design, draw
from tenon.evaluate.scorers import Doubles, Scorer
from tenon.evaluate.shares import student_quantile

SHRINKS = tuple(step / 40 for step in range(81))


def accelerated(
    value: float, sample_S: Doubles, left_U: Doubles | None, design: Design, level: float
) -> tuple[float, float]:
    """Give the bias-corrected and accelerated interval, widened for few units.

    A resample varies about its own rows, which lie nearer to it than the truth, and how much is
    known from those rows alone. Of n units its quantiles are therefore taken as far out as
    Student's, times the square root of n / (n - 1).

    Args:
        value: the score, or the difference of two.
        sample_S: the same on resamples.
        left_U: the same without each unit; None where they are so many that it does not matter.
        design: how the units were drawn.
        level: confidence.

    Source: Efron 1987, "Better Bootstrap Confidence Intervals"; the widening by Hesterberg 2015,
    "What Teachers Should Know About the Bootstrap", section 5.2.
    """
    below = float((sample_S < value).mean() + (sample_S <= value).mean()) / 2
    quantile = student_quantile(level, design.freedom) * float(np.sqrt(design.shrink))
    if not 0 < below < 1:
        low, high = stats.norm.cdf([-quantile, quantile])
        return quantiles(sample_S, float(low), float(high))
    bias = float(stats.norm.ppf(below))
    acceleration = 0.0 if left_U is None else _acceleration(left_U)
    shares: list[float] = []
    for z in (-quantile, quantile):
        moved = bias + z
        # Where a few units pull that hard, the formula has a pole; beyond it lies the end.
        room = max(1 - acceleration * moved, 1e-3)
        shares.append(float(stats.norm.cdf(bias + moved / room)))
    return quantiles(sample_S, shares[0], shares[1])


def on_log_scale(value: float, error: float, design: Design, level: float) -> tuple[float, float]:
    """Give Student's interval of a positive amount, on the scale of its logarithm.

    A mean of losses has a long upper tail, that of its logarithm hardly any; of few rows this
    covers better than the bootstrap, which knows no larger loss than it has seen.

    Args:
        value: the amount.
        error: its standard error.
        design: how the units were drawn.
        level: confidence.

    Source: the delta method; Hesterberg 2015 on transformed t intervals.
    """
    if value <= 0:
        return value, value + student_quantile(level, design.freedom) * error
    factor = float(np.exp(student_quantile(level, design.freedom) * error / value))
    return value / factor, value * factor


def student(value: float, error: float, design: Design, level: float) -> tuple[float, float]:
    """Give Student's interval: differences of systems that are alike have no skew."""
    half = student_quantile(level, design.freedom) * error
    return value - half, value + half


def _acceleration(left_U: Doubles) -> float:
    """Give a sixth of the jackknife's skewness."""
    pull_U = left_U.mean() - left_U
    spread = float((pull_U**2).sum())
    return float((pull_U**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0


def standard_error(left_U: Doubles, strata: int = 1) -> float:
    """Give the jackknife's standard error of a score.

    Args:
        left_U: the score without each unit.
        strata: groups from which units were drawn, each of them a degree of freedom.

    Source: Efron and Stein 1981.
    """
    units = len(left_U)
    factor = (units - 1) ** 2 / (units * max(1, units - strata))
    return float(np.sqrt(factor * ((left_U - left_U.mean()) ** 2).sum()))


def inverted(
    terms_UK: Any, scorer: Scorer, design: Design, level: float, *, resamples: int, seed: int
) -> tuple[float, float]:
    """Give every score that the observed one does not contradict.

    A sum of absolute gaps is pushed up by noise even where every gap is 0, so its
    bootstrap is biased. Here the true gaps are taken to be the observed ones times
    t; for each t the score is simulated with the resamples' noise around them, and
    t is kept where the observed score is not in a tail.

    Source: test inversion, Efron and Tibshirani 1993, chapter 12; the null at t = 0 is Bröcker
    and Smith 2007, "Increasing the Reliability of Reliability Diagrams".
    """
    rows = design.rows
    sums_1K = np.asarray(terms_UK.sum(axis=0), np.float64).reshape(1, -1)
    blocks = draw(design, resamples, seed)
    noise_SK = np.concatenate([np.asarray(count_SU @ terms_UK) for count_SU in blocks]) - sums_1K
    value = float(scorer.combine(sums_1K, rows)[0])
    kept: list[float] = []
    for shrink in SHRINKS:
        sample_S = scorer.combine(shrink * sums_1K + noise_SK, rows)
        low, high = quantiles(sample_S, (1 - level) / 2, (1 + level) / 2)
        if low <= value <= high:
            kept.append(float(scorer.combine(shrink * sums_1K, rows)[0]))
    return (min(kept), max(kept)) if kept else (value, value)


def quantiles(sample_S: Doubles, low: float, high: float) -> tuple[float, float]:
    """Give two quantiles of a sample."""
    bounds = np.quantile(sample_S, [low, high])
    return float(bounds[0]), float(bounds[1])
