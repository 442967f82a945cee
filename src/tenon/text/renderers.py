"""Renderers: of each task, how its examples become rows and what its classes are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from tenon.core.registry import Registry
from tenon.data.settings import Columns
from tenon.text.render import ClassRenderer, Renderer
from tenon.text.tag_render import TagRenderer, tags_for


@dataclass(frozen=True)
class Reading:
    """What decides the rows of a task beside its examples.

    Args:
        classes: what the head scores, in order.
        limit: most tokens of a row, special tokens included.
        cut: where a row that is too long is cut, `right` or `left`.
        units: what gets class scores: "rows", "words" or "tokens".
    """

    classes: tuple[str, ...]
    limit: int
    cut: str
    units: str


@dataclass(frozen=True)
class Rendering:
    """How a task is rendered.

    Args:
        classes: labels of the data, and their columns, to the classes of the head.
        units: what gets class scores, by the columns.
        make: a tokenizer and what else decides, to the renderer.
    """

    classes: Callable[[Sequence[str], Columns], tuple[str, ...]]
    units: Callable[[Columns], str]
    make: Callable[[PreTrainedTokenizerBase, Reading], Renderer]


RENDERINGS: Registry[Rendering] = Registry("task", "tenon.renderings")
"""By task."""


def _class_renderer(tokenizer: PreTrainedTokenizerBase, reading: Reading) -> Renderer:
    return ClassRenderer(tokenizer, reading.classes, reading.limit, reading.cut)


def _tag_renderer(tokenizer: PreTrainedTokenizerBase, reading: Reading) -> Renderer:
    return TagRenderer(tokenizer, reading.classes, reading.limit, reading.units)


RENDERINGS.add(
    "text-classification",
    Rendering(
        classes=lambda labels, _: tuple(labels),
        units=lambda _: "rows",
        make=_class_renderer,
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
