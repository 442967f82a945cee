"""Resampling: scores on rows drawn anew, the same rows for every system and scorer.

What is drawn is a row, or a cluster of rows that belong together. As every score is a function
of sums over rows, a resample is a vector of counts, and its score one matrix product away.

R rows, U units (rows or clusters), K terms, M systems, S resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tenon.evaluate.clusters import Clusters
from tenon.evaluate.prediction import Answers, Predictions
from tenon.evaluate.scorers import Doubles, Scorer

CHUNK_DRAWS = 4_000_000
MOST_DRAWS = 400_000_000
FEWEST_RESAMPLES = 200
KEPT_DRAWS = 40_000_000
"""Up to so many, 80 MB of them, draws are kept for the next comparison."""
DENSE_TERMS = 64
"""Up to so many columns, a dense product is the faster one."""
JACKKNIFE_UNITS = 20_000
FEWEST_OF_A_LABEL = 5

Ints = npt.NDArray[np.int64]
Counts = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Design:
    """How rows come about, and so how they are drawn anew.

    Args:
        rows: R.
        clusters: of rows that belong together; None where each stands for itself.
        strata_R: the stratum of each row, from which as many are drawn as it has; None for one.
    """

    rows: int
    clusters: Clusters | None = None
    strata_R: Ints | None = None

    @property
    def units(self) -> int:
        """How many are drawn."""
        return self.rows if self.clusters is None else self.clusters.count

    @property
    def strata(self) -> int:
        """From how many groups they are drawn."""
        return 1 if self.strata_R is None else int(self.strata_R.max()) + 1

    @property
    def freedom(self) -> int:
        """Degrees of freedom of a variance between the units."""
        return max(1, self.units - self.strata)

    @property
    def shrink(self) -> float:
        """By what a resample's variance is too small: drawn around its own mean, not the true."""
        return max(1, self.units) / self.freedom

    def terms(self, terms_RK: Any) -> Any:
        """Give the terms of the units, [U, K]: of rows as they are, of clusters added up."""
        return terms_RK if self.clusters is None else self.clusters.sums(terms_RK)

    def sizes_U(self) -> Doubles:
        """Give how many rows each unit is."""
        return np.ones(self.rows) if self.clusters is None else self.clusters.sizes_G


def design_of(answers: Answers, clusters: Clusters | None) -> Design:
    """Tell how rows came about.

    Where every label has the same number of rows, they were chosen by label: chance gives no
    such numbers. Then as many are drawn of each; else the intervals would hold a doubt about the
    numbers of labels that there is not.
    """
    if clusters is None and isinstance(answers, Predictions):
        _, of_R, count_L = np.unique(answers.gold_R, return_inverse=True, return_counts=True)
        if len(count_L) > 1 and count_L[0] >= FEWEST_OF_A_LABEL and np.ptp(count_L) == 0:
            return Design(len(answers), None, of_R.astype(np.int64))
    return Design(len(answers), clusters)


def bootstrap(
    systems: Sequence[Answers],
    scorers: Sequence[Scorer],
    *,
    resamples: int,
    seed: int,
    design: Design | None = None,
) -> dict[str, Doubles]:
    """Give each scorer's values on resamples, [M, S]; equal seeds draw equal rows.

    Args:
        systems: answers to the same rows, all labelled.
        scorers: all are computed on the same resamples.
        resamples: S, unless the rows are so many that `used_resamples` gives less.
        seed: of the drawing.
        design: how the rows came about; each for itself where left out.
    """
    if not scorers:
        return {}
    drawn = design or Design(len(systems[0]))
    blocks = {
        scorer.terms: beside([drawn.terms(scorer.terms(answers)) for answers in systems])
        for scorer in scorers
    }
    values: dict[str, list[Doubles]] = {scorer.name: [] for scorer in scorers}
    for count_SU in draw(drawn, resamples, seed):
        rows = drawn.rows if drawn.clusters is None else count_SU @ drawn.sizes_U()
        sums = {key: apart(count_SU @ block, len(systems)) for key, block in blocks.items()}
        for scorer in scorers:
            each = [scorer.combine(sums_SK, rows) for sums_SK in sums[scorer.terms]]
            values[scorer.name].append(np.stack(each))
    return {name: np.concatenate(parts, axis=1) for name, parts in values.items()}


def beside(terms: Sequence[Any]) -> Any:
    """Put the terms of systems side by side, [U, M K]; dense where they are few."""
    width = terms[0].shape[1]
    if width * len(terms) <= DENSE_TERMS:
        return np.concatenate([each.toarray() for each in terms], axis=1)
    return sparse.csr_array(sparse.hstack(list(terms), format="csr"))


def apart(sums_SN: Any, systems: int) -> list[Doubles]:
    """Give each system's sums, [S, K] each, of what `beside` has put together."""
    return np.split(np.asarray(sums_SN, np.float64), systems, axis=1)


def used_resamples(resamples: int, units: int) -> int:
    """Give how many resamples are drawn: fewer beyond 200,000 rows, where it would take long."""
    return min(resamples, max(FEWEST_RESAMPLES, MOST_DRAWS // units))


def draw(design: Design, resamples: int, seed: int) -> Iterator[Doubles]:
    """Yield how often each unit occurs in each resample, [S, U], some resamples at a time."""
    units = design.units
    resamples = used_resamples(resamples, units)
    if design.strata_R is None and units * resamples <= KEPT_DRAWS:
        blocks = _kept(units, resamples, seed)
    else:
        blocks = _blocks(design, resamples, seed)
    for count_SU in blocks:
        yield count_SU.astype(np.float64)


@lru_cache(maxsize=1)
def _kept(units: int, resamples: int, seed: int) -> tuple[Counts, ...]:
    """Keep the draws: every system and every comparison of a report asks for the same ones."""
    return tuple(_blocks(Design(units), resamples, seed))


def _blocks(design: Design, resamples: int, seed: int) -> Iterator[Counts]:
    generator, units = np.random.default_rng(seed), design.units
    size = max(1, CHUNK_DRAWS // units)
    for start in range(0, resamples, size):
        block = min(size, resamples - start)
        drawn_SU = _drawn(generator, block, design)
        drawn_SU += (np.arange(block) * units)[:, None]
        count_N = np.bincount(drawn_SU.ravel(), minlength=block * units)
        yield count_N.reshape(block, units).astype(np.uint16)


def _drawn(generator: np.random.Generator, block: int, design: Design) -> Ints:
    if design.strata_R is None:
        return generator.integers(0, design.units, (block, design.units), dtype=np.int64)
    order_R = np.argsort(design.strata_R, kind="stable")
    size_L = np.bincount(design.strata_R)
    first_R = np.repeat(size_L.cumsum() - size_L, size_L)
    place_SR = generator.random((block, design.rows)) * np.repeat(size_L, size_L)
    return order_R[place_SR.astype(np.int64) + first_R]


def jackknife(terms_UK: Any, sizes_U: Doubles, scorer: Scorer) -> Doubles:
    """Give the score without each of the units, [U]."""
    sums_K = np.asarray(terms_UK.sum(axis=0), np.float64).reshape(-1)
    rows, size = float(sizes_U.sum()), max(1, CHUNK_DRAWS // len(sums_K))
    parts: list[Doubles] = []
    for start in range(0, len(sizes_U), size):
        without_UK = sums_K - terms_UK[start : start + size].toarray()
        parts.append(scorer.combine(without_UK, rows - sizes_U[start : start + size]))
    return np.concatenate(parts)
