"""Gold: what a row says the answer is, beyond one class."""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass
from typing import Literal

Role = Literal["system", "user", "assistant", "tool"]
Place = tuple[int, int]
"""First character and the one after the last, in code points from 0."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a text with a label.

    Args:
        start: of its first character, counted in code points from 0.
        end: after its last character.
        label: its type.
    """

    start: int
    end: int
    label: str


NOWHERE = -1


@dataclass(frozen=True, slots=True)
class AnswerSpan:
    """An answer to a question about a context.

    Args:
        text: the answer; `context[start : start + len(text)]`.
        start: of its first character, counted in code points from 0; -1 for one that does not
            stand in the context so, which counts where answers are compared.
    """

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation.

    Args:
        role: who speaks.
        text: what is said.
        trained: whether the base learns to say it; of the assistant alone.
    """

    role: Role
    text: str
    trained: bool = False


Gold = str | float | tuple[str, ...] | tuple[Span, ...] | tuple[AnswerSpan, ...] | tuple[Turn, ...]
"""A class label, a number, labels, spans of the text, answers in a context, or a conversation."""


def written(gold: Gold | None) -> str | None:
    """Give a gold that is no class as JSON; None for a class, and where there is no gold."""
    if isinstance(gold, float):
        return json.dumps(gold)
    if not isinstance(gold, tuple):
        return None
    parts = [part if isinstance(part, str) else astuple(part) for part in gold]
    return json.dumps(parts, ensure_ascii=False)
