"""Gold: what a row says the answer is, beyond one class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant", "tool"]


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


@dataclass(frozen=True, slots=True)
class AnswerSpan:
    """An answer that stands in a context.

    Args:
        text: the answer; `context[start : start + len(text)]`.
        start: of its first character, counted in code points from 0.
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
