"""Statistics: how far a score could be chance; intervals and paired tests.

Accuracy has closed forms: Wilson's interval, the exact McNemar test and the
Bonett-Price interval of a paired difference. Every other score is bootstrapped
over rows: bias-corrected and accelerated (BCa) for its interval, or by inverting
a test for the calibration error, which noise alone pushes up; percentile for
paired differences, on the same resamples for both systems.

R rows, K terms, S resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from tenon.evaluate.prediction import Answers
from tenon.evaluate.resampling import CHUNK_DRAWS, bootstrap, draw, used_resamples
from tenon.evaluate.scorers import A, Doubles, Scorer, by_rows, scored
from tenon.evaluate.shares import bonett_price, mcnemar, normal_quantile, wilson

FEWEST_ROWS = 10
"""Below these, resampled rows say nothing: one row alone would give p < 0.001."""
JACKKNIFE_ROWS = 20_000
SHRINKS = tuple(step / 40 for step in range(81))


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
        p: two-sided probability of a difference at least as large if there were none.
        n: rows that both have answered.
        method: the test and the interval, in words.
    """

    difference: float
    low: float
    high: float
    p: float
    n: int
    method: str


def intervals(
    predictions: Answers, scorers: Sequence[Scorer], *, level: float, resamples: int, seed: int
) -> dict[str, Interval]:
    """Give the interval of each scorer, over the rows whose gold is known.

    Args:
        predictions: of one part.
        scorers: one resampling serves them all.
        level: confidence, in (0.5, 1).
        resamples: bootstrap resamples; fewer, never under 200, beyond 200,000 rows.
        seed: of the resampling; equal seeds give equal bounds.

    Raises:
        ValueError: no row has a known gold.
    """
    found: dict[str, Interval] = {}
    for group in by_rows(scorers):
        known = scored(group[0], predictions)
        if known is not None:
            found |= _intervals(known, group, level, resamples, seed)
    return {scorer.name: found[scorer.name] for scorer in scorers if scorer.name in found}


def _intervals(
    known: Answers, scorers: Sequence[Scorer], level: float, resamples: int, seed: int
) -> dict[str, Interval]:
    accelerated = [scorer for scorer in scorers if scorer.interval == "bca"]
    samples = bootstrap([known], accelerated, resamples=resamples, seed=seed)
    found: dict[str, Interval] = {}
    for scorer in scorers:
        value = scorer.score(known)
        if scorer.interval == "wilson":
            low, high = wilson(round(value * len(known)), len(known), level)
        elif scorer.interval == "bca":
            low, high = _bca(known, scorer, value, samples[scorer.name][0], level)
        else:
            low, high = _inverted(known, scorer, level, resamples=resamples, seed=seed)
        found[scorer.name] = Interval(value, min(low, value), max(high, value), len(known))
    return found


def paired(
    first: Answers,
    second: Answers,
    scorers: Sequence[Scorer],
    *,
    level: float,
    resamples: int,
    seed: int,
) -> dict[str, Paired]:
    """Compare two systems on the rows that both have answered.

    Args:
        first: one system's answers to a part.
        second: the other's; rows are paired by origin.
        scorers: accuracy gets the exact McNemar test, all others the paired bootstrap.
        level: confidence of the differences' intervals.
        resamples: bootstrap resamples; fewer, never under 200, beyond 200,000 rows.
        seed: of the resampling.

    Raises:
        ValueError: no labelled row is in both, or a row's gold differs.
    """
    compared: dict[str, Paired] = {}
    for group in by_rows(scorers):
        ours, theirs = scored(group[0], first), scored(group[0], second)
        if ours is not None and theirs is not None:
            pair = align(ours, theirs)
            compared |= _paired(*pair, group, level=level, resamples=resamples, seed=seed)
    return {scorer.name: compared[scorer.name] for scorer in scorers if scorer.name in compared}


def _paired(
    first: Answers,
    second: Answers,
    scorers: Sequence[Scorer],
    *,
    level: float,
    resamples: int,
    seed: int,
) -> dict[str, Paired]:
    drawn = [scorer for scorer in scorers if scorer.interval != "wilson"]
    samples = bootstrap([first, second], drawn, resamples=resamples, seed=seed)
    compared: dict[str, Paired] = {}
    for scorer in scorers:
        if scorer.interval == "wilson":
            compared[scorer.name] = _compare_shares(scorer, first, second, level)
        else:
            first_S, second_S = samples[scorer.name]
            sample_S = first_S - second_S
            difference = scorer.score(first) - scorer.score(second)
            compared[scorer.name] = _compare_samples(difference, sample_S, len(first), level)
    return compared


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


