"""Seq2seq rows: what an encoder reads and a decoder writes, as one run of token ids.

A row is a source, whose weights are 0, and after it the answer's tokens, whose weights are 1,
through the token that ends it; the first weight parts the two. What every answer begins with (a
start token, the code of a language) stands in no row: the model puts it before each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from tenon.core.errors import PlanError, did_you_mean
from tenon.data.gold import Turn
from tenon.text.chat import Row, encode_prompt, end_of, typed
from tenon.text.template import refuse
from tenon.text.windows import frame

JOINT = "\n\n"


def speak(tokenizer: PreTrainedTokenizerBase, source: str, target: str) -> None:
    """Tell a tokenizer of several languages which two it writes in.

    Args:
        tokenizer: of the base; it is changed.
        source: code of the language that is read; "" leaves the tokenizer's own.
        target: code of the language that is written; likewise.

    Raises:
        PlanError: the tokenizer has no languages, not these, or needs one that is not named.
    """
    whole: Any = tokenizer
    named = {"source_language": source, "target_language": target}
    if not hasattr(whole, "src_lang"):
        for field, code in named.items():
            if code:
                raise PlanError(
                    f"text.{field} = {code!r}: has no effect, this base's tokenizer has no codes "
                    "of languages; remove it"
                )
        return
    known = [str(token) for token in tokenizer.all_special_tokens]
    for field, attribute in (("source_language", "src_lang"), ("target_language", "tgt_lang")):
        code = named[field]
        if code and code not in known:
            raise PlanError(
                f"text.{field} = {code!r}: is no language of this base; {did_you_mean(code, known)}"
            )
        if not (code or getattr(whole, attribute)):
            raise PlanError(
                f"text.{field}: this base writes in several languages; name one by its code, such "
                f"as {next((c for c in known if '_' in c), known[-1])}"
            )
        if code:
            setattr(whole, attribute, code)


def lead(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Give the ids that stand before every answer, such as the code of its language."""
    made: Any = tokenizer(text_target="a", return_special_tokens_mask=True)
    ids, special = made["input_ids"], made["special_tokens_mask"]
    count = next((place for place, flag in enumerate(special) if not flag), 0)
    return tuple(ids[:count])


def encode_pair(
    tokenizer: PreTrainedTokenizerBase, source: str, answer: str | None, origin: str
) -> Row:
    """Give the row of a source and its answer; without an answer, of the source alone.

    Raises:
        PlanError: the tokenizer has no offsets, or no end of sequence.
        Refused: a control token that is typed cannot be kept as text.
    """
    asked = encode_prompt(tokenizer, source, origin)
    ids = [*asked.ids, *frame(tokenizer, pair=False).after]
    if answer is None:
        return replace(asked, ids=ids, weights=[0] * len(ids))
    said, escaped = typed(tokenizer, answer, origin, inner=False)
    said = [*said, end_of(tokenizer)]
    weights = [0] * len(ids) + [1] * len(said)
    return Row([*ids, *said], weights, escaped=asked.escaped + escaped)


def source_of(turns: Sequence[Turn]) -> str:
    """Give what an encoder reads of a conversation: its text, or a line for each turn of several.

    What the system says stands before the text, a blank line between.
    """
    if sum(turn.role != "system" for turn in turns) == 1:
        return JOINT.join(turn.text for turn in turns)
    return "\n".join(f"{turn.role.capitalize()}: {turn.text}" for turn in turns)


def fit_sides(row: Row, limit: int, origin: str) -> Row:
    """Give a row whose source and whose answer have at most `limit` tokens each.

    The source loses tokens at its left; what the tokenizer puts behind it stays. The answer is
    never cut.

    Raises:
        Refused: the answer is too long.
    """
    answer = len(row.ids) - row.prompt
    if answer > limit:
        raise refuse(
            origin,
            f"its answer has {answer:,} tokens, more than {limit:,}",
            "shorten it, or raise the limit",
        )
    excess = row.prompt - limit
    if excess <= 0:
        return row
    return replace(row, ids=row.ids[excess:], weights=row.weights[excess:], cut=row.cut + excess)
