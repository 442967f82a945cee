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
PATIENCE = {"cuda": 2.0, "cpu": 0.25}
"""How much longer than what is spent in all a pass may threaten to take. A GPU threatens more than
it does, as it waits for small passes to be started."""
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
    """

    fixed: float
    slope: float
    spread: float
    cold: float = 0.0

    def of(self, operations: np.ndarray) -> Span:
        """Give the seconds of passes with so many operations each."""
        total = self.fixed * len(operations) + self.slope * float(operations.sum())
        total += self.cold * min(len(operations), COLD)
        return about(total, self.spread)


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
    most = _most(parts[0], lengths_R, work, take, device, patience * seconds)
    cut = [part[:most] for part in parts]
    # The first pass of a size is slower than any other on a GPU: memory is new, kernels are chosen.
    first = [_took(take, part, device) for part in cut] if device.type == "cuda" else []
    best, left = dict[int, float](), seconds
    for place in range(MOST):
        which = place % len(cut)
        took = _took(take, cut[which], device)
        # What else the machine does can only make a pass longer.
        best[which] = min(took, best.get(which, took))
        left -= took
        if place and left <= 0:
            break
    pace = _fitted([(work.of(lengths_R[cut[which]]), took) for which, took in best.items()])
    cold = [max(0.0, first[which] - took) for which, took in best.items()] if first else [0.0]
    return replace(pace, cold=float(np.mean(cold)))


def _most(
    part: Rows,
    lengths_R: Rows,
    work: Work,
    take: Callable[[Rows], None],
    device: torch.device,
    seconds: float,
) -> int:
    """Give how many rows of a micro-batch take no more than some seconds.

    A pass over more rows is never slower than in proportion, and where a GPU waits for its
    kernels to be started it is hardly slower at all: so the number grows as far as it was tried.
    """
    rows = 1
    take(part[:rows])
    while rows < len(part):
        took = _took(take, part[:rows], device)
        more = min(len(part), GROWTH * rows)
        if took * work.of(lengths_R[part[:more]]) / work.of(lengths_R[part[:rows]]) > seconds:
            break
        rows = more
        take(part[:rows])
    return rows


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
    if len(found) > 2 and operations.max() > 1.2 * operations.min():  # noqa: PLR2004
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
