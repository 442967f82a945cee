"""Shares: closed forms for a share of rows, and for the difference of two on the same rows."""

from __future__ import annotations

import numpy as np
from scipy import stats

FEW = 12
"""Below so many rows right, or wrong, Wilson's interval covers too little."""


def share_interval(successes: int, trials: int, level: float) -> tuple[float, float]:
    """Give the interval of a share: Wilson's, or the exact one where few are right or wrong."""
    few = min(successes, trials - successes) < FEW
    return (clopper_pearson if few else wilson)(successes, trials, level)


def clopper_pearson(successes: int, trials: int, level: float) -> tuple[float, float]:
    """Give the exact interval of a share, which covers at least as often as it says.

    Source: Clopper and Pearson 1934, by quantiles of the beta distribution.
    """
    tail, failures = (1 - level) / 2, trials - successes
    low = stats.beta.ppf(tail, successes, failures + 1) if successes else 0.0
    high = stats.beta.isf(tail, successes + 1, failures) if failures else 1.0
    return float(low), float(high)


def wilson(successes: int, trials: int, level: float) -> tuple[float, float]:
    """Give Wilson's interval of a share.

    Source: Wilson 1927; Brown, Cai and DasGupta 2001 for its coverage.
    """
    return wilson_share(successes / trials, trials, normal_quantile(level))


def wilson_share(share: float, trials: float, quantile: float) -> tuple[float, float]:
    """Give Wilson's interval of a share of so many independent trials, which need be no integer.

    Args:
        share: in [0, 1].
        trials: as many independent ones as tell the same.
        quantile: of the normal distribution, or of Student's where the trials were estimated.
    """
    square = quantile**2
    centre = (share + square / (2 * trials)) / (1 + square / trials)
    spread = float(np.sqrt(share * (1 - share) / trials + square / (4 * trials**2)))
    half = spread * quantile / (1 + square / trials)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def mcnemar(won: int, lost: int) -> float:
    """Give the exact two-sided p of McNemar's test.

    Args:
        won: rows that only the first system has right.
        lost: rows that only the second system has right.

    Source: McNemar 1947, with the exact binomial instead of chi-squared.
    """
    tail = float(stats.binom.cdf(min(won, lost), won + lost, 0.5))
    return min(1.0, 2 * tail)


def bonett_price(won: int, lost: int, rows: int, level: float) -> tuple[float, float]:
    """Give the interval of the difference of two paired shares.

    Source: Bonett and Price 2012, "Adjusted Wald Confidence Interval for a Difference of
    Binomial Proportions Based on Paired Data".
    """
    first, second = (won + 1) / (rows + 2), (lost + 1) / (rows + 2)
    centre = first - second
    spread = float(np.sqrt((first + second - centre**2) / (rows + 2)))
    half = normal_quantile(level) * spread
    return max(-1.0, centre - half), min(1.0, centre + half)


def normal_quantile(level: float) -> float:
    """Give how many standard errors an interval of this confidence reaches to either side."""
    return float(stats.norm.ppf((1 + level) / 2))


def student_quantile(level: float, freedom: float) -> float:
    """Give the same where the standard error was estimated with so many degrees of freedom."""
    return float(stats.t.ppf((1 + level) / 2, freedom))
