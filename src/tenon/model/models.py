"""Models: of each task, the trunk, adapter and head put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from peft import PeftModel

from tenon.core.registry import Registry
from tenon.model.classifier import Classifier
from tenon.model.goal import CLASS, LABELS, NUMBER, Goal
from tenon.model.head import Head
from tenon.model.model import Model
from tenon.model.reader import Reader
from tenon.model.seq2seq import Seq2Seq
from tenon.model.settings import Pooling
from tenon.model.tagger import Tagger
from tenon.model.trunk import Trunk
from tenon.model.writer import Writer

TOKENS = "tokens"
"""In the place of a pooling: every token is read for itself."""

Maker = Callable[[Trunk, PeftModel | None, Any, str, bool], Model]
MODELS: Registry[Maker] = Registry("task", "tenon.models")
"""By task: trunk, PEFT model or None, head or None where the task has none of its own, pooling, and
whether the trunk keeps its dropout."""


def model_for(
    task: str,
    trunk: Trunk,
    peft: PeftModel | None,
    head: Head | None,
    pooling: str,
    *,
    trunk_dropout: bool = False,
) -> Model:
    """Put a task's model together.

    Args:
        peft: the PEFT model around the trunk's modules, or None for the bare base.
        pooling: hidden states to a pooled vector; "tokens" where there is none.
        trunk_dropout: keep the trunk's own dropout on in training mode.
    """
    return MODELS.get(task)(trunk, peft, head, pooling, trunk_dropout)


def _classifier(goal: Goal) -> Maker:
    def make(trunk: Trunk, peft: PeftModel | None, head: Head, pooling: str, keep: Any) -> Model:
        form = cast(Pooling, pooling)
        return Classifier(trunk, peft, head, form, trunk_dropout=keep, goal=goal)

    return make


def _tagger(trunk: Trunk, peft: PeftModel | None, head: Head, _pooling: str, keep: Any) -> Model:
    return Tagger(trunk, peft, head, trunk_dropout=keep)


def _reader(trunk: Trunk, peft: PeftModel | None, head: Head, _pooling: str, keep: Any) -> Model:
    return Reader(trunk, peft, head, trunk_dropout=keep)


def _writer(trunk: Trunk, peft: PeftModel | None, _head: None, _pooling: str, keep: Any) -> Model:
    made = Seq2Seq if trunk.seq2seq else Writer
    return made(trunk, peft, trunk_dropout=keep)


MODELS.add("text-classification", _classifier(CLASS))
MODELS.add("multi-label-classification", _classifier(LABELS))
MODELS.add("text-regression", _classifier(NUMBER))
MODELS.add("token-classification", _tagger)
MODELS.add("question-answering", _reader)
for _task in ("text-generation", "translation", "summarization"):
    MODELS.add(_task, _writer)
