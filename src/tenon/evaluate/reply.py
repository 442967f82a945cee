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
class Text:
    """What was written.

    Args:
        text: the answer.
        ended: whether it came to its end within the tokens it may have.
    """

    text: str
    ended: bool


@dataclass(frozen=True)
class Labels:
    """Any number of labels.

    Args:
        labels: those whose probability reaches their threshold, in the order of all labels.
        probabilities: of every label.
    """

    labels: tuple[str, ...]
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Number:
    """A number.

    Args:
        number: as in the training rows, in their unit.
    """

    number: float


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


@dataclass(frozen=True)
class Extract:
    """One answer that a context may give.

    Args:
        answer: `context[start:end]`; "" for no answer.
        start: its first character; None for no answer.
        end: after its last character; None for no answer.
        probability: that it begins and ends there; of no answer, that nothing does.
    """

    answer: str
    start: int | None
    end: int | None
    probability: float


@dataclass(frozen=True)
class Extracted:
    """What a context answers to a question.

    Args:
        question: as asked.
        context: as given.
        answer: `context[start:end]`; "" for no answer.
        start: its first character; None for no answer.
        end: after its last character; None for no answer.
        probability: that it begins and ends there; of no answer, that nothing does.
        others: the next best answers, best first.
    """

    question: str
    context: str
    answer: str
    start: int | None
    end: int | None
    probability: float
    others: tuple[Extract, ...]
