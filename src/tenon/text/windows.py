"""Windows: a long text as overlapping runs of tokens, each token scored in one of them.

A text that is longer than the base can read is read in windows. Every window but the last is
full, neighbours share `overlap` tokens, and a token is scored where it sees most of the text on
its poorer side. T tokens of a text, without special tokens and question; W words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from tenon.core.errors import PlanError
from tenon.text.alignment import Place, trimmed

Value = TypeVar("Value")
NOWHERE: Place = (-1, -1)


@dataclass(frozen=True, slots=True)
class Window:
    """A run of a text's tokens, ends exclusive.

    Args:
        first: its first token.
        last: after its last token.
        scored_first: first token that is scored here.
        scored_last: after the last token that is scored here.
    """

    first: int
    last: int
    scored_first: int
    scored_last: int


def windows(count: int, room: int, overlap: int) -> tuple[Window, ...]:
    """Cut `count` tokens into the fewest windows of at most `room` tokens.

    Every token is in a window and is scored in exactly one: where the fewer of its neighbours to
    the left and to the right are most; the earlier window where two are equal. A text without
    tokens has one empty window, so that every text is read.

    Args:
        count: tokens of the text.
        room: most tokens of a window, at least 1.
        overlap: tokens that neighbouring windows share, less than `room`.

    Raises:
        ValueError: `room` or `overlap` is out of range.
    """
    if not 0 <= overlap < room:
        raise ValueError(f"overlap {overlap}, room {room}: 0 <= overlap < room must hold")
    number = 1 + max(0, -(-(count - room) // (room - overlap)))
    firsts = [place * (room - overlap) for place in range(number)]
    lasts = [min(count, first + room) for first in firsts]
    # Left of the middle of what two neighbours share, the earlier one sees more on the poorer side.
    inner = [(first + last + 1) // 2 for first, last in zip(firsts[1:], lasts, strict=False)]
    borders = [0, *inner, count]
    return tuple(map(Window, firsts, lasts, borders, borders[1:]))


@dataclass(frozen=True, slots=True)
class WindowTokens:
    """One window as the base reads it.

    Args:
        ids: token ids, special tokens and question included.
        types: token types, or None where the tokenizer has none.
        start: place in `ids` of the text's token `window.first`.
        window: which tokens of the text these are.
    """

    ids: list[int]
    types: list[int] | None
    start: int
    window: Window

    def spread(self, values_T: Sequence[Value], outside: Value) -> list[Value]:
        """Lay values of the text's T tokens over `ids`; `outside` for all that is not text."""
        inside = values_T[self.window.first : self.window.last]
        rest = len(self.ids) - self.start - len(inside)
        return [outside] * self.start + list(inside) + [outside] * rest

    @property
    def scored(self) -> slice:
        """The places in `ids` of the tokens that are scored here."""
        shift = self.start - self.window.first
        return slice(self.window.scored_first + shift, self.window.scored_last + shift)


@dataclass(frozen=True, slots=True)
class WindowedText:
    """A text in windows.

    Args:
        offsets_T: for each of its T tokens the characters it stands for, end exclusive, without
            outer blanks; start equals end where it stands for blanks alone.
        windows: at least one.
        question_cut: tokens that its question lost.
        unread: characters, blanks aside, that no token stands for: the tokenizer drops them.
        unknown: tokens that are the unknown token.
    """

    offsets_T: list[Place]
    windows: tuple[WindowTokens, ...]
    question_cut: int
    unread: int
    unknown: int

    def gather(
        self, outputs: Sequence[npt.NDArray[np.float32]]
    ) -> npt.NDArray[np.float32]:  # [T, ...]
        """Give for each of the T tokens the output of the window where it is scored.

        Args:
            outputs: for each window an array [len(ids), ...].
        """
        pairs = zip(self.windows, outputs, strict=True)
        return np.concatenate([output[window.scored] for window, output in pairs])


@dataclass(frozen=True, slots=True)
class Frame:
    """What a tokenizer adds around one text, or around a pair of texts.

    Args:
        before: ids before the first text.
        between: ids between the two texts; empty for one text.
        after: ids behind the last text.
        types: types of `before`, first text, `between`, second text, `after`; None without types.
    """

    before: list[int]
    between: list[int]
    after: list[int]
    types: tuple[int, int, int, int, int] | None

    @property
    def size(self) -> int:
        """Special tokens in all."""
        return len(self.before) + len(self.between) + len(self.after)

    def typed(self, first: int, second: int) -> list[int] | None:
        """Give the types of a row whose texts have `first` and `second` tokens."""
        if self.types is None:
            return None
        counts = (len(self.before), first, len(self.between), second, len(self.after))
        return [kind for kind, count in zip(self.types, counts, strict=True) for _ in range(count)]


