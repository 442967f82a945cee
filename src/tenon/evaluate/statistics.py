"""Statistics: how far a score could be chance; intervals and paired tests.

Accuracy and other shares of rows have closed forms: Wilson's or the exact interval, the exact
McNemar test and the Bonett-Price interval of a paired difference. Every other score is a function
of sums: bounded ones have a bootstrap interval, bias-corrected and accelerated (BCa), losses
Student's on the scale of their logarithm, and the calibration error, which noise alone pushes up,
one by inverting a test. Differences are tested by randomisation and have Student's interval.
Where rows belong together, clusters of them are drawn, left out and exchanged, for shares too.
What each is good for, and how often it holds the truth: docs/statistics.md.

R rows, U units (rows or clusters), K terms, S resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tenon.evaluate import bounds, power
from tenon.evaluate.clusters import Grouping
from tenon.evaluate.power import Power
from tenon.evaluate.prediction import A, Answers
from tenon.evaluate.randomisation import exchange
from tenon.evaluate.resampling import JACKKNIFE_UNITS, Design, bootstrap, design_of, jackknife
from tenon.evaluate.scorers import Doubles, Scorer, by_rows, scored
from tenon.evaluate.shares import (
    bonett_price,
    mcnemar,
    share_interval,
    student_quantile,
    wilson_share,
)

POINT = 0.01


@dataclass(frozen=True)
class Interval:
    """A score, and the interval in which it would lie on other rows of the same kind.

    Args:
        value: the score.
        low, high: bounds of the interval.
        n: rows that were scored.
    """

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Paired:
    """The difference of two systems on the same rows.

    Args:
        difference: first minus second, in the scorer's own unit.
        low, high: bounds of its interval.
        p: two-sided probability of a difference at least as large if there were none, corrected
            where one of several comparisons.
        n: rows that both have answered.
        method: the test and the interval, in words.
        raw_p: the same as if it were the only comparison.
        smallest: the difference that so many rows find in four of five comparisons; 0 if unknown.
        goal: a difference whose rows are counted: one point, or of scores without points the
            difference that was seen; 0 for none.
        needed: rows that find the goal in four of five comparisons; 0 for no goal.
    """

    difference: float
    low: float
    high: float
    p: float
    n: int
    method: str
    raw_p: float = 1.0
    smallest: float = 0.0
    goal: float = 0.0
    needed: int = 0


def intervals(
    predictions: Answers,
    scorers: Sequence[Scorer],
    *,
    level: float,
    resamples: int,
    seed: int,
    grouping: Grouping | None = None,
) -> dict[str, Interval]:
    """Give the interval of each scorer, over the rows whose gold is known.

    Args:
        predictions: of one part.
        scorers: one resampling serves them all.
        level: confidence, in (0.5, 1).
        resamples: bootstrap resamples; fewer, never under 200, beyond 200,000 rows.
        seed: of the resampling; equal seeds give equal bounds.
        grouping: which rows belong together.

    Raises:
        ValueError: no row has a known gold.
    """
    found: dict[str, Interval] = {}
    for group in by_rows(scorers):
        known = scored(group[0], predictions)
        if known is not None:
            clusters = grouping.clusters(known.origins) if grouping else None
            design = design_of(known, clusters)
            found |= _intervals(known, group, design, level, resamples, seed)
    return {scorer.name: found[scorer.name] for scorer in scorers if scorer.name in found}


def _intervals(
    known: Answers,
    scorers: Sequence[Scorer],
    design: Design,
    level: float,
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    drawn = [scorer for scorer in scorers if _resampled(scorer, design)]
    samples = bootstrap([known], drawn, resamples=resamples, seed=seed, design=design)
    found: dict[str, Interval] = {}
    for scorer in scorers:
        value = scorer.score(known)
        if scorer.interval == "wilson":
            low, high = _share(known, scorer, value, design, level)
        elif scorer.interval == "bca":
            left_U = _left(scorer, design, known)
            low, high = bounds.accelerated(value, samples[scorer.name][0], left_U, design, level)
        elif scorer.interval == "log":
            error = _error(_left(scorer, design, known), samples.get(scorer.name), design)
            low, high = bounds.on_log_scale(value, error, design, level)
        else:
            terms_UK = design.terms(scorer.terms(known))
            low, high = bounds.inverted(
                terms_UK, scorer, design, level, resamples=resamples, seed=seed
            )
        found[scorer.name] = Interval(value, min(low, value), max(high, value), len(known))
    return found


def _resampled(scorer: Scorer, design: Design) -> bool:
    """Say whether an interval needs resamples: beyond the jackknife's reach, all do."""
    many = design.units > JACKKNIFE_UNITS
    return scorer.interval == "bca" or (scorer.interval == "log" and many)


