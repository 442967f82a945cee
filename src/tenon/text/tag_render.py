"""TagRenderer: texts to windows of tokens, each word or token with a class.

A unit is what gets a class: a word, spoken for by its first token, where the rows have words;
else every token. Words of which one token is made are one unit. T tokens of a text, U units.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from transformers import PreTrainedTokenizerBase

from tenon.core.files import digest_of
from tenon.data.example import Example
from tenon.data.gold import Place, Span
from tenon.text.alignment import OUTSIDE, Targets, align_spans, align_words
from tenon.text.render import UNLABELLED, Rendered
from tenon.text.tally import packed
from tenon.text.windows import NOWHERE, WindowedText, WindowTokens, encode_windows

OVERLAP_SHARE = 4
"""Neighbouring windows share a quarter of the room."""
_WORD = re.compile(
    "[\u2e80-\u2fdf\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
    r"|[^\W_]+(?:['’\-.][^\W_]+)*|[^\s]"
)


def tags_for(labels: Sequence[str], *, single: bool) -> tuple[str, ...]:
    """Give the classes of units: outside, and the first and further units of each label's spans.

    Args:
        labels: of spans.
        single: whether every span is one unit, so that none goes on.
    """
    if single:
        return (OUTSIDE, *(f"B-{label}" for label in labels))
    return (OUTSIDE, *(f"{letter}-{label}" for label in labels for letter in "BI"))


def words_of(text: str) -> list[Place]:
    """Split a text whose words are not given: letters and digits, signs, Chinese characters."""
    return [(match.start(), match.end()) for match in _WORD.finditer(text)]


@dataclass(frozen=True, slots=True)
class _Units:
    """The units of one text.

    Args:
        places_T: for each token the characters of the unit that it speaks for, or `NOWHERE`.
        classes_T: the class of that unit; -1 without one.
        tally: what could not be done; see `tenon.text.tally`.
    """

    places_T: list[Place]
    classes_T: list[int]
    tally: dict[str, int]


@dataclass(frozen=True)
class TagRenderer:
    """Texts with labelled spans.

    A text longer than the limit is read in overlapping windows; each unit has its class in
    the window where it sees most of the text.

    Args:
        tokenizer: of the base, with offsets.
        tags: the classes of units; see `tags_for`.
        limit: most tokens of a window, special tokens included.
        units: "words" or "tokens".
    """

    tokenizer: PreTrainedTokenizerBase
    tags: tuple[str, ...]
    limit: int
    units: str
    _classes: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        classes = {tag: index for index, tag in enumerate(self.tags)}
        object.__setattr__(self, "_classes", classes)

    @property
    def digest(self) -> str:
        """Identify everything but the tokenizer that decides the token ids and classes."""
        return digest_of(["tag.v2", self.tags, self.limit, self.units])

    def rows(self, examples: Sequence[Example]) -> Rendered:
        """Give one row a window; its targets are the classes of its tokens, -1 where none is."""
        room = self.limit - self.tokenizer.num_special_tokens_to_add(pair=False)
        texts = [example.text for example in examples]
        read = encode_windows(
            self.tokenizer, texts, limit=self.limit, overlap=max(0, room // OVERLAP_SHARE)
        )
        made = Rendered([], [], [], [], [], [], [], [])
        for place, (example, windowed) in enumerate(zip(examples, read, strict=True)):
            found = self._units(example, windowed)
            told = packed(found.tally | {"unread": windowed.unread, "unknown": windowed.unknown})
            for window in windowed.windows:
                _add(made, place, window, found)
                # Of a text in several windows the first one tells.
                made.tally.append(told if window is windowed.windows[0] else None)  # type: ignore[union-attr]
        typed = bool(made.types) and any(map(any, made.types))
        return made if typed else replace(made, types=None)

    def _units(self, example: Example, read: WindowedText) -> _Units:
        """Give for each token the characters of the unit it speaks for, and the unit's class."""
        spans = cast(tuple[Span, ...] | None, example.gold)
        if self.units == "tokens":
            found = align_spans(example.text, read.offsets_T, spans or ())
            units = [
                place if tag is not None else NOWHERE
                for place, tag in zip(read.offsets_T, found.tags_T, strict=True)
            ]
            return _Units(units, [self._class(tag, spans) for tag in found.tags_T], _misfits(found))
        words = example.words or words_of(example.text)
        spoken = align_words(read.offsets_T, words)
        places = _joined(words, spoken.first_W)
        found = align_spans(example.text, list(places.values()), spans or ())
        units = [NOWHERE] * len(read.offsets_T)
        classes = [UNLABELLED] * len(read.offsets_T)
        for (token, place), tag in zip(places.items(), found.tags_T, strict=True):
            units[token], classes[token] = place, self._class(tag, spans)
        silent = len(spoken.lost)
        joined = len(words) - silent - len(places)
        return _Units(units, classes, {**_misfits(found), "unspoken": silent, "joined": joined})

    def _class(self, tag: str | None, spans: tuple[Span, ...] | None) -> int:
        if tag is None or spans is None:
            return UNLABELLED
        # Where every span is one unit, the further tokens of a word are units of their own.
        known = tag if tag in self._classes else tag.replace("I-", "B-", 1)
        return self._classes.get(known, UNLABELLED)


def _joined(words: Sequence[Place], first_W: Sequence[int]) -> dict[int, Place]:
    """Give for each token that speaks for words the characters of all of them.

    A token may be several words, as where the words of Chinese are its characters: these have one
    tag together.
    """
    places: dict[int, Place] = {}
    for (start, end), token in zip(words, first_W, strict=True):
        if token >= 0:
            places[token] = (places.get(token, (start, end))[0], end)
    return places


def _misfits(found: Targets) -> dict[str, int]:
    return {"inexact": len(found.inexact), "lost": len(found.lost)}


def _add(made: Rendered, place: int, window: WindowTokens, found: _Units) -> None:
    """Enter one window; a token that is scored in a neighbour is nothing here."""
    inside = window.scored
    units = window.spread(found.places_T, NOWHERE)
    classes = window.spread(found.classes_T, UNLABELLED)
    scored = range(inside.start, inside.stop)
    made.example.append(place)
    made.ids.append(window.ids)
    assert made.types is not None and made.starts is not None and made.ends is not None  # noqa: S101, PT018
    made.types.append(window.types or [])
    made.cut.append(0)
    made.targets.append([float(c) if at in scored else UNLABELLED for at, c in enumerate(classes)])
    made.starts.append([u[0] if at in scored else -1 for at, u in enumerate(units)])
    made.ends.append([u[1] if at in scored else -1 for at, u in enumerate(units)])
