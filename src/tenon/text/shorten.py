"""Shorten: a text that loses tokens at one side, so that what is written around it stays whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from tenon.data.gold import Turn

TRIES = 4


class Shortened(NamedTuple):
    """A conversation whose last question was shortened.

    Args:
        turns: the conversation.
        cut: tokens that the question lost.
    """

    turns: list[Turn]
    cut: int


def shorten_question(
    tokenizer: PreTrainedTokenizerBase,
    turns: Sequence[Turn],
    excess: Callable[[Sequence[Turn]], int],
    side: str,
) -> Shortened | None:
    """Take from the last turn of the user as many tokens as make the conversation fit.

    Args:
        tokenizer: of the base, with offsets.
        turns: the conversation, which is too long.
        excess: a conversation to the tokens that it has too many; 0 or less where it fits.
        side: "left" or "right", where the text loses tokens.

    Returns:
        None where the question would lose all it has.
    """
    place = max(place for place, turn in enumerate(turns) if turn.role == "user")
    text, lost, now = turns[place].text, 0, list(turns)
    for _ in range(TRIES):
        over = excess(now)
        if over <= 0:
            return Shortened(now, lost)
        lost += over
        kept = without(tokenizer, text, lost, side)
        if not kept.strip():
            return None
        now[place] = Turn("user", kept)
    return Shortened(now, lost) if excess(now) <= 0 else None


def without(tokenizer: PreTrainedTokenizerBase, text: str, count: int, side: str) -> str:
    """Give a text without its first or last `count` tokens; "" where it has no more."""
    found: Any = tokenizer(
        text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    places: list[tuple[int, int]] = found["offset_mapping"]
    if count >= len(places):
        return ""
    return text[places[count][0] :] if side == "left" else text[: places[-count - 1][1]]
