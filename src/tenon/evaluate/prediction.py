"""Predictions: the answers to the rows of one part, with their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Predictions:
    """Class scores for the rows of one part; R rows, L labels.

    Args:
        labels: the L label names; a class index counts into them.
        ids: content ids of the R rows.
        origins: `file:line` of the R rows.
        texts: text of each row.
        pairs: second text of each row, or None for single texts.
        gold_R: int32, index of the true label; -1 where the row has none that is known.
        log_probs_RL: float32, natural logarithm of each label's probability.
        failed: origin to cause, for rows that could not be answered; they are in no array.
    """

    labels: tuple[str, ...]
    ids: Sequence[str]
    origins: Sequence[str]
    texts: Sequence[str]
    pairs: Sequence[str] | None
    gold_R: npt.NDArray[np.int32]
    log_probs_RL: npt.NDArray[np.float32]
    failed: dict[str, str]

    @property
    def answer_R(self) -> npt.NDArray[np.int32]:
        """Index of the likeliest label of each row."""
        return self.log_probs_RL.argmax(axis=1).astype(np.int32)

    def __len__(self) -> int:
        return len(self.ids)
