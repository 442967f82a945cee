"""Coloured: rows as their tokens read, each with whether it is learned or only read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from tenon.text.taught import Taught

ROWS = 3
TOKENS = 160
BROKEN = "\ufffd"


def coloured(taught: Taught) -> list[dict[str, Any]]:
    """Give the rows of the first examples: `origin`, and `tokens`, each `text` and `trained`.

    Special tokens are shown. A row that has one answer as a whole ends with it.
    """
    rows = [row for of_one in taught.first for row in of_one[:1]][:ROWS]
    return [
        {"origin": taught.tokens.table["origin"][row].as_py(), "tokens": _tokens(taught, row)}
        for row in rows
    ]


def _tokens(taught: Taught, row: int) -> list[dict[str, Any]]:
    learned = taught.learned_T(row).tolist()
    ids = taught.tokens.ids(row).tolist()
    shown = [
        {"text": text, "trained": learned[place]}
        for place, text in _pieces(taught.renderer.tokenizer, ids[:TOKENS])
    ]
    if len(ids) > TOKENS:
        shown.append({"text": f" … {len(ids) - TOKENS:,} more tokens", "trained": False})
    if taught.units == "rows":
        answer = taught.examples[taught.tokens.table["example"][row].as_py()].gold
        shown.append({"text": f" → {_said(answer)}", "trained": True})
    return shown


def _said(answer: object) -> str:
    if isinstance(answer, tuple):
        return ", ".join(map(str, answer)) or "no label"
    return "no label" if answer is None else str(answer)


def _pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Give the place of each token and what it adds to the text; tokens of half a character join.

    A token is read behind those before it, as blanks of a text belong to one token or the other.
    """
    before, first = "", 0
    for place in range(len(ids)):
        now = str(tokenizer.decode(list(ids[: place + 1]), clean_up_tokenization_spaces=False))
        if now.endswith(BROKEN) and place + 1 < len(ids):
            continue
        text = now[len(before) :] if now.startswith(before) else str(tokenizer.decode(ids[place]))
        yield first, text
        before, first = now, place + 1
