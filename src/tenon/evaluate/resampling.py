"""Resampling: scores on rows drawn anew, the same rows for every system and scorer.

What is drawn is a row, or a cluster of rows that belong together. As every score is a function
of sums over rows, a resample is a vector of counts, and its score one matrix product away.

R rows, U units (rows or clusters), K terms, M systems, S resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tenon.evaluate.clusters import Clusters
from tenon.evaluate.prediction import Answers
from tenon.evaluate.scorers import Doubles, Scorer

CHUNK_DRAWS = 4_000_000
MOST_DRAWS = 400_000_000
FEWEST_RESAMPLES = 200
DENSE_TERMS = 64
"""Up to so many columns, a dense product is the faster one."""


def bootstrap(
    systems: Sequence[Answers],
    scorers: Sequence[Scorer],
    *,
    resamples: int,
    seed: int,
    clusters: Clusters | None = None,
) -> dict[str, Doubles]:
    """Give each scorer's values on resamples, [M, S]; equal seeds draw equal rows.

    Args:
        systems: answers to the same rows, all labelled.
        scorers: all are computed on the same resamples.
        resamples: S, unless the rows are so many that `used_resamples` gives less.
        seed: of the drawing.
        clusters: of the rows, which are then drawn whole.
    """
    if not scorers:
        return {}
    rows = len(systems[0])
    blocks = {
        scorer.terms: beside([units(scorer.terms(answers), clusters) for answers in systems])
        for scorer in scorers
    }
    values: dict[str, list[Doubles]] = {scorer.name: [] for scorer in scorers}
    drawn = rows if clusters is None else clusters.count
    for count_SU in draw(drawn, used_resamples(resamples, drawn), seed):
        sizes = rows if clusters is None else count_SU @ clusters.sizes_G
        sums = {key: apart(count_SU @ block, len(systems)) for key, block in blocks.items()}
        for scorer in scorers:
            each = [scorer.combine(sums_SK, sizes) for sums_SK in sums[scorer.terms]]
            values[scorer.name].append(np.stack(each))
    return {name: np.concatenate(parts, axis=1) for name, parts in values.items()}


def units(terms_RK: Any, clusters: Clusters | None) -> Any:
    """Give the terms of what is drawn, [U, K]: of rows as they are, of clusters added up."""
    return terms_RK if clusters is None else clusters.sums(terms_RK)


def beside(terms: Sequence[Any]) -> Any:
    """Put the terms of systems side by side, [U, M K]; dense where they are few."""
    width = terms[0].shape[1]
    if width * len(terms) <= DENSE_TERMS:
        return np.concatenate([each.toarray() for each in terms], axis=1)
    return sparse.csr_array(sparse.hstack(list(terms), format="csr"))


def apart(sums_SN: Any, systems: int) -> list[Doubles]:
    """Give each system's sums, [S, K] each, of what `beside` has put together."""
    return np.split(np.asarray(sums_SN, np.float64), systems, axis=1)


def used_resamples(resamples: int, drawn: int) -> int:
    """Give how many resamples are drawn: fewer beyond 200,000 rows, where it would take long."""
    return min(resamples, max(FEWEST_RESAMPLES, MOST_DRAWS // drawn))


def draw(units: int, resamples: int, seed: int) -> Iterator[npt.NDArray[np.float64]]:
    """Yield how often each unit occurs in each resample, a block of resamples at a time."""
    generator = np.random.default_rng(seed)
    size = max(1, CHUNK_DRAWS // units)
    for start in range(0, resamples, size):
        block = min(size, resamples - start)
        drawn_SU = generator.integers(0, units, (block, units), dtype=np.int64)
        drawn_SU += (np.arange(block) * units)[:, None]
        count_N = np.bincount(drawn_SU.ravel(), minlength=block * units)
        yield count_N.reshape(block, units).astype(np.float64)
