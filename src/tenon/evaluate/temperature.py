"""Temperature: the number that logits are divided by, so that they are as sure as they are right.

No answer changes by it, only how sure it is. It is fitted on dev and measured on test.

Legend: R rows, U units (a row, or a word or token of one), L classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax

from tenon.evaluate.prediction import Floats, Predictions
from tenon.evaluate.probe import temper
from tenon.evaluate.scorers import SCORERS, Scorer, labelled
from tenon.evaluate.settings import BY_TASK, FEWEST_ROWS
from tenon.evaluate.statistics import intervals, paired
from tenon.evaluate.tagged import Tagged
from tenon.model.head import Head

Scored = Predictions | Tagged
FITTED_ON = "dev"


@dataclass(frozen=True)
class Temperature:
    """A temperature, and what it was fitted on.

    Args:
        value: above 0; above 1 it makes answers less sure.
        units: of dev, that have a gold class.
    """

    value: float
    units: int


def fit(dev: object) -> Temperature | None:
    """Fit the temperature with the least log-loss.

    Args:
        dev: answers to the dev part.

    Returns:
        None of a task whose units do not have one of several classes, and of too few units.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv:1706.04599).
    """
    if not isinstance(dev, Scored) or not dev.finite():
        return None
    log_probs_UL, gold_U = _scores(dev)
    known_U = gold_U >= 0
    units = int(known_U.sum())
    if units < FEWEST_ROWS or log_probs_UL.shape[1] < 2:  # noqa: PLR2004 - one class is always sure
        return None
    # Logarithms of probabilities are logits, up to a number that all classes of a unit share.
    value, _ = temper(log_probs_UL[known_U], gold_U[known_U])
    return Temperature(value, units)


def scaled(answers: Any, temperature: float) -> Any:
    """Give class scores as they are with their logits divided by a temperature."""
    field = "log_probs_UL" if isinstance(answers, Tagged) else "log_probs_RL"
    logits_UL = getattr(answers, field).astype(np.float64) / temperature
    log_probs_UL = log_softmax(logits_UL, axis=1).astype(np.float32)
    return replace(answers, **{field: log_probs_UL})


def fold(head: Head, temperature: float) -> None:
    """Divide the weights of a head by a temperature, which it then tells.

    Whatever reads the head, here or elsewhere, then gives scaled scores, and has nothing to apply.
    """
    with torch.no_grad():
        for parameter in head.linear.parameters():
            parameter.div_(temperature)
    head.temperature *= temperature


def compare(
    task: str,
    found: Temperature,
    before: Any,
    after: Any,
    *,
    stored: bool,
    level: float,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Give the calibration before and after scaling, with intervals; plain values.

    Args:
        before, after: answers to the same rows, which the temperature was not fitted on.
        stored: whether the adapter gives the scaled scores.
        level, resamples, seed: of the intervals.
    """
    first, second = labelled(before), labelled(after)
    scorers = _scorers(task)
    told: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    made: dict[str, Any] = {
        "temperature": found.value,
        "fitted_on": FITTED_ON,
        "n": found.units,
        "stored": stored,
        "before": _plain(intervals(first, scorers, **told)),
        "after": _plain(intervals(second, scorers, **told)),
    }
    if len(first) >= FEWEST_ROWS:
        made["paired"] = _plain(paired(second, first, scorers, **told))
    return made


def _scorers(task: str) -> Sequence[Scorer]:
    return [SCORERS.get(name) for name in BY_TASK[task].calibration]


def _plain(group: dict[str, Any]) -> dict[str, Any]:
    return {name: asdict(numbers) for name, numbers in group.items()}


def _scores(answers: Scored) -> tuple[Floats, Any]:
    if isinstance(answers, Tagged):
        return answers.log_probs_UL, answers.classes_U
    return answers.log_probs_RL, answers.gold_R
