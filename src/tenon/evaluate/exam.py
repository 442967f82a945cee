"""Exam: how a task's rows are answered, compared with baselines, and shown.

A unit is what gets class scores: a row of a classification, a word or token of a tagging.
Legend: R rows, U units, D features, L classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tenon.core.progress import Progress
from tenon.core.registry import Registry
from tenon.data.example import Example
from tenon.evaluate.clusters import Grouping
from tenon.evaluate.form import CLASSES, Constants, Form
from tenon.evaluate.settings import BY_TASK, EvaluateSettings
from tenon.text.render import Rendered, Renderer
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
        gold: class of each unit, int32 [U]; -1 without one. Of another form, see there.
        names: what each unit is called, by which the frequent classes are known; None where
            every unit is the same to it.
        kept: which units belong to rows that were answered, [U].
        logits: one row of class scores for each example that was rendered, [B, L].
        replies: what a caller in Python gets, one object a row.
        tables: the fields of a report that list labels and rows: of the answers, the strongest
            baseline's or None, and the confidence level.
        entries: one JSON-able object a row.
        form: what the scores mean, and how the baselines learn to give the same.
        tune: model, its answers to dev and the settings to those answers by what was chosen on
            dev, which the model's head then holds.
        quick: answers with what the dev scorers need, where all of them would take long.
        rivals: model, tokens, the adapter's answers and the names wanted to the baselines' answers,
            where nothing has to be fitted on train to have them; gets the examples as well.
        bound: renderer, settings, seed and shots to the exam, where answers depend on them.
        notes: what is to be known of how answers came about.
        fit: of a task with a probe of its own: as `tenon.evaluate.baselines.fit`, without exam.
        probed: of such a task: a model without adapter, the probe and tokens to the probe's scores.
        simple: of such a task: answers to what each baseline that needs no fitting answers to
            the same rows, by name.
        told: what a report says of the answers to a part.
        paired: whether a row is always two texts.
        together: answers to which rows belong together; None where each stands for itself.
        kinds: answers to the labels that each row has, by which a report parts the rows.
        shown: answers to the text of each row by whose length and language it parts them.
    """

    task: str
    answer: Answering
    features: Looking
    gold: Callable[[Tokens], npt.NDArray[Any]]
    names: Callable[[Tokens], list[str]] | None
    kept: Callable[[Tokens, Any], npt.NDArray[np.bool_]]
    logits: Callable[[Any, Rendered], Tensor]
    replies: Callable[[Any], list[Any]]
    tables: Callable[[Any, Any, float], dict[str, Any]]
    entries: Callable[[Any], Iterator[dict[str, Any]]]
    form: Form = CLASSES
    tune: Callable[[Any, Any, EvaluateSettings], Any] = lambda model, answers, how: answers  # noqa: ARG005
    quick: Answering | None = None
    rivals: Callable[..., dict[str, Any]] | None = None
    bound: Callable[..., Exam] | None = None
    notes: Callable[[Any], list[str]] = lambda answers: []  # noqa: ARG005 - most have none

    fit: Callable[..., Any] | None = None
    probed: Callable[..., Floats] | None = None
    simple: Callable[[Any], Mapping[str, Any]] | None = None
    told: Callable[[Any], Sequence[str]] = lambda answers: ()  # noqa: ARG005 - most say nothing
    paired: bool = False
    together: Callable[[Any], Grouping | None] = lambda answers: None  # noqa: ARG005 - alone
    kinds: Callable[[Any], Sequence[Sequence[str]]] = lambda answers: [()] * len(answers)
    shown: Callable[[Any], Sequence[str]] = lambda answers: answers.texts

    def constants(self, train: Tokens) -> Constants:
        """Give what turns scores into answers and follows from the gold of train."""
        return self.form.observe(self.gold(train)) if self.form.observe else {}

    @property
    def frequent(self) -> str:
        """Name of the baseline that knows only how often classes occur."""
        return BY_TASK[self.task].baselines[0]


EXAMS: Registry[Exam] = Registry(
    "task",
    "tenon.exams",
    (
        "tenon.evaluate.class_exam",
        "tenon.evaluate.label_exam",
        "tenon.evaluate.number_exam",
        "tenon.evaluate.tag_exam",
        "tenon.evaluate.answer_exam",
        "tenon.evaluate.write_exam",
    ),
)
"""By task."""


def exam_of(
    task: str,
    renderer: Renderer,
    settings: EvaluateSettings,
    seed: int = 0,
    shots: tuple[Example, ...] = (),
) -> Exam:
    """Give the exam of a task, bound to what its answers depend on.

    Args:
        renderer: of the rows.
        settings: how answers are given.
        seed: of what is drawn by chance.
        shots: answered rows of train that a base may be shown.
    """
    exam = EXAMS.get(task)
    return exam.bound(renderer, settings, seed, shots) if exam.bound else exam
