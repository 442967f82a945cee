"""AnswerRenderer: questions with their contexts to windows of tokens, each with an answer's place.

A row's targets are three numbers: the places of the answer's first and last token, and the most
tokens that an answer may have. Place 0, the row's first token, stands for no answer in this
window. T tokens of a context.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import cast

from transformers import PreTrainedTokenizerBase

from tenon.core.files import digest_of
from tenon.data.example import Example
from tenon.data.gold import NOWHERE as UNPLACED
from tenon.data.gold import AnswerSpan, Place
from tenon.text.render import JOINT, UNLABELLED, Rendered
from tenon.text.tally import packed
from tenon.text.windows import NOWHERE, WindowedText, WindowTokens, encode_windows

OVERLAP_SHARE = 3
"""Neighbouring windows share a third of the room, so that most answers lie whole in one."""
LONG_SHARE = 0.99
LEAST_TOKENS, MEASURED_ROWS = 16, 5_000
NO_PLACE = (0, 0)
UNKNOWN_PLACE = (UNLABELLED, UNLABELLED)
ABSENT = (-2, -2)
"""Stands for the tokens of an answer that no window holds, or that is none."""


@dataclass(frozen=True)
class AnswerRenderer:
    """Questions about contexts.

    A context longer than the limit is read in overlapping windows, each behind the whole
    question. Of several answers the one that is given most often is learned, the first of these.

    Args:
        tokenizer: of the base, with offsets.
        classes: what the head scores.
        limit: most tokens of a window, question and special tokens included.
        longest: most tokens of an answer.
    """

    tokenizer: PreTrainedTokenizerBase
    classes: tuple[str, ...]
    limit: int
    longest: int
    _separates: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        single = self.tokenizer.num_special_tokens_to_add(pair=False)
        separates = self.tokenizer.num_special_tokens_to_add(pair=True) > single
        object.__setattr__(self, "_separates", separates)

    @property
    def digest(self) -> str:
        """Identify everything but the tokenizer that decides the token ids and places."""
        return digest_of(["answer.v1", self.classes, self.limit, self.longest])

    def rows(self, examples: Sequence[Example]) -> Rendered:
        """Give one row a window.

        A tokenizer without a border between two texts gets an empty line behind the question.
        """
        border = "" if self._separates else JOINT
        read = encode_windows(
            self.tokenizer,
            [example.pair or "" for example in examples],
            limit=self.limit,
            overlap=self.limit // OVERLAP_SHARE,
            questions=[example.text + border for example in examples],
        )
        found = Rendered([], [], [], [], [], [], [], [])
        for place, (example, windowed) in enumerate(zip(examples, read, strict=True)):
            answer = _answer_tokens(example, windowed, self.longest)
            held = [_within(window, answer) for window in windowed.windows]
            unheld = bool(example.gold) and all(within == NO_PLACE for within in held)
            told = {"unread": windowed.unread, "unknown": windowed.unknown, "unheld": int(unheld)}
            for number, (window, within) in enumerate(zip(windowed.windows, held, strict=True)):
                # Of a context in several windows the first one tells.
                found.tally.append(None if number else packed(told))  # type: ignore[union-attr]
                found.cut.append(0 if number else windowed.question_cut)
                found.targets.append([*map(float, within), float(self.longest)])
                _add(found, place, window, windowed.offsets_T)
        typed = bool(found.types) and any(map(any, found.types))
        return found if typed else replace(found, types=None)


def usual_length(
    tokenizer: PreTrainedTokenizerBase, examples: Iterable[Example], limit: int
) -> int:
    """Give the most tokens of an answer, by those of train: 99 of 100 have no more.

    It is at least 16, and no more than what neighbouring windows can share.

    Args:
        examples: of train; the first 5,000 are looked at.
        limit: most tokens of a window.
    """
    known = [cast(tuple[AnswerSpan, ...], e.gold or ()) for e in islice(examples, MEASURED_ROWS)]
    texts = sorted({answer.text for answers in known for answer in answers})
    if not texts:
        return LEAST_TOKENS
    encoded = tokenizer(texts, add_special_tokens=False, verbose=False)
    lengths = sorted(len(ids) for ids in encoded["input_ids"])
    long = lengths[min(len(lengths) - 1, int(LONG_SHARE * len(lengths)))]
    return max(LEAST_TOKENS, min(long, limit // OVERLAP_SHARE))


def _add(found: Rendered, place: int, window: WindowTokens, offsets_T: Sequence[Place]) -> None:
    """Enter one window's tokens and their characters."""
    units = [at if at[0] < at[1] else NOWHERE for at in window.spread(offsets_T, NOWHERE)]
    assert found.types is not None and found.starts is not None and found.ends is not None  # noqa: S101, PT018
    found.example.append(place)
    found.ids.append(window.ids)
    found.types.append(window.types or [])
    found.starts.append([start for start, _ in units])
    found.ends.append([end for _, end in units])


def _answer_tokens(example: Example, read: WindowedText, longest: int) -> Place:
    """Give the first and last token, of all the context's, of the answer that is learned.

    Answers that no token, or too many, stand for are passed over; `ABSENT` where none is left or
    there is none, `UNKNOWN_PLACE` where it is not known.
    """
    gold = cast(tuple[AnswerSpan, ...] | None, example.gold)
    if gold is None:
        return UNKNOWN_PLACE
    for answer, _ in Counter(a for a in gold if a.start != UNPLACED).most_common():
        end = answer.start + len(answer.text)
        touched = [
            token
            for token, (first, last) in enumerate(read.offsets_T)
            if first < end and last > answer.start
        ]
        if touched and touched[-1] - touched[0] < longest:
            return touched[0], touched[-1]
    return ABSENT


def _within(window: WindowTokens, answer: Place) -> Place:
    """Give the places of an answer in a window, or that of no answer."""
    if answer == UNKNOWN_PLACE:
        return UNKNOWN_PLACE
    first, last = answer
    inside = window.window
    if first < inside.first or last >= inside.last:
        return NO_PLACE
    shift = window.start - inside.first
    return first + shift, last + shift
