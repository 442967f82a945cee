"""Reply: what an adapter answers to one text, as a caller in Python gets it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """One label.

    Args:
        label: the likeliest.
        probability: of it.
        probabilities: of every label.
    """

    label: str
    probability: float
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Found:
    """One span that was found in a text.

    Args:
        start: its first character.
        end: after its last character.
        label: its label.
        text: `text[start:end]`.
        probability: of the tags of all its words or tokens.
    """

    start: int
    end: int
    label: str
    text: str
    probability: float


@dataclass(frozen=True)
class Spans:
    """The spans of one text.

    Args:
        text: the text.
        spans: in order, none overlapping another.
    """

    text: str
    spans: tuple[Found, ...]
