"""Exam: how a task's rows are answered, compared with baselines, and shown.

A unit is what gets class scores: a row of a classification, a word or token of a tagging.
Legend: R rows, U units, D features, L classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tenon.core.progress import Progress
from tenon.core.registry import Registry
from tenon.evaluate.settings import BY_TASK
from tenon.text.render import Rendered
from tenon.text.tokens import Tokens

Floats = npt.NDArray[np.float32]


class Answering(Protocol):
    """Answer every row of some tokens; weights, mode and random state of the model stay."""

    def __call__(
        self,
        model: Any,
        tokens: Tokens,
        labels: Sequence[str],
        *,
        batch_tokens: int,
        progress: Progress | None = None,
    ) -> Any:
        """Give the answers; see `tenon.evaluate.prediction.Answers`."""
        ...


class Looking(Protocol):
    """Give what the head reads of every unit: float32 of shape [U, D]."""

    def __call__(
        self, model: Any, tokens: Tokens, *, batch_tokens: int, progress: Progress | None = None
    ) -> Floats:
        """Give the features, in the order of the units."""
        ...


@dataclass(frozen=True)
class Exam:
    """How a task is examined.

    Args:
        task: as the hub names it.
        answer: the adapter's answers.
        features: what the head reads.
        gold: class of each unit, int32 [U]; -1 without one.
        names: what each unit is called, by which the frequent classes are known; None where
            every unit is the same to it.
        kept: which units belong to rows that were answered, [U].
        logits: one row of class scores for each example that was rendered, [B, L].
        replies: what a caller in Python gets, one object a row.
        tables: the fields of a report that list labels and rows: of the answers, the strongest
            baseline's or None, and the confidence level.
        entries: one JSON-able object a row.
    """

    task: str
    answer: Answering
    features: Looking
    gold: Callable[[Tokens], npt.NDArray[np.int32]]
    names: Callable[[Tokens], list[str]] | None
    kept: Callable[[Tokens, Any], npt.NDArray[np.bool_]]
    logits: Callable[[Any, Rendered], Tensor]
    replies: Callable[[Any], list[Any]]
    tables: Callable[[Any, Any, float], dict[str, Any]]
    entries: Callable[[Any], Iterator[dict[str, Any]]]

    @property
    def frequent(self) -> str:
        """Name of the baseline that knows only how often classes occur."""
        return BY_TASK[self.task].baselines[0]


EXAMS: Registry[Exam] = Registry(
    "task", "tenon.exams", ("tenon.evaluate.class_exam", "tenon.evaluate.tag_exam")
)
"""By task."""
