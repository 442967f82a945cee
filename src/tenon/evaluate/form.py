"""Form: what a head's scores mean, and how the baselines learn to give the same.

Legend: U units, D features, L scores of a unit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from tenon.evaluate import probe as probes
from tenon.evaluate.frequent import Frequent, count
from tenon.evaluate.probe import Probe
from tenon.evaluate.settings import EvaluateSettings

Floats = npt.NDArray[np.float32]
Gold = npt.NDArray[Any]
Constants = Mapping[str, tuple[float, ...]]
"""What turns scores into answers beside the weights, by name; see `tenon.model.head.Head`."""


class Fit(Protocol):
    """Fit a linear probe on the features of units that have gold."""

    def __call__(
        self,
        features_RD: Floats,
        gold_R: Gold,
        classes: int,
        *,
        seed: int,
        dev: tuple[Floats, Gold] | None = None,
    ) -> Probe:
        """Give the probe; its penalty is the one that is best on dev."""
        ...


@dataclass(frozen=True)
class Form:
    """How the gold of units is learned and answered.

    Args:
        known: which units have gold, [U].
        count: gold, L and names of units to what one answers who knows only how often it occurs.
        fit: the linear probe, from whose weights the head may start.
        link: logits [U, L] and constants to scores [U, L]: log-probabilities, or numbers.
        observe: constants that follow from the gold of train; None where there are none.
        choose: constants that are chosen by the gold and the scores of dev.
        apply: answers and constants to the answers by these.
    """

    known: Callable[[Gold], npt.NDArray[np.bool_]]
    count: Callable[[Gold, int, Sequence[str] | None], Frequent]
    fit: Fit
    link: Callable[[npt.NDArray[Any], Constants], Floats]
    observe: Callable[[Gold], Constants] | None = None
    choose: Callable[[Gold, Floats, EvaluateSettings], Constants] = lambda gold, scores, how: {}  # noqa: ARG005
    apply: Callable[[Any, Constants], Any] = lambda answers, constants: answers  # noqa: ARG005


def class_log_probs(logits_UL: npt.NDArray[Any], constants: Constants) -> Floats:
    """Give the natural logarithm of the probability of each of L classes."""
    del constants
    return log_softmax(logits_UL, axis=1).astype(np.float32)


CLASSES = Form(known=lambda gold_U: gold_U >= 0, count=count, fit=probes.fit, link=class_log_probs)
"""Each unit has one of L classes, or -1 for none that is known."""