def _bca(
    known: Answers, scorer: Scorer, value: float, sample_S: Doubles, level: float
) -> tuple[float, float]:
    """Give the bias-corrected and accelerated interval.

    Source: Efron 1987, "Better Bootstrap Confidence Intervals"; as in `scipy.stats.bootstrap`.
    """
    below = float((sample_S < value).mean() + (sample_S <= value).mean()) / 2
    if not 0 < below < 1:
        return _quantiles(sample_S, (1 - level) / 2, (1 + level) / 2)
    bias = float(stats.norm.ppf(below))
    acceleration = _acceleration(known, scorer)
    shares: list[float] = []
    for z in (-normal_quantile(level), normal_quantile(level)):
        moved = bias + z
        shares.append(float(stats.norm.cdf(bias + moved / (1 - acceleration * moved))))
    return _quantiles(sample_S, shares[0], shares[1])


def _acceleration(known: Answers, scorer: Scorer) -> float:
    """Give a sixth of the jackknife's skewness; beyond 20,000 rows it is taken as 0."""
    rows = len(known)
    if not 1 < rows <= JACKKNIFE_ROWS:
        return 0.0
    terms_RK: Any = scorer.terms(known)
    sums_K = np.asarray(terms_RK.sum(axis=0), np.float64).reshape(-1)
    size = max(1, CHUNK_DRAWS // len(sums_K))
    left_R = np.concatenate(
        [
            scorer.combine(sums_K - terms_RK[start : start + size].toarray(), rows - 1)
            for start in range(0, rows, size)
        ]
    )
    pull_R = left_R.mean() - left_R
    spread = float((pull_R**2).sum())
    return float((pull_R**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0


def _inverted(
    known: Answers, scorer: Scorer, level: float, *, resamples: int, seed: int
) -> tuple[float, float]:
    """Give every score that the observed one does not contradict.

    A sum of absolute gaps is pushed up by noise even where every gap is 0, so its
    bootstrap is biased. Here the true gaps are taken to be the observed ones times
    t; for each t the score is simulated with the resamples' noise around them, and
    t is kept where the observed score is not in a tail.

    Source: test inversion, Efron and Tibshirani 1993, chapter 12; the null at t = 0 is Bröcker
    and Smith 2007, "Increasing the Reliability of Reliability Diagrams".
    """
    rows = len(known)
    terms_RK: Any = scorer.terms(known)
    sums_1K = np.asarray(terms_RK.sum(axis=0), np.float64).reshape(1, -1)
    blocks = draw(rows, used_resamples(resamples, rows), seed)
    noise_SK = np.concatenate([np.asarray(count_SR @ terms_RK) for count_SR in blocks]) - sums_1K
    value = float(scorer.combine(sums_1K, rows)[0])
    kept: list[float] = []
    for shrink in SHRINKS:
        sample_S = scorer.combine(shrink * sums_1K + noise_SK, rows)
        low, high = _quantiles(sample_S, (1 - level) / 2, (1 + level) / 2)
        if low <= value <= high:
            kept.append(float(scorer.combine(shrink * sums_1K, rows)[0]))
    return (min(kept), max(kept)) if kept else (value, value)


def _quantiles(sample_S: Doubles, low: float, high: float) -> tuple[float, float]:
    bounds: npt.NDArray[np.float64] = np.quantile(sample_S, [low, high])
    return float(bounds[0]), float(bounds[1])


def _compare_shares(scorer: Scorer, first: Answers, second: Answers, level: float) -> Paired:
    first_R, second_R = (
        np.asarray(scorer.terms(answers).toarray())[:, 0] > 0.5 for answers in (first, second)
    )
    won, lost = int((first_R & ~second_R).sum()), int((second_R & ~first_R).sum())
    rows = len(first)
    low, high = bonett_price(won, lost, rows, level)
    difference = (won - lost) / rows
    method = "exact McNemar test; Bonett-Price interval"
    return Paired(
        difference, min(low, difference), max(high, difference), mcnemar(won, lost), rows, method
    )


def _compare_samples(difference: float, sample_S: Doubles, rows: int, level: float) -> Paired:
    low, high = _quantiles(sample_S, (1 - level) / 2, (1 + level) / 2)
    drawn = len(sample_S)
    side = min(int((sample_S <= 0).sum()), int((sample_S >= 0).sum()))
    p = min(1.0, 2 * (side + 1) / (drawn + 1))
    method = f"paired bootstrap, percentile, {drawn:,} resamples"
    return Paired(difference, min(low, difference), max(high, difference), p, rows, method)