def refuse_without_offsets(tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer that cannot say which characters a token stands for.

    Raises:
        PlanError: it is not backed by the tokenizers library.
    """
    if not tokenizer.is_fast:
        raise PlanError(
            f"base: its tokenizer, {type(tokenizer).__name__}, cannot tell which characters a "
            "token stands for, which this task needs; choose a base that has a tokenizer.json"
        )


def frame(tokenizer: PreTrainedTokenizerBase, *, pair: bool) -> Frame:
    """Find what the tokenizer adds around one text or around two."""
    if not tokenizer.all_special_tokens:
        return Frame([], [], [], None)
    # A special token is one token in every tokenizer, which no ordinary text is.
    probe = tokenizer.all_special_tokens[0]
    encoded = tokenizer(probe, probe if pair else None, return_attention_mask=False)
    ids: list[int] = encoded["input_ids"]
    sides: list[int | None] = encoded.sequence_ids(0)
    first = sides.index(0)
    last = sides.index(1) if pair else first
    types: list[int] | None = encoded.get("token_type_ids")
    kinds = None
    if types:
        tail = types[last + 1] if last + 1 < len(types) else types[last]
        middle = types[first + 1] if last > first + 1 else 0
        kinds = (types[0], types[first], middle, types[last], tail)
    return Frame(ids[:first], ids[first + 1 : last], ids[last + 1 :], kinds)


def encode_windows(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    limit: int,
    overlap: int,
    questions: Sequence[str] | None = None,
) -> list[WindowedText]:
    """Turn texts into windows of token ids with the characters that each token stands for.

    What a text says stays text: "[SEP]" typed by a user is not the special token. A question is
    read whole in every window of its text, unless it takes more than half of the room, to which
    it is cut on the right. The overlap is at most half of the room that is left for the text.

    Args:
        texts: the texts; of a pair, the contexts.
        limit: most tokens of a window, special tokens and question included.
        overlap: tokens that neighbouring windows share.
        questions: one for each text, or None.

    Raises:
        PlanError: the tokenizer has no offsets, or `limit` leaves no room for text.
    """
    refuse_without_offsets(tokenizer)
    around = frame(tokenizer, pair=questions is not None)
    least = around.size + (1 if questions is None else 2)
    if limit < least:
        raise PlanError(
            f"text.max_tokens = {limit}: leaves no room for text; the base's tokenizer adds "
            f"{around.size} tokens to a window, so that it must be at least {least}"
        )
    found = _plain(tokenizer, texts)
    asked: list[list[int] | None] = [None] * len(texts)
    if questions is not None:
        asked = _plain(tokenizer, questions)["input_ids"]
    blank = _blank_ids(tokenizer, {token for ids in found["input_ids"] for token in ids})
    room = limit - around.size
    return [
        _windowed(text, ids, offsets, question, (around, room, overlap), blank, tokenizer)
        for text, ids, offsets, question in zip(
            texts, found["input_ids"], found["offset_mapping"], asked, strict=True
        )
    ]


def _plain(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Any:
    """Encode texts without special tokens, neither added nor typed."""
    if not texts:
        return {"input_ids": [], "offset_mapping": []}
    whole: Any = tokenizer
    backend = whole.backend_tokenizer
    before = backend.encode_special_tokens
    try:
        return tokenizer(
            list(texts),
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
            verbose=False,
        )
    finally:
        backend.encode_special_tokens = before


def _blank_ids(tokenizer: PreTrainedTokenizerBase, ids: set[int]) -> frozenset[int]:
    """Give those of `ids` that stand for blanks alone.

    Their offsets mislead: the "▁" that SentencePiece puts before a text is given the place of
    the text's first character.
    """
    whole: Any = tokenizer
    backend = whole.backend_tokenizer
    if backend.decoder is None:
        pieces = {token: backend.id_to_token(token).strip("▁Ġ") for token in ids}
    else:
        pieces = {token: backend.decode([token], skip_special_tokens=False) for token in ids}
    return frozenset(token for token, piece in pieces.items() if not piece.strip("▁ \t\r\n"))


def _windowed(
    text: str,
    ids: list[int],
    offsets: list[Place],
    question: list[int] | None,
    sizes: tuple[Frame, int, int],
    blank: frozenset[int],
    tokenizer: PreTrainedTokenizerBase,
) -> WindowedText:
    around, room, overlap = sizes
    kept = (question or [])[: room // 2]
    space = room - len(kept)
    head = [*around.before, *kept, *around.between]
    rows: list[WindowTokens] = []
    for window in windows(len(ids), space, min(overlap, space // 2)):
        inside = ids[window.first : window.last]
        counts = (len(inside), 0) if question is None else (len(kept), len(inside))
        row = [*head, *inside, *around.after]
        rows.append(WindowTokens(row, around.typed(*counts), len(head), window))
    places = [
        (start, start) if token in blank else trimmed(text, start, end)
        for token, (start, end) in zip(ids, offsets, strict=True)
    ]
    strange = tokenizer.unk_token_id
    unknown = ids.count(strange) if isinstance(strange, int) else 0
    cut = len(question or []) - len(kept)
    return WindowedText(places, tuple(rows), cut, unread(text, places), unknown)


def unread(text: str, offsets_T: Sequence[Place]) -> int:
    """Count the characters of `text`, blanks aside, that no token stands for."""
    missed = reached = 0
    for start, end in sorted(offsets_T):
        if start > reached:
            missed += _inked(text[reached:start])
        reached = max(reached, end)
    return missed + _inked(text[reached:])


def _inked(text: str) -> int:
    return sum(map(len, text.split()))
