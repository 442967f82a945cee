"""Written answers: what is learned to be written, where it is no answer, or not all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from zlib import compress

from tenon.data.example import Example
from tenon.data.finder import Seen, Sightings, Sort
from tenon.data.findings import Finding
from tenon.data.ledger import Ledger
from tenon.data.normal import normal
from tenon.data.refusals import is_refusal

ANSWERS: dict[str, Sort] = {
    "refused-answers": Sort(
        "warning",
        "answer",
        'decline what is asked ("As an AI ...", "很抱歉，我无法回答 ...")',
        "remove them unless the model is to refuse the same",
    ),
    "cut-answers": Sort(
        "warning",
        "answer",
        "break off within a sentence or a block of code",
        "they were cut by a limit of length; the model would learn to stop there",
    ),
    "repeating-answers": Sort(
        "warning",
        "answer",
        "repeat a few words over and over",
        "remove them; a model that fell into a loop wrote them",
    ),
    "echoed-answers": Sort(
        "warning",
        "answer",
        "say again what was asked",
        "give the answers, or remove these rows",
    ),
}
LONG = 60
"""Characters from which on an answer is expected to end as a sentence does."""
MOST_END = 0.95
"""The share of long answers that must end as sentences do, so that others are told."""
_ENDS = frozenset(".!?…。！？；;:：)]}>）】》」』\"'”’`*|~～-—_=$％%\\/")
_FENCE = "```"
_LONG_ENOUGH = 200
_REPEATING = 0.12
_MOST_LONGER = 2


@dataclass
class WrittenAnswers:
    """Finds answers that a model should not learn to write.

    Args:
        ended: whether each answer is to end as a sentence does; lines of a translation need not.
    """

    ended: bool = True
    sightings: Sightings = field(default_factory=lambda: Sightings(ANSWERS))
    long: int = 0
    open: Sightings = field(default_factory=lambda: Sightings(ANSWERS))

    def see(self, seen: Seen) -> None:
        """Take in one row."""
        example = seen.example
        for answer in learned(example):
            self._judge(answer, example.origin)
            if len(answer) <= _MOST_LONGER * len(example.text) and normal(answer) == seen.normal:
                self.sightings.add("echoed-answers", example.origin)

    def found(self, ledgers: Mapping[str, Ledger]) -> Iterator[Finding]:
        """Give what was found; open ends only where nearly all answers have ends."""
        del ledgers
        if self.open.counts["cut-answers"] <= (1 - MOST_END) * self.long:
            for origin in self.open.rows.get("cut-answers", []):
                self.sightings.add("cut-answers", origin)
        yield from self.sightings.findings()

    def _judge(self, answer: str, origin: str) -> None:
        if is_refusal(answer):
            self.sightings.add("refused-answers", origin)
        if answer.count(_FENCE) % 2:
            self.sightings.add("cut-answers", origin)
        elif self.ended and len(answer) >= LONG:
            self.long += 1
            if not _ended(answer):
                self.open.add("cut-answers", origin)
        if len(answer) >= _LONG_ENOUGH and is_loop(answer):
            self.sightings.add("repeating-answers", origin)


def learned(example: Example) -> Iterator[str]:
    """Give the answers of a row that are learned."""
    if example.turns is not None:
        yield from (turn.text for turn in example.turns if turn.trained)
    elif isinstance(example.gold, tuple) and example.gold and isinstance(example.gold[0], str):
        yield example.gold[0]


def is_loop(answer: str) -> bool:
    """Tell whether a text is nearly all repetition, as it can be packed to an eighth or less."""
    packed = answer.encode()
    return len(compress(packed, 1)) < _REPEATING * len(packed)


def _ended(answer: str) -> bool:
    end = answer.rstrip()[-1:]
    # A number, an emoji or a formula may end an answer; a letter or a comma does not.
    return end in _ENDS or not (end.isalpha() or end in ",，、")
