"""Spelling: the text of an answer while it is written, told as soon as it is sure.

A character may take several tokens, and so may a text before which the answer ends: what could
still become either is held back. All that was told, end to end, is the answer's text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

HALF = "\N{REPLACEMENT CHARACTER}"
"""Stands where the bytes of a character have not all been written."""
Decode = Callable[[Sequence[int]], str]
"""Gives the text of token ids."""


@dataclass(eq=False)
class Spelling:
    """The text of one answer.

    Tokens are spelled with those before them, of which a few are enough: they tell whether a space
    stands between.

    Args:
        decode: token ids to text.
        stop: texts before which the answer ends.
        stopped: whether one of them was written.
    """

    decode: Decode
    stop: tuple[str, ...] = ()
    stopped: bool = False
    _ids: list[int] = field(default_factory=list[int])
    _begin: int = 0
    _spelled: int = 0
    _held: str = ""

    def put(self, token: int) -> str:
        """Take in the next token; give what is sure of the text and was not given before."""
        self._ids.append(token)
        fresh = self._fresh()
        if fresh and not fresh.endswith(HALF):
            self._begin, self._spelled = self._spelled, len(self._ids)
            self._held += fresh
        return self._sure()

    def end(self) -> str:
        """Give what was held back, as nothing follows."""
        if self.stopped:
            return ""
        self._held += self._fresh()
        text, self._spelled = self._sure(), len(self._ids)
        rest, self._held = self._held, ""
        return text + rest

    def _fresh(self) -> str:
        """Give what the tokens say that were not yet spelled."""
        before = self.decode(self._ids[self._begin : self._spelled])
        now = self.decode(self._ids[self._begin :])
        return now[len(before) :] if now.startswith(before) else ""

    def _sure(self) -> str:
        """Give what is held and cannot be part of a stop text."""
        found = [place for text in self.stop if (place := self._held.find(text)) >= 0]
        if found:
            self.stopped = True
            sure, self._held = self._held[: min(found)], ""
            return sure
        kept = max((_overlap(self._held, text) for text in self.stop), default=0)
        cut = len(self._held) - kept
        sure, self._held = self._held[:cut], self._held[cut:]
        return sure


def _overlap(text: str, stop: str) -> int:
    """Give how many of the last characters of `text` are the first of `stop`."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0
