"""Pieced: a text as tokens, where some places must be borders of tokens.

Control tokens that a user typed are no control tokens: cut in two, they are ordinary text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from tenon.text.template import refuse

Token = tuple[int, int, int]
"""Id, first character, after the last character."""


class Pieced:
    """A text as tokens, cut into pieces that are tokenized apart.

    Without cuts it is tokenized as it is. A control token that stands, in part or whole, in a
    region where it may not, is cut after its first character, which makes it ordinary text.

    Args:
        regions: start, end, and the control tokens that may not stand there.
        inner: whether text stands before this one.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        text: str,
        regions: Sequence[tuple[int, int, frozenset[int]]],
        origin: str,
        *,
        inner: bool = False,
    ) -> None:
        self.tokenizer, self.text, self.regions, self.inner = tokenizer, text, regions, inner
        added: Any = tokenizer.added_tokens_decoder
        self.added: dict[int, str] = {place: token.content for place, token in added.items()}
        self.cuts: set[int] = set()
        self.tokens = self.encode()
        self.escaped = 0
        while found := self.foreign():
            if found <= self.cuts:
                raise refuse(origin, "a control token in a text cannot stay text", "remove it")
            self.escaped += len(found - self.cuts)
            self.cuts |= found
            self.tokens = self.encode()

    def foreign(self) -> set[int]:
        """Give the cuts that turn control tokens where they may not stand into text."""
        if not self.regions:
            return set()
        cuts: set[int] = set()
        for token, first, last in self.tokens:
            if token not in self.added:
                continue
            name = self.added[token]
            typed = self.text.find(name, first, last)
            if typed < 0 and token == self.tokenizer.unk_token_id:
                continue  # it stands for a character that the vocabulary lacks
            start = max(first, typed)
            end = min(last, start + len(name))
            if any(
                token in controls and start < stop and end > begin
                for begin, stop, controls in self.regions
            ):
                cuts.add(start + 1)
        return cuts

    def encode(self) -> list[Token]:
        """Tokenize the pieces."""
        borders = [0, *sorted(self.cuts), len(self.text)]
        tokens: list[Token] = []
        for start, end in zip(borders, borders[1:], strict=False):
            tokens += self.piece(start, end)
        return tokens

    def piece(self, start: int, end: int) -> list[Token]:
        """Tokenize one piece; one that does not begin the text as if after a sign.

        Source: transformers' `encode_marked_chat`: SentencePiece puts a blank before what begins
        a text; after a line break, whose tokens are then taken off, it puts none. Where a line
        break is a token of its own kind, after which it puts one (Gemma), U+001F does the same.
        """
        piece = self.text[start:end]
        if start or self.inner:
            sign = "\x1f" if "\n" in self.added.values() else "\n"
            lead = _plain(self.tokenizer, sign)
            found = _plain(self.tokenizer, f"{sign}{piece}")
            count = len(lead)
            ids = [token for token, _, _ in found[:count]]
            if ids == [token for token, _, _ in lead]:
                shift = start - 1
                return [(token, a + shift, b + shift) for token, a, b in found[count:]]
        return [(token, a + start, b + start) for token, a, b in _plain(self.tokenizer, piece)]

    def split_at(self, border: int) -> None:
        """Make what stands before `border` the same tokens whatever follows it."""
        before = 0
        begin = max((cut for cut in self.cuts if cut <= border), default=0)
        for place, (token, first, last) in enumerate(self.tokens):
            # Tokens on the two sides of an added token do not depend on each other.
            if token in self.added and begin <= first and last <= border:
                before, begin = place, first
            elif first < begin:
                before = place + 1
        head = [token for token, _, _ in self.piece(begin, border)]
        after = [(token, last) for token, _, last in self.tokens[before : before + len(head)]]
        if [token for token, _ in after] != head or any(last > border for _, last in after):
            self.cuts.add(border)
            self.tokens = self.encode()


def _plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[Token]:
    found: Any = tokenizer(
        text,
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        verbose=False,
    )
    pairs = zip(found["input_ids"], found["offset_mapping"], strict=True)
    return [(token, first, last) for token, (first, last) in pairs]
