"""Seeded: what several seeds of one run score, and how much of it is the seed's doing.

The score of one run differs from what the recipe gives on all rows of its kind for two
reasons: other seeds would have trained other weights, and other rows would have been asked.
With all seeds answering the same rows, both can be told apart:

    score of seed m = what the recipe gives + seed m's luck + the rows' luck + their interplay

The scores' variance over seeds holds luck and interplay; the bootstrap over rows gives the
variance of the mean over the same seeds, and that of what each seed differs from the mean,
which is the interplay. What remains is the seed's.

Legend: M seeds, S resamples.

Source: Searle, Casella and McCulloch 1992, "Variance Components" (two crossed random effects);
intervals by Weerahandi 1993, "Generalized Confidence Intervals".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, stats

from tenon.evaluate.clusters import Grouping
from tenon.evaluate.prediction import Answers
from tenon.evaluate.resampling import Design, bootstrap, design_of
from tenon.evaluate.scorers import Doubles, Scorer, by_rows, scored
from tenon.evaluate.shares import normal_quantile, wilson_share
from tenon.evaluate.statistics import align_all

Rival = Answers | Sequence[Answers]
NAMELESS = "rival"
LATTICE, LATTICE_STRIDE = 1597, 987
"""Two neighbours of Fibonacci's sequence."""


def across_seeds(
    answers_by_seed: Sequence[Answers],
    rival: Rival | Mapping[str, Rival] | None,
    scorers: Sequence[Scorer],
    *,
    level: float,
    resamples: int,
    seed: int,
    seeds: Sequence[int] = (),
    grouping: Grouping | None = None,
) -> dict[str, Any]:
    """Give what `Report.seeds` holds: the seeds' scores, their mean, and what it owes to luck.

    Args:
        answers_by_seed: the answers of two or more runs that differ in nothing but their seed.
        rival: a baseline's answers, or those of each of its seeds; several by their names.
        scorers: of the report.
        level: confidence of the intervals, which cover other seeds and other rows.
        resamples: bootstrap resamples of the rows.
        seed: of the resampling.
        seeds: the runs' own seeds, in their order; numbered from 0 where left out.
        grouping: which rows belong together.

    Returns:
        `seeds`; `scores`: scorer to values, mean, low, high, sd_seed, sd_sample (standard
        deviations of one run's score over seeds and over rows) and share_seed (of the variance);
        `paired`: baseline to scorer to difference, low, high and p.

    Raises:
        ValueError: fewer than two runs, no row is in all of them, or gold differs.
    """
    if len(answers_by_seed) < 2:
        raise ValueError(f"{len(answers_by_seed)} seed says nothing of others; give two at least")
    if seeds and len(seeds) != len(answers_by_seed):
        raise ValueError(f"{len(seeds)} seeds are named for {len(answers_by_seed)} runs")
    if rival is None:
        rivals: Mapping[str, Rival] = {}
    else:
        rivals = rival if isinstance(rival, Mapping) else {NAMELESS: rival}
    drawn: dict[str, Any] = {"resamples": resamples, "seed": seed, "grouping": grouping}
    scores: dict[str, Any] = {}
    paired: dict[str, dict[str, Any]] = {name: {} for name in rivals}
    for group in by_rows(scorers):
        for scorer, runs in _runs(group, answers_by_seed, **drawn):
            scores[scorer.name] = _score(scorer, runs, level)
        for name, other in rivals.items():
            others = list(other) if isinstance(other, Sequence) else [other]
            for scorer, runs in _runs(group, [*answers_by_seed, *others], **drawn):
                paired[name][scorer.name] = _difference(runs, len(answers_by_seed), level)
    return {
        "seeds": list(seeds) or list(range(len(answers_by_seed))),
        "scores": _ordered(scores, scorers),
        "paired": {name: _ordered(found, scorers) for name, found in paired.items()},
    }


@dataclass(frozen=True)
class _Runs:
    """What runs score on the same rows, and on resamples of them.

    Args:
        value_M: the scores.
        sample_MS: the same on resampled rows.
        design: how the rows came about that all have answered.
    """

    value_M: Doubles
    sample_MS: Doubles
    design: Design


def _runs(
    scorers: Sequence[Scorer],
    systems: Sequence[Any],
    *,
    resamples: int,
    seed: int,
    grouping: Grouping | None,
) -> Iterator[tuple[Scorer, _Runs]]:
    """Yield each scorer's runs, on the rows that all have answered; none where one has none."""
    known = [scored(scorers[0], answers) for answers in systems]
    found = [answers for answers in known if answers is not None]
    if len(found) < len(known):
        return
    same = align_all(found)
    clusters = grouping.clusters(same[0].origins) if grouping else None
    design = design_of(same[0], clusters)
    samples = bootstrap(same, scorers, resamples=resamples, seed=seed, design=design)
    for scorer in scorers:
        value_M = np.array([scorer.score(answers) for answers in same])
        yield scorer, _Runs(value_M, samples[scorer.name], design)


def _ordered(found: Mapping[str, Any], scorers: Sequence[Scorer]) -> dict[str, Any]:
    return {scorer.name: found[scorer.name] for scorer in scorers if scorer.name in found}


