"""Learnability: how a probe's accuracy grows with rows, and whether more rows would help.

Legend: R rows, D features, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tenon.data.findings import EXAMPLES, Finding
from tenon.evaluate import probe
from tenon.evaluate.cross_fit import CrossFit
from tenon.evaluate.probe import Floats, Ints

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
SURE = 1.96
LEAST_GAIN = 0.005
MOST_FLAT = 0.03
"""A gain that is not worth twice the rows."""
LEAST_RECALL = 0.9
"""A class of which more of the held-out rows are found needs no more rows."""


@dataclass(frozen=True)
class Curve:
    """Accuracy on held-out rows, by the number of rows a probe was fitted on.

    Args:
        rows, accuracies: of each of five sizes.
        gain: what the last doubling brought.
        error: its standard error, from the same held-out rows.
        needy: labels that the last doubling helped and that are found too seldom, neediest first.
    """

    rows: tuple[int, ...]
    accuracies: tuple[float, ...]
    gain: float
    error: float
    needy: tuple[str, ...]

    @property
    def rising(self) -> bool:
        """Whether the last doubling helped beyond chance."""
        return self.gain > max(SURE * self.error, LEAST_GAIN)

    @property
    def flat(self) -> bool:
        """Whether the last doubling helped little, as far as chance allows to say."""
        return self.gain + SURE * self.error < MOST_FLAT


def learning_curve(
    features_RD: Floats, gold_R: Ints, labels: Sequence[str], crossed: CrossFit, *, seed: int
) -> Curve:
    """Fit probes on five sizes of nested samples, and score each on the first fold.

    Args:
        features_RD: float32.
        gold_R: index of each row's label.
        labels: the L names.
        crossed: folds and penalty.
        seed: of the samples.
    """
    held_R = crossed.fold_R == 0
    others = np.random.default_rng(seed).permutation(np.flatnonzero(~held_R))
    right_SR: list[npt.NDArray[np.bool_]] = []
    sizes = [max(2, round(share * len(others))) for share in SHARES]
    for size in sizes:
        rows = others[:size]
        fitted = probe.fit_at(features_RD[rows], gold_R[rows], len(labels), crossed.C)
        answers = fitted.logits(features_RD[held_R]).argmax(axis=1)
        right_SR.append(answers == gold_R[held_R])
    change_R = right_SR[-1].astype(float) - right_SR[-2]
    return Curve(
        tuple(sizes),
        tuple(float(right_R.mean()) for right_R in right_SR),
        float(change_R.mean()),
        float(change_R.std() / max(1, len(change_R)) ** 0.5),
        _needy(right_SR[-1], change_R, gold_R[held_R], labels),
    )


def _needy(
    right_R: npt.NDArray[np.bool_],
    change_R: npt.NDArray[np.float64],
    gold_R: Ints,
    labels: Sequence[str],
) -> tuple[str, ...]:
    total_L = np.bincount(gold_R, minlength=len(labels))
    found_L = np.bincount(gold_R, right_R, minlength=len(labels))
    gained_L = np.bincount(gold_R, change_R, minlength=len(labels))
    recall_L = found_L / np.maximum(total_L, 1)
    needy = np.flatnonzero((total_L > 0) & (gained_L > 0) & (recall_L < LEAST_RECALL))
    ranked: list[int] = needy[np.argsort(recall_L[needy], kind="stable")].tolist()
    return tuple(labels[label] for label in ranked)


def learnability(curve: Curve) -> Finding:
    """Say what a learning curve shows."""
    points = ", ".join(
        f"{100 * accuracy:.1f} % of {rows:,}"
        for rows, accuracy in zip(curve.rows, curve.accuracies, strict=True)
    )
    what = f"a linear probe is right on held-out rows by the rows it learns from: {points}"
    change = f"{100 * curve.gain:+.1f} points ± {100 * SURE * curve.error:.1f}"
    remedy = f"twice the rows brought {change}: "
    if curve.rising:
        remedy += "more rows would help"
    elif curve.flat:
        remedy += "more of the same would help little"
    else:
        remedy += "the rows are too few to tell whether more would help"
    if curve.rising and curve.needy:
        remedy += f", most of all of {', '.join(curve.needy[:EXAMPLES])}"
    return Finding("learning-curve", "note", curve.rows[-1], what, remedy)
