"""Renderers: of each task, how its examples become rows and what its classes are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from tenon.core.registry import Registry
from tenon.data.example import Example
from tenon.data.settings import Columns
from tenon.text.answer_render import AnswerRenderer, usual_length
from tenon.text.render import ClassRenderer, Renderer
from tenon.text.tag_render import TagRenderer, tags_for
from tenon.text.target_render import TargetRenderer, Targets, label_targets, number_target
from tenon.text.text_generation_render import WritingRenderer, form_of


@dataclass(frozen=True)
class Reading:
    """What decides the rows of a task beside its examples.

    Args:
        classes: what the head scores, in order.
        limit: most tokens of a row, special tokens included.
        cut: where a row that is too long is cut, `right` or `left`.
        units: what gets class scores: "rows", "words" or "tokens", or "answers".
        template: how prompts are written; see `tenon.text.settings`.
        instruction: what is asked around a prompt.
        seq2seq: whether an encoder reads the prompt and a decoder writes the answer.
        answer_tokens: most tokens of an answer that stands in a context.
    """

    classes: tuple[str, ...]
    limit: int
    cut: str
    units: str
    template: str = "auto"
    instruction: str = ""
    answer_tokens: int = 0
    seq2seq: bool = False


@dataclass(frozen=True)
class Rendering:
    """How a task is rendered.

    Args:
        classes: labels of the data, and their columns, to the classes of the head.
        units: what gets class scores, by the columns.
        make: a tokenizer and what else decides, to the renderer.
        longest: of answers that stand in a context: a tokenizer, train's examples and the limit of
            a row to the most tokens of an answer.
    """

    classes: Callable[[Sequence[str], Columns], tuple[str, ...]]
    units: Callable[[Columns], str]
    make: Callable[[PreTrainedTokenizerBase, Reading], Renderer]
    longest: Callable[[PreTrainedTokenizerBase, Iterable[Example], int], int] | None = None


ANSWERS = "answers"
"""The units of answers that stand in a context."""
RENDERINGS: Registry[Rendering] = Registry("task", "tenon.renderings")
"""By task."""


def _class_renderer(tokenizer: PreTrainedTokenizerBase, reading: Reading) -> Renderer:
    return ClassRenderer(tokenizer, reading.classes, reading.limit, reading.cut)


def _with_targets(
    targets: Targets, form: str
) -> Callable[[PreTrainedTokenizerBase, Reading], Renderer]:
    def make(tokenizer: PreTrainedTokenizerBase, reading: Reading) -> Renderer:
        reader = ClassRenderer(tokenizer, reading.classes, reading.limit, reading.cut)
        return TargetRenderer(reader, targets, form)

    return make


def _tag_renderer(tokenizer: PreTrainedTokenizerBase, reading: Reading) -> Renderer:
    return TagRenderer(tokenizer, reading.classes, reading.limit, reading.units)


def _writing_renderer(
    *, cut: bool
) -> Callable[[PreTrainedTokenizerBase, Reading], WritingRenderer]:
    """Give how answers are written; `cut` says that the text loses tokens where the user says."""

    def make(tokenizer: PreTrainedTokenizerBase, reading: Reading) -> WritingRenderer:
        return WritingRenderer(
            tokenizer,
            reading.limit,
            form_of(tokenizer, reading.template, reading.units, seq2seq=reading.seq2seq),
            reading.instruction,
            cut=reading.cut if cut else "",
            seq2seq=reading.seq2seq,
        )

    return make


def _answer_renderer(tokenizer: PreTrainedTokenizerBase, reading: Reading) -> Renderer:
    return AnswerRenderer(tokenizer, reading.classes, reading.limit, reading.answer_tokens)


RENDERINGS.add(
    "text-classification",
    Rendering(
        classes=lambda labels, _: tuple(labels),
        units=lambda _: "rows",
        make=_class_renderer,
    ),
)
RENDERINGS.add(
    "multi-label-classification",
    Rendering(
        classes=lambda labels, _: tuple(labels),
        units=lambda _: "rows",
        make=_with_targets(label_targets, "labels.v1"),
    ),
)
RENDERINGS.add(
    "text-regression",
    Rendering(
        classes=lambda _, columns: (columns.label,),
        units=lambda _: "rows",
        make=_with_targets(number_target, "number.v1"),
    ),
)
RENDERINGS.add(
    "token-classification",
    Rendering(
        classes=lambda labels, columns: tags_for(labels, single=columns.scheme == "plain"),
        units=lambda columns: "words" if columns.tokens else "tokens",
        make=_tag_renderer,
    ),
)
RENDERINGS.add(
    "text-generation",
    Rendering(
        classes=lambda labels, _: (),  # noqa: ARG005 - the base's own vocabulary is all there is
        units=lambda columns: "turns" if columns.turns else "texts",
        make=_writing_renderer(cut=False),
    ),
)
for _task in ("translation", "summarization"):
    RENDERINGS.add(
        _task,
        Rendering(
            classes=lambda labels, _: (),  # noqa: ARG005 - as above
            units=lambda _: "texts",
            make=_writing_renderer(cut=True),
        ),
    )
RENDERINGS.add(
    "question-answering",
    Rendering(
        classes=lambda labels, _: ("start", "end", *labels),
        units=lambda _: ANSWERS,
        make=_answer_renderer,
        longest=usual_length,
    ),
)