@dataclass(frozen=True)
class _Parts:
    """What the scores of one recipe's runs vary by.

    Args:
        seeds: M.
        between: variance of the scores as they are, interplay included.
        sample: variance of one run over rows, interplay included.
        interplay: variance of what seeds and rows do together.
    """

    seeds: int
    between: float
    sample: float
    interplay: float

    @property
    def seed(self) -> float:
        """Variance of one run over seeds; never less than nothing, whatever chance makes of it."""
        return max(0.0, self.between - self.interplay)


def _parts(value_M: Doubles, sample_MS: Doubles, bias: float) -> _Parts:
    sample = bias * float(sample_MS.var(axis=1).mean())
    seeds = len(value_M)
    if seeds == 1:
        return _Parts(1, 0.0, sample, 0.0)
    away_MS = sample_MS - sample_MS.mean(axis=0)
    interplay = bias * float(away_MS.var(axis=1).sum()) / (seeds - 1)
    return _Parts(seeds, float(value_M.var(ddof=1)), sample, interplay)


@dataclass(frozen=True)
class _Spread:
    """A mean over seeds, and the variances that it may have.

    Args:
        mean: of the scores, or the difference of two means.
        likely: the variance of the mean, as it is estimated.
        variance_Q: as it may be: where few seeds differ little, that may be luck too.
    """

    mean: float
    likely: float
    variance_Q: Doubles

    def chance(self, distance: float) -> float:
        """Give how often the mean lies farther from what the recipe gives."""
        safe_Q = np.maximum(self.variance_Q, np.finfo(float).tiny)
        return float(2 * stats.norm.sf(abs(distance) / np.sqrt(safe_Q)).mean())

    def half(self, level: float) -> float:
        """Give how far the interval reaches to either side."""
        most = float(np.sqrt(self.variance_Q.max()))
        if most == 0:
            return 0.0
        widest = most * normal_quantile(level)
        root: Any = optimize.brentq(lambda x: self.chance(x) - (1 - level), 0.0, widest)
        return float(root)


def _spread(groups: Sequence[tuple[Doubles, Doubles]], design: Design) -> tuple[_Spread, _Parts]:
    """Give the mean of the first group's scores, less that of the second where there is one.

    The variance of the mean is that over rows, as the bootstrap of the mean has it, and what
    the seeds add. How much that is M seeds tell with M - 1 degrees of freedom: it is spread
    over the variances that would be as likely to give theirs.
    """
    bias = design.shrink
    signs = np.array([1.0, -1.0])[: len(groups)]
    mean = float(signs @ [value_M.mean() for value_M, _ in groups])
    rows = bias * float(np.var(signs @ [sample_MS.mean(axis=0) for _, sample_MS in groups]))
    parts = [_parts(value_M, sample_MS, bias) for value_M, sample_MS in groups]
    likely, variance_Q = rows, np.full(LATTICE, rows)
    for part, place_Q in zip(parts, _lattice(), strict=False):
        likely += part.seed / part.seeds
        if part.seeds > 1:
            freedom = part.seeds - 1
            between_Q = part.between * freedom / stats.chi2.ppf(place_Q, freedom)
            variance_Q = variance_Q + np.maximum(0.0, between_Q - part.interplay) / part.seeds
    return _Spread(mean, likely, variance_Q), parts[0]


def _lattice() -> tuple[Doubles, Doubles]:
    """Give points that fill a square evenly, by their two coordinates in (0, 1).

    Source: the Fibonacci lattice; Sloan and Joe 1994, "Lattice Methods for Multiple Integration".
    """
    step_Q = np.arange(LATTICE)
    return (step_Q + 0.5) / LATTICE, ((step_Q * LATTICE_STRIDE) % LATTICE + 0.5) / LATTICE


def _score(scorer: Scorer, runs: _Runs, level: float) -> dict[str, Any]:
    spread, parts = _spread([(runs.value_M, runs.sample_MS)], runs.design)
    low, high = _bounds(scorer, spread, runs, level)
    both = parts.seed + parts.sample
    return {
        "values": runs.value_M.tolist(),
        "mean": spread.mean,
        "low": low,
        "high": high,
        "sd_seed": float(np.sqrt(parts.seed)),
        "sd_sample": float(np.sqrt(parts.sample)),
        "share_seed": parts.seed / both if both > 0 else 0.0,
    }


def _bounds(scorer: Scorer, spread: _Spread, runs: _Runs, level: float) -> tuple[float, float]:
    """Give the interval; of a share Wilson's, of as many rows as would be as uncertain."""
    half, error = spread.half(level), float(np.sqrt(spread.likely))
    if scorer.interval != "wilson":
        return spread.mean - half, spread.mean + half
    share = spread.mean
    if error == 0:
        return wilson_share(share, runs.design.units, normal_quantile(level))
    return wilson_share(share, share * (1 - share) / error**2, half / error)


def _difference(runs: _Runs, ours: int, level: float) -> dict[str, Any]:
    groups = [
        (runs.value_M[:ours], runs.sample_MS[:ours]),
        (runs.value_M[ours:], runs.sample_MS[ours:]),
    ]
    spread, _ = _spread(groups, runs.design)
    half = spread.half(level)
    return {
        "difference": spread.mean,
        "low": spread.mean - half,
        "high": spread.mean + half,
        "p": min(1.0, spread.chance(spread.mean)) if spread.mean else 1.0,
    }