def _error(left_U: Doubles | None, sample_MS: Doubles | None, design: Design) -> float:
    """Give the standard error of a score or a difference, by jackknife, else by bootstrap."""
    if left_U is not None:
        return bounds.standard_error(left_U, design.strata)
    if sample_MS is None:
        return 0.0  # of a single row
    sample_S = sample_MS[0] - sample_MS[1] if len(sample_MS) > 1 else sample_MS[0]
    return float(sample_S.std()) * float(np.sqrt(design.shrink))


def _left(scorer: Scorer, design: Design, *systems: Answers) -> Doubles | None:
    """Give a score, or the difference of two, without each unit; None where they are very many."""
    if not 1 < design.units <= JACKKNIFE_UNITS:
        return None
    left = [
        jackknife(design.terms(scorer.terms(answers)), design.sizes_U(), scorer)
        for answers in systems
    ]
    return left[0] - left[1] if len(left) > 1 else left[0]


def _share(
    known: Answers, scorer: Scorer, share: float, design: Design, level: float
) -> tuple[float, float]:
    """Give the interval of a share of rows.

    Of clusters, Wilson's of as many rows as would be as uncertain, and Student's quantile.

    Source: Korn and Graubard 1998, "Confidence Intervals for Proportions with Small Expected
    Number of Positive Counts Estimated from Survey Data".
    """
    if design.clusters is None:
        return share_interval(round(share * len(known)), len(known), level)
    terms_UK = design.terms(scorer.terms(known))
    error = bounds.standard_error(jackknife(terms_UK, design.sizes_U(), scorer))
    trials = share * (1 - share) / error**2 if error > 0 else design.units
    quantile = student_quantile(level, design.freedom)
    return wilson_share(share, min(trials, len(known)), quantile)


def paired(
    first: Answers,
    second: Answers,
    scorers: Sequence[Scorer],
    *,
    level: float,
    resamples: int,
    seed: int,
    grouping: Grouping | None = None,
) -> dict[str, Paired]:
    """Compare two systems on the rows that both have answered.

    Args:
        first: one system's answers to a part.
        second: the other's; rows are paired by origin.
        scorers: shares get the exact McNemar test, all others, and shares of rows that belong
            together, randomisation.
        level: confidence of the differences' intervals.
        resamples: of the rows, and exchanges; fewer, never under 200, beyond 200,000 rows.
        seed: of the resampling.
        grouping: which rows belong together.

    Raises:
        ValueError: no labelled row is in both, or a row's gold differs.
    """
    compared: dict[str, Paired] = {}
    for group in by_rows(scorers):
        ours, theirs = scored(group[0], first), scored(group[0], second)
        if ours is not None and theirs is not None:
            ours, theirs = align(ours, theirs)
            clusters = grouping.clusters(ours.origins) if grouping else None
            comparison = _Comparison(
                ours, theirs, design_of(ours, clusters), level, resamples, seed
            )
            compared |= comparison.of(group)
    return {scorer.name: compared[scorer.name] for scorer in scorers if scorer.name in compared}


