"""TagRenderer: texts to windows of tokens, each word or token with a class.

A unit is what gets a class: a word, spoken for by its first token, where the rows have words;
else every token. T tokens of a text, U units.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from transformers import PreTrainedTokenizerBase

from tenon.core.files import digest_of
from tenon.data.example import Example
from tenon.data.gold import Place, Span
from tenon.text.alignment import OUTSIDE, align_spans, align_words
from tenon.text.render import UNLABELLED, Rendered
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
        return digest_of(["tag.v1", self.tags, self.limit, self.units])

    def rows(self, examples: Sequence[Example]) -> Rendered:
        """Give one row a window; its targets are the classes of its tokens, -1 where none is."""
        room = self.limit - self.tokenizer.num_special_tokens_to_add(pair=False)
        texts = [example.text for example in examples]
        read = encode_windows(
            self.tokenizer, texts, limit=self.limit, overlap=max(0, room // OVERLAP_SHARE)
        )
        made = Rendered([], [], [], [], [], [], [])
        for place, (example, windowed) in enumerate(zip(examples, read, strict=True)):
            units_T, classes_T = self._units(example, windowed)
            for window in windowed.windows:
                _add(made, place, window, units_T, classes_T)
        types = made.types if made.types and any(map(any, made.types)) else None
        return Rendered(
            made.example, made.ids, types, made.cut, made.targets, made.starts, made.ends
        )

    def _units(self, example: Example, read: WindowedText) -> tuple[list[Place], list[int]]:
        """Give for each token the characters of the unit it speaks for, and the unit's class."""
        spans = cast(tuple[Span, ...] | None, example.gold)
        if self.units == "tokens":
            tags = align_spans(example.text, read.offsets_T, spans or ()).tags_T
            units = [
                place if tag is not None else NOWHERE
                for place, tag in zip(read.offsets_T, tags, strict=True)
            ]
            return units, [self._class(tag, spans) for tag in tags]
        words = example.words or words_of(example.text)
        tags = align_spans(example.text, words, spans or ()).tags_T
        first_W = align_words(read.offsets_T, words).first_W
        units = [NOWHERE] * len(read.offsets_T)
        classes = [UNLABELLED] * len(read.offsets_T)
        for word, token in reversed(list(enumerate(first_W))):
            if token >= 0:
                units[token], classes[token] = words[word], self._class(tags[word], spans)
        return units, classes

    def _class(self, tag: str | None, spans: tuple[Span, ...] | None) -> int:
        if tag is None or spans is None:
            return UNLABELLED
        # Where every span is one unit, the further tokens of a word are units of their own.
        known = tag if tag in self._classes else tag.replace("I-", "B-", 1)
        return self._classes.get(known, UNLABELLED)


def _add(
    made: Rendered,
    place: int,
    window: WindowTokens,
    units_T: Sequence[Place],
    classes_T: Sequence[int],
) -> None:
    """Enter one window; a token that is scored in a neighbour is nothing here."""
    inside = window.scored
    units = window.spread(units_T, NOWHERE)
    classes = window.spread(classes_T, UNLABELLED)
    scored = range(inside.start, inside.stop)
    made.example.append(place)
    made.ids.append(window.ids)
    assert made.types is not None and made.starts is not None and made.ends is not None  # noqa: S101, PT018
    made.types.append(window.types or [])
    made.cut.append(0)
    made.targets.append([float(c) if at in scored else UNLABELLED for at, c in enumerate(classes)])
    made.starts.append([u[0] if at in scored else -1 for at, u in enumerate(units)])
    made.ends.append([u[1] if at in scored else -1 for at, u in enumerate(units)])
