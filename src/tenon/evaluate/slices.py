"""Slices: groups of rows by one property, and whether an adapter is worse on one of them.

Every slice is compared with all other rows. As many are looked at, the p-values are corrected for
their number, and the worst slice is named only where its lag is more than noise.

R rows, U units (rows or clusters), K terms, N slices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse, stats

from tenon.data.languages import languages_of
from tenon.evaluate.bounds import standard_error
from tenon.evaluate.clusters import Grouping
from tenon.evaluate.correction import holm
from tenon.evaluate.prediction import Answers
from tenon.evaluate.resampling import jackknife
from tenon.evaluate.scorers import Doubles, Scorer, scored
from tenon.evaluate.statistics import intervals

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
FEWEST_ROWS = 20
"""Of a slice, and of the rows that are not in it."""
FEWEST_UNITS = 5
MOST_SLICES = 12
"""That are listed of one property: of more, those with the lowest scores."""
BINS = 4
MOST_TEXTS = 100_000
"""Of more, languages are not told: it would take long."""
MOST_UNITS = 2_000
"""Of more, rows are put together at random before the standard error is taken."""


@dataclass(frozen=True)
class Trait:
    """One property of rows.

    Args:
        by: what it is called.
        names: the slices that each row is in: one, several, or none.
        ordered: whether the slices have an order of their own.
    """

    by: str
    names: Sequence[Sequence[str]]
    ordered: bool = False

    def members(self) -> dict[str, list[int]]:
        """Give the rows of each slice."""
        found: dict[str, list[int]] = {}
        for row, names in enumerate(self.names):
            for name in names:
                found.setdefault(name, []).append(row)
        return found


def by_length(texts: Sequence[str]) -> Trait:
    """Part rows by the length of their text, in four bins of about as many rows."""
    length_R = np.array([len(text) for text in texts], np.int64)
    inner = np.quantile(length_R, np.arange(1, BINS) / BINS, method="lower")
    edges: list[int] = np.unique(np.append(inner, length_R.max())).tolist()
    lows = [int(length_R.min()), *(edge + 1 for edge in edges[:-1])]
    bins = [f"{low:,}–{high:,} characters" for low, high in zip(lows, edges, strict=True)]
    bin_R: list[int] = np.searchsorted(edges, length_R).tolist()
    return Trait("length", _in_order(bins, bin_R), ordered=True)


def _in_order(bins: Sequence[str], bin_R: Sequence[int]) -> list[tuple[str, ...]]:
    return [(bins[place],) for place in bin_R]


def by_language(texts: Sequence[str]) -> Trait:
    """Part rows by language, or by script where that is all that tells."""
    if len(texts) > MOST_TEXTS:
        return Trait("language", [()] * len(texts))
    return Trait("language", [(name,) if name else () for name in languages_of(texts)])


def by_file(origins: Sequence[str]) -> Trait:
    """Part rows by the file in which they stand."""
    return Trait("file", [(origin.rpartition(":")[0],) for origin in origins])


def by_cell(column: str, cells: Mapping[str, str], origins: Sequence[str]) -> Trait:
    """Part rows by what a column of theirs holds.

    Args:
        column: its name.
        cells: origin of a row to what it holds.
        origins: of the rows.
    """
    found = (cells.get(origin, "") for origin in origins)
    return Trait(column, [(cell,) if cell else () for cell in found])


def traits_of(
    answers: Answers,
    texts: Sequence[str],
    labels: Sequence[Sequence[str]],
    cells: Mapping[str, Mapping[str, str]],
) -> list[Trait]:
    """Give the properties by which rows are parted.

    Args:
        answers: to the rows.
        texts: of the rows, by whose length and language they are parted.
        labels: what each row has of the task's labels.
        cells: column to origin to what it holds.
    """
    return [
        by_length(texts),
        Trait("label", labels),
        by_language(texts),
        by_file(answers.origins),
        *(by_cell(column, held, answers.origins) for column, held in cells.items()),
    ]


def slices(
    answers: Answers,
    scorer: Scorer,
    traits: Sequence[Trait],
    *,
    level: float,
    resamples: int,
    seed: int,
    grouping: Grouping | None = None,
) -> list[dict[str, Any]]:
    """Score every slice that has enough rows, and compare it with the rest.

    Args:
        answers: to all rows that the traits have, all labelled.
        scorer: whose score is taken.
        traits: properties of the rows.
        level: confidence of the intervals; a corrected p below 1 - level counts.
        resamples: of each interval.
        seed: of the resampling.
        grouping: which rows belong together.

    Returns:
        For each slice `by`, `slice`, `n`, `value`, `low`, `high`, `difference` from the rest, the
        corrected `p`, `raw_p`, and whether it is the `worst`: one at most is.
    """
    known = scored(scorer, answers)
    if known is None:
        return []
    place = {origin: row for row, origin in enumerate(known.origins)}
    row_of = [place.get(origin, -1) for origin in answers.origins]
    measure = _Measure(known, scorer, grouping, level, resamples, seed)
    found: list[dict[str, Any]] = []
    for trait in traits:
        for name, members in trait.members().items():
            rows = np.array([row_of[row] for row in members if row_of[row] >= 0], np.int64)
            entry = measure.entry(rows)
            if entry is not None:
                found.append({"by": trait.by, "slice": name, **entry})
    for entry, p in zip(found, holm([entry["raw_p"] for entry in found]), strict=True):
        entry["p"] = p
    return _listed(found, traits, scorer, level)


def _listed(
    found: Sequence[dict[str, Any]], traits: Sequence[Trait], scorer: Scorer, level: float
) -> list[dict[str, Any]]:
    """Mark the worst slice, and keep the lowest of each property where they are many."""
    sign = 1 if scorer.better == "higher" else -1
    lagging = [e for e in found if sign * e["difference"] < 0 and e["p"] < 1 - level]
    worst = min(lagging, key=lambda entry: sign * entry["difference"], default=None)
    kept: list[dict[str, Any]] = []
    for trait in traits:
        own = [entry | {"worst": entry is worst} for entry in found if entry["by"] == trait.by]
        if trait.ordered:
            own.sort(key=lambda entry: _first_number(str(entry["slice"])))
        else:
            own.sort(key=lambda entry: sign * entry["value"])
        kept += own[:MOST_SLICES]
    return kept


def _first_number(name: str) -> int:
    return int(name.partition("–")[0].replace(",", ""))


@dataclass(frozen=True)
class _Excerpt:
    """Some rows of answers whose terms are known: what an interval needs to know of them."""

    index_R: Ints
    origins: Sequence[str]

    @property
    def known_R(self) -> Bools:
        return np.ones(len(self.index_R), np.bool_)

    def finite(self) -> bool:
        return True

    def __len__(self) -> int:
        return len(self.index_R)


class _Measure:
    """Scores parts of some rows, and compares them with the others.

    Args:
        known: the rows, all labelled.
    """

    def __init__(
        self,
        known: Answers,
        scorer: Scorer,
        grouping: Grouping | None,
        level: float,
        resamples: int,
        seed: int,
    ) -> None:
        self.origins: Sequence[str] = known.origins
        self.rows = len(known)
        self.terms_RK: Any = sparse.csr_array(scorer.terms(known))
        self.scorer = replace(scorer, rows=None, terms=lambda part: self.terms_RK[part.index_R])
        self.grouping = grouping
        self.drawn: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
        clusters = grouping.clusters(known.origins) if grouping else None
        self.clustered = clusters is not None
        of_R = np.arange(self.rows) if clusters is None else clusters.of_R
        count = self.rows if clusters is None else clusters.count
        if count > MOST_UNITS:
            of_R = np.random.default_rng(seed).integers(0, MOST_UNITS, count)[of_R]
            count = MOST_UNITS
        self.unit_R, self.units = of_R.astype(np.int64), count

    def entry(self, rows: Ints) -> dict[str, Any] | None:
        """Score the rows of a slice; None where they, or the others, are too few."""
        if not FEWEST_ROWS <= len(rows) <= self.rows - FEWEST_ROWS:
            return None
        others = np.setdiff1d(np.arange(self.rows), rows)
        if min(len(np.unique(self.unit_R[part])) for part in (rows, others)) < FEWEST_UNITS:
            return None
        part: Any = _Excerpt(rows, [str(self.origins[row]) for row in rows.tolist()])
        (found,) = intervals(part, [self.scorer], **self.drawn, grouping=self.grouping).values()
        difference = found.value - self._score(others)
        return {**asdict(found), "difference": difference, "raw_p": self._chance(rows, others)}

    def _score(self, rows: Ints) -> float:
        sums_1K = np.asarray(self.terms_RK[rows].sum(axis=0), np.float64).reshape(1, -1)
        return float(self.scorer.combine(sums_1K, len(rows))[0])

    def _chance(self, rows: Ints, others: Ints) -> float:
        """Give how often two parts that are alike differ as much.

        Of shares of rows that do not know each other that is Fisher's exact test; else Student's,
        by the jackknife's standard error of the difference, which minds clusters that lie in both.

        Source: Fisher 1935; Efron and Stein 1981.
        """
        if self.scorer.interval == "wilson" and not self.clustered:
            table = [[int(self.terms_RK[part].sum()), len(part)] for part in (rows, others)]
            exact: Any = stats.fisher_exact([[won, n - won] for won, n in table])
            return float(exact.pvalue)
        sides = [self._without(part) for part in (rows, others)]
        error = standard_error(sides[0] - sides[1])
        difference = abs(self._score(rows) - self._score(others))
        if error == 0:
            return 1.0
        freedom = min(len(np.unique(self.unit_R[part])) for part in (rows, others)) - 1
        return 2 * float(stats.t.sf(difference / error, freedom))

    def _without(self, rows: Ints) -> Doubles:
        """Give the score of a part without each of the units, [U]."""
        shape = (self.units, len(rows))
        member_UR = sparse.csr_array(
            (np.ones(len(rows)), (self.unit_R[rows], np.arange(len(rows)))), shape=shape
        )
        sizes_U = np.bincount(self.unit_R[rows], minlength=self.units).astype(np.float64)
        terms_UK: Any = sparse.csr_array(member_UR @ self.terms_RK[rows])
        return jackknife(terms_UK, sizes_U, self.scorer)
