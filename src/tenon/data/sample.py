"""Sample: a seeded choice of rows from a stream of unknown length, within bounds of memory."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from random import Random

Texts = tuple[str, str]


@dataclass(slots=True)
class Sample:
    """Keep rows with the smallest of independent random priorities: every row is as likely.

    Args:
        seed: of the choice.
        rows: how many rows at most.
        characters: how many characters at most; beyond them fewer rows are kept.
    """

    seed: int
    rows: int = 20_000
    characters: int = 64_000_000
    seen: int = field(default=0, init=False)
    _random: Random = field(init=False)
    _heap: list[tuple[float, int, Texts]] = field(
        default_factory=list[tuple[float, int, Texts]], init=False
    )
    _held: int = field(default=0, init=False)
    _limit: float = field(default=1.0, init=False)

    def __post_init__(self) -> None:
        self._random = Random(self.seed)

    def offer(self, text: str, pair: str | None) -> None:
        """Consider one row."""
        self.seen += 1
        priority = self._random.random()
        if priority >= self._limit:
            return
        heapq.heappush(self._heap, (-priority, self.seen, (text, pair or "")))
        self._held += len(text) + len(pair or "")
        while len(self._heap) > self.rows or (self._held > self.characters and len(self._heap) > 1):
            dropped, _, texts = heapq.heappop(self._heap)
            self._held -= len(texts[0]) + len(texts[1])
            self._limit = -dropped

    @property
    def texts(self) -> list[Texts]:
        """The chosen rows, text and pair, in the order of the stream."""
        return [texts for _, _, texts in sorted(self._heap, key=lambda entry: entry[1])]
