"""Pace: seconds of passes over rows, from some that were taken, and what follows for a run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from tenon.plan.work import Work
from tenon.text.order import Rows

LEAST_SPREAD = 0.1
"""A pace is never told to be surer than this share, whatever a few seconds of it say."""
MOST = 12
"""Passes that are timed at most."""
COLD = 12
"""Passes of a run, each of a size that it has not had, in which a GPU finds memory and kernels."""
PATIENCE = {"cuda": 2.0, "cpu": 1.0}
"""How much longer than what is spent in all a pass may threaten to take. A GPU threatens more than
it does, as it waits for small passes to be started."""
LEVER = 2
"""How many times larger than the smallest pass the largest must be for both parts to be known."""
GROWTH = 4
"""By how much a pass grows from one that was tried to the next."""


@dataclass(frozen=True)
class Span:
    """A length of time that is not known exactly.

    Args:
        seconds: the likeliest.
        low, high: nine of ten should lie between them.
    """

    seconds: float
    low: float
    high: float

    def __add__(self, other: Span) -> Span:
        return Span(self.seconds + other.seconds, self.low + other.low, self.high + other.high)

    def times(self, factor: float) -> Span:
        """Give so many times the length."""
        return Span(self.seconds * factor, self.low * factor, self.high * factor)


NOTHING = Span(0.0, 0.0, 0.0)


def about(seconds: float, spread: float) -> Span:
    """Give a length with a spread, a share of it; what delays is likelier than what hastens."""
    return Span(seconds, seconds / (1 + spread), seconds * (1 + 1.5 * spread))


@dataclass(frozen=True)
class Pace:
    """Seconds of a pass: `fixed + slope * operations`.

    Args:
        fixed: seconds of any pass, however small.
        slope: seconds of an operation.
        spread: by which share what was timed differs from this.
        cold: seconds that each of the first passes takes longer.
        colds: how many those are.
    """

    fixed: float
    slope: float
    spread: float
    cold: float = 0.0
    colds: int = COLD

    def of(self, operations: np.ndarray, times: int = 1) -> Span:
        """Give the seconds of passes with so many operations each, all of them so many times."""
        once = self.fixed * len(operations) + self.slope * float(operations.sum())
        first = self.cold * min(times * len(operations), self.colds)
        return about(times * once + first, self.spread)


def timed(
    parts: Sequence[Rows],
    lengths_R: Rows,
    work: Work,
    take: Callable[[Rows], None],
    device: torch.device,
    seconds: float,
) -> Pace:
    """Time passes over micro-batches until the seconds are spent; fewer rows where one is large.

    Args:
        parts: micro-batches as the run has them, in the order in which they are tried.
        lengths_R: tokens of each row.
        work: what a pass computes.
        take: takes the pass over some rows.
        device: where.
        seconds: that may be spent.
    """
    patience = PATIENCE.get(device.type, PATIENCE["cpu"])
    tried = _tried(parts[0], lengths_R, work, take, device, patience * seconds)
    # Where the first was taken whole, the others are of its size in tokens, though they may have
    # more rows, and a kind may take longer for each of them.
    whole = max(tried) == len(parts[0])
    cut = [part if whole else part[: max(tried)] for part in parts]
    first, again = _passes(cut, take, device, seconds)
    found = [(work.of(lengths_R[cut[which]]), took) for which, took in again]
    if device.type == "cuda":
        cold = [max(0.0, first[which] - took) for which, took in again]
        return replace(_fitted(found), cold=float(np.mean(cold)))
    # A GPU's small passes take as long as their kernels are being started, and tell no more.
    found += [(work.of(lengths_R[cut[0][:rows]]), took) for rows, (_, took) in tried.items()]
    return _fitted(found)


def _passes(
    cut: Sequence[Rows], take: Callable[[Rows], None], device: torch.device, seconds: float
) -> tuple[dict[int, float], list[tuple[int, float]]]:
    """Time passes, those of a micro-batch right behind each other, until the seconds are spent.

    Returns:
        Of each micro-batch that was taken its first pass, in which memory is new and kernels are
        chosen; and the others, each with its micro-batch.
    """
    first, again, left = dict[int, float](), list[tuple[int, float]](), seconds
    for place in range(2 * max(MOST // 2, len(cut))):
        which = place // 2 % len(cut)
        took = _took(take, cut[which], device)
        warm = which in first
        if warm:
            again.append((which, took))
        else:
            first[which] = took
        # A GPU's first passes may take seconds, and the others hardly any.
        left -= took if warm or device.type != "cuda" else 0
        if again and left <= 0:
            break
    return first, again


def _tried(
    part: Rows,
    lengths_R: Rows,
    work: Work,
    take: Callable[[Rows], None],
    device: torch.device,
    seconds: float,
) -> dict[int, tuple[float, float]]:
    """Time the first rows of a micro-batch, ever more of them while a pass takes some seconds.

    A pass over more rows is never slower than in proportion, and where a GPU waits for its
    kernels to be started it is hardly slower at all: so the number grows as far as it was tried.

    Returns:
        Rows to the seconds of the first pass over them and of another one; the largest number is
        the most that may be taken.
    """
    found, rows = dict[int, tuple[float, float]](), 1
    while True:
        found[rows] = _took(take, part[:rows], device), _took(take, part[:rows], device)
        more = min(len(part), GROWTH * rows)
        grown = work.of(lengths_R[part[:more]]) / work.of(lengths_R[part[:rows]])
        # One size alone does not tell what any pass takes, however small it is.
        bearable = seconds if len(found) > 1 else GROWTH * seconds
        if more == rows or found[rows][1] * grown > bearable:
            return found
        rows = more


def _took(take: Callable[[Rows], None], part: Rows, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begun = time.perf_counter()
    take(part)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def _fitted(found: Sequence[tuple[float, float]]) -> Pace:
    """Fit the pace to passes, each weighed by its own length, and neither part below 0."""
    operations, took = np.array(found).T
    mean = float(np.exp(np.mean(np.log(took / operations))))
    fixed, slope = 0.0, mean
    if len(found) > 2 and operations.max() > LEVER * operations.min():  # noqa: PLR2004
        # In units of the largest pass: operations are so many that a solver would see them alone.
        largest = operations.max()
        design = np.stack([1 / took, operations / largest / took], 1)
        fixed, slope = np.linalg.lstsq(design, np.ones(len(took)), rcond=None)[0].tolist()
        slope /= largest
    if fixed < 0 or slope < 0:
        fixed, slope = (0.0, mean) if slope >= 0 else (float(np.median(took)), 0.0)
    off = np.log((fixed + slope * operations) / took)
    spread = float(np.sqrt(np.mean(off**2))) / math.sqrt(max(1, len(took) - 1)) * 2
    return Pace(fixed, slope, max(LEAST_SPREAD, spread))
