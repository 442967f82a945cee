"""Labelled: a probability of each label for the rows of one part, and which labels are answered.

Legend: R rows, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tenon.evaluate.multilabel import NEUTRAL, Doubles, decide
from tenon.evaluate.prediction import Bools, Floats, Index, picked


@dataclass(frozen=True)
class Labelled:
    """Label scores of R rows.

    Args:
        labels: the L label names.
        ids: content ids of the R rows.
        origins: `file:line` of the R rows.
        texts: text of each row.
        pairs: second text of each row, or None for single texts.
        gold_RL: int8, 1 for each label that a row has; -1 in all where they are not known.
        log_probs_RL: float32, natural logarithm of each label's probability.
        thresholds: L numbers in [0, 1]; a label is answered whose probability reaches its own.
        failed: origin to cause, for rows that could not be answered; they are in no array.
    """

    labels: tuple[str, ...]
    ids: Sequence[str]
    origins: Sequence[str]
    texts: Sequence[str]
    pairs: Sequence[str] | None
    gold_RL: npt.NDArray[np.int8]
    log_probs_RL: Floats
    thresholds: tuple[float, ...]
    failed: dict[str, str]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def known_R(self) -> Bools:
        """Which rows have labels that are known, be they none."""
        return self.gold_RL[:, 0] >= 0

    @cached_property
    def probabilities_RL(self) -> Doubles:
        """The probability of each label."""
        return np.minimum(np.exp(self.log_probs_RL.astype(np.float64)), 1.0)

    @cached_property
    def answers_RL(self) -> Bools:
        """Which labels are answered."""
        return decide(self.probabilities_RL, np.array(self.thresholds))

    def names(self, row: int) -> list[str]:
        """Give the labels that are answered to a row."""
        return [self.labels[at] for at in np.flatnonzero(self.answers_RL[row])]

    def gold_names(self, row: int) -> list[str]:
        """Give the labels that a row has."""
        return [self.labels[at] for at in np.flatnonzero(self.gold_RL[row] > 0)]

    def finite(self) -> bool:
        """Whether every score of a row with known labels is a finite number."""
        return bool(np.isfinite(self.log_probs_RL[self.known_R]).all())

    def take(self, rows: Index) -> Labelled:
        """Give the rows at `rows`, in that order."""
        return replace(self, **picked(self, rows, "texts", "pairs", "gold_RL", "log_probs_RL"))

    def same_gold(self, other: Labelled) -> bool:
        """Whether the rows of both have the same labels."""
        return np.array_equal(self.gold_RL, other.gold_RL)

    def rescored(self, log_probs: Floats) -> Labelled:
        """Give the same rows with other label scores, [R, L]; every threshold is 0.5."""
        neutral = (NEUTRAL,) * len(self.labels)
        return replace(self, log_probs_RL=log_probs, thresholds=neutral, failed={})

    def decided(self, constants: Any) -> Labelled:
        """Give the same scores, decided by the thresholds among `constants` if there are any."""
        thresholds = constants.get("thresholds")
        return self if thresholds is None else replace(self, thresholds=tuple(thresholds))
