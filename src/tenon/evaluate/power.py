"""Power: how small a difference rows can show, and how many rows a small one needs.

Source: Connor 1987, "Sample Size for Testing Differences in Proportions for the Paired-Sample
Design"; for other scores the same with one variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

from tenon.evaluate.shares import normal_quantile

POWER = 0.8
"""How often a difference is to be found that is there."""
MOST_TIMES = 1e4
"""A difference so many times smaller than one that could be shown is none."""


@dataclass(frozen=True)
class Power:
    """What a comparison could have shown.

    Args:
        smallest: the difference that would be found in four of five such comparisons.
        goal: the difference whose rows are counted; 0 for none.
        needed: rows that would find the goal in four of five comparisons; 0 for no goal.
    """

    smallest: float
    goal: float
    needed: int


def of_shares(won: int, lost: int, rows: int, goal: float, level: float) -> Power:
    """Give the power of McNemar's test.

    Args:
        won, lost: rows that only the first, or only the second system has right; each is taken
            to be one more, of two rows more, as nothing seen is not nothing.
        rows: of both.
        goal: a difference of shares.
        level: of the test, 1 less what it may err.
    """
    discordant = (won + lost + 2) / (rows + 2)
    sure, found = normal_quantile(level), float(stats.norm.ppf(POWER))

    def needed(difference: float) -> float:
        differ = max(discordant, difference)
        spread = sure * math.sqrt(differ) + found * math.sqrt(differ - difference**2)
        return (spread / difference) ** 2

    # The rows that a difference needs fall as it grows, so that halving finds it.
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if needed(middle) <= rows else (middle, high)
    return Power(high, goal, math.ceil(needed(goal)) if goal else 0)


def of_error(error: float, rows: int, goal: float, level: float) -> Power:
    """Give the power of a comparison with a standard error.

    Args:
        error: standard error of the difference.
        rows: that gave it.
        goal: a difference, in the same unit.
        level: of the test.
    """
    smallest = (normal_quantile(level) + float(stats.norm.ppf(POWER))) * error
    if not goal or goal * MOST_TIMES < smallest:
        return Power(smallest, 0.0, 0)
    return Power(smallest, goal, math.ceil(rows * (smallest / goal) ** 2))