@dataclass(frozen=True)
class _Comparison:
    """Two systems' answers to the same rows."""

    first: Answers
    second: Answers
    design: Design
    level: float
    resamples: int
    seed: int

    def of(self, scorers: Sequence[Scorer]) -> dict[str, Paired]:
        many = self.design.units > JACKKNIFE_UNITS
        drawn = [scorer for scorer in scorers if many and not self._closed(scorer)]
        samples = bootstrap(
            [self.first, self.second],
            drawn,
            resamples=self.resamples,
            seed=self.seed,
            design=self.design,
        )
        return {
            scorer.name: self._shares(scorer)
            if self._closed(scorer)
            else self._exchanged(scorer, samples.get(scorer.name))
            for scorer in scorers
        }

    def _closed(self, scorer: Scorer) -> bool:
        return scorer.interval == "wilson" and self.design.clusters is None

    def _shares(self, scorer: Scorer) -> Paired:
        first_R, second_R = (
            np.asarray(scorer.terms(answers).toarray())[:, 0] > 0.5
            for answers in (self.first, self.second)
        )
        won, lost = int((first_R & ~second_R).sum()), int((second_R & ~first_R).sum())
        rows, method = self.design.rows, "exact McNemar test; Bonett-Price interval"
        both = bonett_price(won, lost, rows, self.level)
        able = power.of_shares(won, lost, rows, POINT, self.level)
        return self._paired((won - lost) / rows, both, mcnemar(won, lost), method, able)

    def _exchanged(self, scorer: Scorer, sample_MS: Doubles | None) -> Paired:
        design = self.design
        difference = scorer.score(self.first) - scorer.score(self.second)
        left_U = _left(scorer, design, self.first, self.second)
        error = _error(left_U, sample_MS, design)
        both = bounds.student(difference, error, design, self.level)
        first_UK, second_UK = (
            design.terms(scorer.terms(answers)) for answers in (self.first, self.second)
        )
        found = exchange(
            first_UK, second_UK, scorer, design.rows, exchanges=self.resamples, seed=self.seed
        )
        goal = POINT if scorer.unit in ("percent", "points") else abs(difference)
        able = power.of_error(error, design.rows, goal, self.level)
        kind = "exact" if found.exact else "approximate"
        of = "" if design.clusters is None else " of clusters"
        how = "bootstrap" if left_U is None else "jackknife"
        method = (
            f"{kind} randomisation{of}, {found.exchanges:,} exchanges; "
            f"Student's interval, {how} standard error"
        )
        return self._paired(difference, both, found.p, method, able)

    def _paired(
        self, difference: float, both: tuple[float, float], p: float, method: str, able: Power
    ) -> Paired:
        low, high = min(both[0], difference), max(both[1], difference)
        reach = {"smallest": able.smallest, "goal": able.goal, "needed": able.needed}
        return Paired(difference, low, high, p, self.design.rows, method, p, **_known(reach))


def _known(reach: dict[str, Any]) -> dict[str, Any]:
    """Give what a comparison could have shown; nothing where nothing varied."""
    return reach if reach["smallest"] > 0 else {}


def align(first: A, second: A) -> tuple[A, A]:
    """Give both systems' rows that both have, in the first one's order.

    Raises:
        ValueError: they share no row, or a row's gold differs.
    """
    first, second = align_all([first, second])
    return first, second


def align_all(systems: Sequence[A]) -> list[A]:
    """Give the rows that all systems have, in the first one's order.

    Raises:
        ValueError: they share no row, or a row's gold differs.
    """
    first = systems[0]
    if any(list(other.origins) != list(first.origins) for other in systems[1:]):
        places = [{origin: row for row, origin in enumerate(each.origins)} for each in systems]
        shared = [origin for origin in first.origins if all(origin in place for place in places)]
        if not shared:
            raise ValueError("the two systems share no row; nothing can be compared")
        systems = [
            each.take(np.array([place[origin] for origin in shared]))
            for each, place in zip(systems, places, strict=True)
        ]
    if not all(systems[0].same_gold(other) for other in systems[1:]):
        raise ValueError("the two systems were scored against different labels")
    return list(systems)
