"""Worlds: rows of which the truth is known, to see how often an interval holds it.

A world draws sets of rows. Its `outcome` of a set is, for each method, whether the interval held
the truth, or whether a test found a difference that is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse
from scipy.special import log_softmax

from answers import predictions
from tenon.evaluate.clusters import Grouping
from tenon.evaluate.scorers import SCORERS, Scorer
from tenon.evaluate.seeded import across_seeds
from tenon.evaluate.slices import Trait, slices
from tenon.evaluate.statistics import intervals, paired

Outcome = dict[str, bool]
ALL = [SCORERS.get(name) for name in ("accuracy", "macro_f1", "mcc", "log_loss")]
HOLDS, FALSE, LEVEL = "interval holds the truth", "false alarms", 0.95
SETS_OF_A_DRAW = 250
"""So many sets see the same resamples, which are drawn once for them."""


@dataclass(frozen=True)
class World:
    """A way in which rows come about.

    Args:
        name: in the table.
        outcome: generator and resampling to what each method made of one set.
    """

    name: str
    outcome: Callable[[np.random.Generator, dict], Outcome]

    def shares(self, sets: int, *, resamples: int = 1000, seed: int = 0) -> dict[str, float]:
        """Give how often each method held the truth, or raised a false alarm, of so many sets."""
        generator = np.random.default_rng(seed)
        counts: dict[str, int] = {}
        for number in range(sets):
            how = {"level": LEVEL, "resamples": resamples, "seed": number // SETS_OF_A_DRAW}
            for name, held in self.outcome(generator, how).items():
                counts[name] = counts.get(name, 0) + bool(held)
        return {name: count / sets for name, count in counts.items()}


@dataclass(frozen=True)
class Rows:
    """Rows of which only the terms are known."""

    terms_RK: np.ndarray
    origins: Sequence[str] = field(default=())
    ids: Sequence[str] = ()

    @property
    def known_R(self) -> np.ndarray:
        return np.ones(len(self.terms_RK), bool)

    def finite(self) -> bool:
        return True

    def same_gold(self, _other: Rows) -> bool:
        return True

    def __len__(self) -> int:
        return len(self.terms_RK)


def given(name: str, combine, kind="bca") -> Scorer:
    """Give a scorer of `Rows`."""
    return Scorer(
        name, name, "higher", "percent", kind, lambda rows: sparse.csr_array(rows.terms_RK), combine
    )


MEAN = given("mean loss", lambda sums_SK, rows: sums_SK[:, 0] / rows, "log")
SHARE = given("share", lambda sums_SK, rows: sums_SK[:, 0] / rows, "wilson")
RATIO = given(
    "ratio of sums", lambda sums_SK, _: sums_SK[:, 0] / np.maximum(sums_SK[:, 1], 1e-9), "log"
)
F1 = given(
    "F1 of spans",
    lambda sums_SK, _: 2 * sums_SK[:, 2] / np.maximum(sums_SK[:, 0] + sums_SK[:, 1], 1),
)


def judged(
    systems: Sequence, scorers: Sequence[Scorer], truth: dict[str, float], how: dict, **more
) -> Outcome:
    """Give the intervals of the first system, and the comparison of two that are alike."""
    found: Outcome = {}
    for name, interval in intervals(systems[0], scorers, **how, **more).items():
        found[f"{name}: {HOLDS}"] = interval.low <= truth[name] <= interval.high
    for name, pair in paired(*systems, scorers, **how, **more).items():
        found[f"{name}, difference: {HOLDS}"] = pair.low <= 0 <= pair.high
        found[f"{name}: {FALSE}"] = pair.p < 1 - LEVEL
    return found


def classes(rows: int, share_L: Sequence[float], *, balanced: bool = False) -> World:
    """Give rows of classes, answered by systems that are too sure of themselves."""
    labels = len(share_L)

    def draw(generator, rows, systems=2):
        gold_R = generator.choice(labels, rows, p=share_L)
        if balanced:
            gold_R = np.repeat(np.arange(labels), rows // labels)
        # What is hard is hard for both systems.
        shared = generator.normal(size=(rows, labels))
        logits = shared + 0.7 * generator.normal(size=(systems, rows, labels))
        logits[:, np.arange(rows), gold_R] += 1.8
        return [predictions(gold_R, log_softmax(1.3 * z, axis=1)) for z in logits]

    everything = draw(np.random.default_rng(99), 400_000 // labels * labels, systems=1)[0]
    truth = {scorer.name: scorer.score(everything) for scorer in ALL}
    design = ", chosen by label" if balanced else ""
    return World(
        f"{rows} rows of {labels} labels{design}",
        lambda generator, how: judged(draw(generator, rows), ALL, truth, how),
    )


def spans(rows: int) -> World:
    """Give texts with spans of which some are found."""

    def draw(generator, rows):
        gold_R = generator.poisson(generator.gamma(1, 1.5, rows))
        easy_R = generator.beta(6, 2, rows)
        hits = [generator.binomial(gold_R, easy_R) for _ in range(2)]
        extra = [generator.poisson(0.25, rows) for _ in range(2)]
        return [
            Rows(np.stack([gold_R, hit_R + more_R, hit_R], 1).astype(float), range(rows))
            for hit_R, more_R in zip(hits, extra, strict=True)
        ]

    truth = {F1.name: F1.score(draw(np.random.default_rng(99), 1_000_000)[0])}
    return World(
        f"{rows} texts with spans",
        lambda generator, how: judged(draw(generator, rows), [F1], truth, how),
    )


def likelihoods(rows: int) -> World:
    """Give texts of very different lengths and losses, as bits per byte have them."""

    def draw(generator, rows):
        size_R = np.exp(generator.normal(4, 0.8, rows))
        hard_R = generator.normal(0, 0.4, rows)
        return [
            Rows(
                np.stack([size_R * np.exp(hard_R + generator.normal(0, 0.2, rows)), size_R], 1),
                range(rows),
            )
            for _ in range(2)
        ]

    truth = {RATIO.name: RATIO.score(draw(np.random.default_rng(99), 2_000_000)[0])}
    return World(
        f"{rows} texts of unlike lengths",
        lambda generator, how: judged(draw(generator, rows), [RATIO], truth, how),
    )


def clusters(count: int, *, apart: float = 1.0, told: bool = True) -> World:
    """Give rows in clusters that are hard or easy as a whole."""

    def draw(generator, count):
        size_G = 1 + generator.poisson(4, count)
        of_R = np.repeat(np.arange(count), size_G)
        both_G = generator.normal(0, apart, count)
        systems = []
        for _ in range(2):
            hard_R = (both_G + generator.normal(0, apart, count))[of_R]
            value_R = 1.2 + hard_R + generator.logistic(size=len(of_R))
            systems.append(value_R)
        return of_R, systems

    _, (big, _) = draw(np.random.default_rng(99), 400_000)
    truth = {"share": float((big > 0).mean()), "mean loss": float(np.logaddexp(0, -big).mean())}

    def outcome(generator, how):
        of_R, systems = draw(generator, count)
        origins = [str(row) for row in range(len(of_R))]
        keys = dict(zip(origins, map(str, of_R.tolist()), strict=True))
        grouping = Grouping("clusters", keys if told else {})
        right = [Rows((z > 0)[:, None].astype(float), origins) for z in systems]
        nats = [Rows(np.logaddexp(0, -z)[:, None], origins) for z in systems]
        found = judged(right, [SHARE], truth, how, grouping=grouping)
        return found | judged(nats, [MEAN], truth, how, grouping=grouping)

    return World(f"{count} clusters of about 5 rows", outcome)


def seeds(runs: int, luck: float, rows: int = 200) -> World:
    """Give runs whose scores vary by seed, by row and by both."""
    scorers = [SCORERS.get("accuracy"), SCORERS.get("log_loss")]
    big = np.random.default_rng(99).normal(1, np.sqrt(luck**2 + 2), 4_000_000)
    truth = {"accuracy": (big > 0).mean(), "log_loss": np.logaddexp(0, -big).mean()}

    def draw(generator, easy_R):
        logit = 1 + generator.normal(0, luck, (runs, 1)) + easy_R
        logit = logit + generator.normal(0, 1, (runs, rows))
        both = np.stack([-np.logaddexp(0, -logit), -np.logaddexp(0, logit)], axis=2)
        return [predictions(np.zeros(rows, int), each) for each in both]

    def outcome(generator, how):
        easy_R = generator.normal(0, 1, rows)
        first, second = draw(generator, easy_R), draw(generator, easy_R)
        told = across_seeds(first, {"other": second}, scorers, **how)
        found: Outcome = {}
        for name, entry in told["scores"].items():
            found[f"{name}: {HOLDS}"] = entry["low"] <= truth[name] <= entry["high"]
        for name, entry in told["paired"]["other"].items():
            found[f"{name}, difference: {HOLDS}"] = entry["low"] <= 0 <= entry["high"]
            found[f"{name}: {FALSE}"] = entry["p"] < 1 - LEVEL
        return found

    return World(f"{runs} seeds, {rows} rows, spread of the seeds {luck:g}", outcome)


def parted(rows: int) -> World:
    """Give rows that are alike in all slices; an alarm is a worst slice that is none."""

    def outcome(generator, how):
        size_R = np.exp(generator.normal(3, 0.6, rows))
        value_R = size_R * np.exp(generator.normal(0, 0.6, rows))
        origins = [str(row) for row in range(rows)]
        traits = [
            Trait(by, [(f"{by} {cell}",) for cell in generator.integers(0, 4, rows).tolist()])
            for by in "abc"
        ]
        right = Rows((generator.random(rows) < 0.8)[:, None].astype(float), origins)
        ratio = Rows(np.stack([value_R, size_R], 1), origins)
        quick = {**how, "resamples": 200}
        return {
            f"{scorer.name}, 12 slices: {FALSE}": any(
                entry["p"] < 1 - LEVEL for entry in slices(each, scorer, traits, **quick)
            )
            for scorer, each in ((SHARE, right), (RATIO, ratio))
        }

    return World(f"{rows} rows in slices", outcome)


def zipf(labels: int) -> np.ndarray:
    """Give the shares of labels of which most are rare."""
    share_L = 1 / np.arange(1, labels + 1)
    return share_L / share_L.sum()


def worlds() -> Iterator[World]:
    """Give every world of the table in docs/statistics.md."""
    even = [0.25] * 4
    for rows in (50, 100, 300, 1000):
        yield classes(rows, even)
    yield classes(300, zipf(12))
    yield classes(1000, zipf(12))
    yield classes(200, [0.05] * 20, balanced=True)
    for rows in (50, 100, 400):
        yield spans(rows)
        yield likelihoods(rows)
    for count in (10, 20, 50, 200):
        yield clusters(count)
    for runs in (2, 3, 5):
        for luck in (0.0, 0.1, 0.4):
            yield seeds(runs, luck)
    yield parted(300)
