"""Alignment: spans and words of characters as runs of tokens, and back.

Offsets say which characters each of T tokens stands for, end exclusive; a token whose start is
its end stands for none (a special token, a blank) and takes no part. L labels.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from tenon.data.gold import Span

Place = tuple[int, int]
OUTSIDE = "O"


def trimmed(text: str, start: int, end: int) -> Place:
    """Give a stretch of `text` without its outer blanks; its start is its end if it is blank."""
    inside = text[start:end]
    if not inside or not (inside[0].isspace() or inside[-1].isspace()):
        return start, end
    blanks = len(inside) - len(inside.lstrip())
    return start + blanks, start + blanks + len(inside.strip())


@dataclass(frozen=True, slots=True)
class Run:
    """The tokens that a stretch of characters falls on.

    Args:
        first: the first of them.
        last: after the last of them.
        exact: whether they stand for just these characters, outer blanks aside.
    """

    first: int
    last: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Targets:
    """Spans as a tag for each token.

    Args:
        tags_T: `B-label`, `I-label` or `O`; None for a token that stands for no characters.
        inexact: spans whose border lies within a token, which is tagged all the same, or on
            characters that no token stands for.
        lost: spans that no token is left for.
    """

    tags_T: tuple[str | None, ...]
    inexact: tuple[Span, ...]
    lost: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Words:
    """Words as tokens.

    Args:
        word_T: the word that each token begins in, or the first that it touches; -1 for none.
        first_W: the token that speaks for each word: the first that touches it; -1 for none.
        shared: words whose token speaks for an earlier word too.
        lost: words that no token stands for.
    """

    word_T: tuple[int, ...]
    first_W: tuple[int, ...]
    shared: tuple[int, ...]
    lost: tuple[int, ...]


class Places:
    """The tokens of a text, to be looked up by character.

    Args:
        offsets_T: characters of each token.
    """

    def __init__(self, offsets_T: Sequence[Place]) -> None:
        self.size = len(offsets_T)
        self.tokens = [token for token, (start, end) in enumerate(offsets_T) if start < end]
        # Offsets step back where a normaliser reorders marks; what is searched may not.
        starts = accumulate((offsets_T[token][0] for token in reversed(self.tokens)), min)
        self.starts = list(starts)[::-1]
        self.ends = list(accumulate((offsets_T[token][1] for token in self.tokens), max))

    def inside(self, start: int, end: int) -> range:
        """Give which of `tokens` touch the characters from `start` to `end`."""
        if start >= end:
            return range(0)
        return range(bisect_right(self.ends, start), bisect_left(self.starts, end))

    def run(self, start: int, end: int) -> Run | None:
        """Give the tokens that touch the characters from `start` to `end`; None if none does."""
        touched = self.inside(start, end)
        if not touched:
            return None
        first, last = touched[0], touched[-1]
        exact = self.starts[first] == start and self.ends[last] == end
        return Run(self.tokens[first], self.tokens[last] + 1, exact)


def run_of(text: str, offsets_T: Sequence[Place], start: int, end: int) -> Run | None:
    """Give the tokens of a stretch of `text`, outer blanks aside; None if no token touches it."""
    return Places(offsets_T).run(*trimmed(text, start, end))


def align_spans(text: str, offsets_T: Sequence[Place], spans: Iterable[Span]) -> Targets:
    """Give each token its BIO tag.

    A token that touches two spans belongs to the earlier one.

    Args:
        text: the text, for the outer blanks of spans, which count for nothing.
        offsets_T: characters of each token.
        spans: labelled stretches; where they overlap, the earlier one has the token.
    """
    places = Places(offsets_T)
    tags: list[str | None] = [None] * places.size
    for token in places.tokens:
        tags[token] = OUTSIDE
    inexact: list[Span] = []
    lost: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        start, end = trimmed(text, span.start, span.end)
        touched = [places.tokens[place] for place in places.inside(start, end)]
        free = [token for token in touched if tags[token] == OUTSIDE]
        for token in free:
            tags[token] = f"I-{span.label}"
        run = places.run(start, end)
        if free:
            tags[free[0]] = f"B-{span.label}"
            if free != touched or run is None or not run.exact:
                inexact.append(span)
        else:
            lost.append(span)
    return Targets(tuple(tags), tuple(inexact), tuple(lost))


def spans_of(text: str, offsets_T: Sequence[Place], tags_T: Sequence[str | None]) -> list[Span]:
    """Give the spans that BIO tags stand for, without outer blanks, in order, none overlapping.

    An `I-` that continues nothing begins a span, as conlleval has it. What is None or stands for
    no characters neither continues nor ends a span.
    """
    found: list[Span] = []
    open_span: Span | None = None
    for (start, end), tag in zip(offsets_T, tags_T, strict=True):
        if tag is None or start >= end:
            continue
        kind, _, label = tag.partition("-")
        if open_span is not None and kind == "I" and label == open_span.label:
            open_span = Span(open_span.start, max(end, open_span.end), label)
            continue
        if open_span is not None:
            found.append(open_span)
        # Two tokens may share a character, two spans may not.
        free = max(start, found[-1].end) if found else start
        open_span = Span(free, end, label) if kind in ("B", "I") and free < end else None
    if open_span is not None:
        found.append(open_span)
    stretches = [(trimmed(text, span.start, span.end), span.label) for span in found]
    return [Span(start, end, label) for (start, end), label in stretches if start < end]


def tags_of(scores_TL: Sequence[Sequence[float]], tags_L: Sequence[str]) -> list[str]:
    """Give the tag with the highest score of each token; the first of equals."""
    return [tags_L[max(range(len(tags_L)), key=scores.__getitem__)] for scores in scores_TL]


def align_words(offsets_T: Sequence[Place], words: Sequence[Place]) -> Words:
    """Say which token speaks for which word.

    Args:
        offsets_T: characters of each token.
        words: characters of each word, in order, none overlapping.
    """
    places = Places(offsets_T)
    word_T = [-1] * places.size
    first_W: list[int] = []
    shared: list[int] = []
    for word, (start, end) in enumerate(words):
        touched = [places.tokens[place] for place in places.inside(start, end)]
        own = [token for token in touched if word_T[token] < 0]
        for token in own:
            word_T[token] = word
        first_W.append(own[0] if own else touched[0] if touched else -1)
        if touched and not own:
            shared.append(word)
    lost = tuple(word for word, token in enumerate(first_W) if token < 0)
    return Words(tuple(word_T), tuple(first_W), tuple(shared), lost)
