"""Tally: what a tokenizer could not do with some texts, counted, so that nothing is silent."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping

TOLD: Mapping[str, tuple[str, str, str]] = {
    "inexact": (
        "span",
        "begins or ends within a token, all of which is tagged",
        "begin or end within a token, all of which is tagged",
    ),
    "lost": (
        "span",
        "has no token of its own, and is not found",
        "have no token of their own, and are not found",
    ),
    "unspoken": (
        "word",
        "has no token, and gets no answer",
        "have no token, and get no answer",
    ),
    "joined": (
        "word",
        "is in one token with the word before it, and has its tag",
        "are in one token with the word before them, and have its tag",
    ),
    "unread": (
        "character",
        "is dropped by the base's tokenizer",
        "are dropped by the base's tokenizer",
    ),
    "unknown": (
        "token",
        "stands for what the base's tokenizer does not know",
        "stand for what the base's tokenizer does not know",
    ),
    "unheld": (
        "question",
        "has an answer that no window holds whole, and is learned as if it had none",
        "have answers that no window holds whole, and are learned as if they had none",
    ),
    "trimmed": (
        "turn",
        "loses outer blanks in the base's chat template",
        "lose outer blanks in the base's chat template",
    ),
    "altered": (
        "turn",
        "that is not learned is changed or left out by the base's chat template",
        "that are not learned are changed or left out by the base's chat template",
    ),
    "escaped": (
        "control token",
        "was typed in a text, and stays text",
        "were typed in texts, and stay text",
    ),
}
"""By kind: what one of them is called, what one of them is or does, and what several do."""


def packed(counts: Mapping[str, int]) -> str | None:
    """Write the counts of one text; None where all are 0."""
    found = {kind: count for kind, count in counts.items() if count}
    return json.dumps(found) if found else None


def summed(cells: Iterable[str | None]) -> dict[str, int]:
    """Add up what `packed` wrote."""
    total = Counter[str]()
    for cell in cells:
        if cell is not None:
            total.update(json.loads(cell))
    return dict(total)


def told(counts: Mapping[str, int]) -> list[str]:
    """Give a sentence for each kind of thing that was counted."""
    lines: list[str] = []
    for kind, (noun, one, several) in TOLD.items():
        if number := counts.get(kind, 0):
            said = f"{noun} {one}" if number == 1 else f"{noun}s {several}"
            lines.append(f"{number:,} {said}")
    return lines
