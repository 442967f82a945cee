"""Numbered: numbers that were answered to the rows of one part; R rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tenon.evaluate.prediction import Bools, Index, picked

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Numbered:
    """Numbers for R rows.

    Args:
        ids: content ids of the R rows.
        origins: `file:line` of the R rows.
        texts: text of each row.
        pairs: second text of each row, or None for single texts.
        gold_R: the number that each row has; NaN where it has none.
        answer_R: the number that was answered.
        failed: origin to cause, for rows that could not be answered; they are in no array.
    """

    ids: Sequence[str]
    origins: Sequence[str]
    texts: Sequence[str]
    pairs: Sequence[str] | None
    gold_R: Doubles
    answer_R: Doubles
    failed: dict[str, str]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def known_R(self) -> Bools:
        """Which rows have a number."""
        return np.isfinite(self.gold_R)

    def finite(self) -> bool:
        """Whether every answer to a row with a number is finite."""
        return bool(np.isfinite(self.answer_R[self.known_R]).all())

    def take(self, rows: Index) -> Numbered:
        """Give the rows at `rows`, in that order."""
        return replace(self, **picked(self, rows, "texts", "pairs", "gold_R", "answer_R"))

    def same_gold(self, other: Numbered) -> bool:
        """Whether the rows of both have the same numbers."""
        return np.array_equal(self.gold_R, other.gold_R, equal_nan=True)

    def rescored(self, log_probs: npt.NDArray[Any]) -> Numbered:
        """Give the same rows with other numbers, [R, 1]."""
        return replace(self, answer_R=log_probs[:, 0].astype(np.float64), failed={})
