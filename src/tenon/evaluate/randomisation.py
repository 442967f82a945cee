"""Randomisation: how often chance alone would part two systems as far as they are.

Were two systems alike, it would be chance which of the two answers to a row is whose. So the
answers are exchanged, row by row or cluster by cluster, and the difference is taken again. No
score is too odd for that: corpus scores such as F1 or BLEU are computed of the exchanged sums.

Source: Fisher 1935; Noreen 1989, "Computer-Intensive Methods for Testing Hypotheses"; for corpus
scores Yeh 2000, "More Accurate Tests for the Statistical Significance of Result Differences".

U units (rows or clusters), K terms, S exchanges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tenon.evaluate.resampling import CHUNK_DRAWS, used_resamples
from tenon.evaluate.scorers import Doubles, Scorer

MOST_ENUMERATED = 12
"""Of so many units that differ, every exchange is looked at: 2,048, but for their mirror images."""
ROUNDING = 1e-9


@dataclass(frozen=True)
class Exchanged:
    """What the exchanges say.

    Args:
        p: two-sided.
        exchanges: that were looked at.
        exact: whether these are all.
    """

    p: float
    exchanges: int
    exact: bool


def exchange(
    first_UK: Any, second_UK: Any, scorer: Scorer, rows: int, *, exchanges: int, seed: int
) -> Exchanged:
    """Test whether two systems differ.

    Args:
        first_UK, second_UK: their terms.
        scorer: whose terms these are.
        rows: of all units.
        exchanges: by chance, where they are too many to look at all; fewer for very many rows.
        seed: of the chance.
    """
    both_K = np.asarray((first_UK + second_UK).sum(axis=0), np.float64).reshape(-1)
    away_UK = first_UK - second_UK
    differ = np.asarray(abs(away_UK).sum(axis=1)).reshape(-1) > 0
    away_UK, units = away_UK[np.flatnonzero(differ)], int(differ.sum())
    if not units:
        return Exchanged(1.0, 1, exact=True)

    def difference(away_SK: Doubles) -> Doubles:
        first_S = scorer.combine((both_K + away_SK) / 2, rows)
        return np.abs(first_S - scorer.combine((both_K - away_SK) / 2, rows))

    seen = float(difference(np.asarray(away_UK.sum(axis=0), np.float64).reshape(1, -1))[0])
    exact = units <= MOST_ENUMERATED
    signs = _all_signs(units) if exact else _some_signs(units, exchanges, seed)
    reached = looked = 0
    for sign_SU in signs:
        apart_S = difference(np.asarray(sign_SU @ away_UK))
        reached += int((apart_S >= seen * (1 - ROUNDING) - ROUNDING**2).sum())
        looked += len(apart_S)
    p = reached / looked if exact else (reached + 1) / (looked + 1)
    return Exchanged(p, looked, exact)


def _all_signs(units: int) -> Iterator[Doubles]:
    """Yield every pattern of signs whose first is a plus: the others mirror them."""
    number_S = np.arange(2 ** (units - 1))
    yield np.where(number_S[:, None] >> np.arange(units) & 1, -1.0, 1.0)


def _some_signs(units: int, exchanges: int, seed: int) -> Iterator[Doubles]:
    generator = np.random.default_rng(seed)
    exchanges = used_resamples(exchanges, units)
    size = max(1, CHUNK_DRAWS // units)
    for start in range(0, exchanges, size):
        block = min(size, exchanges - start)
        packed = generator.integers(0, 256, (block, -(-units // 8)), dtype=np.uint8)
        yield 1.0 - 2.0 * np.unpackbits(packed, axis=1, count=units).astype(np.float64)
