"""Chat: conversations and prompts as token ids, with a weight for each.

An answer is learned from where the base begins to write when it is asked, through the token
that ends the turn. What it is asked with is the beginning of what it is trained on, token for
token. Control tokens are only those that the template writes: "<|im_end|>" typed by a user
stays text. Where nobody types one, the ids are those of `apply_chat_template(tokenize=True)`,
unless a token would reach over the place where the base begins to write: it is split there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from tenon.core.errors import PlanError
from tenon.data.gold import Turn
from tenon.text.layout import Layout, lay_out
from tenon.text.pieced import Pieced, Token
from tenon.text.template import PLAIN, ChatTemplate, Refused, refuse
from tenon.text.windows import frame, refuse_without_offsets


@dataclass(frozen=True, slots=True)
class Row:
    """A row of token ids.

    Args:
        ids: the token ids.
        weights: 1 for a token that the base learns to write, else 0; of the token itself, not
            of the place before it.
        cut: tokens that the prompt lost, at its left.
        trimmed: turns that lost outer blanks.
        altered: turns, none of them trained, that the template changes or leaves out.
        escaped: control tokens that were typed, and stay text.
    """

    ids: list[int]
    weights: list[int]
    cut: int = 0
    trimmed: int = 0
    altered: int = 0
    escaped: int = 0

    @property
    def prompt(self) -> int:
        """Tokens before the first that is learned."""
        return self.weights.index(1) if 1 in self.weights else len(self.ids)


def chat_template(tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
    """Give the base's chat template; for a base that has none, a plain one.

    The plain one is "User: ...", "Assistant: ..." and so on, a line break between turns, and the
    end of sequence after every answer. It has no signs that a user could not type.

    Raises:
        PlanError: the tokenizer has no offsets, or nothing ends an answer.
    """
    refuse_without_offsets(tokenizer)
    if tokenizer.chat_template:
        found = ChatTemplate(tokenizer, str(tokenizer.get_chat_template()))
    else:
        end_of(tokenizer)
        begins = tokenizer.bos_token_id in frame(tokenizer, pair=False).before
        found = ChatTemplate(tokenizer, PLAIN, str(tokenizer.bos_token) if begins else "")
    # A template that ends no answer is told now, not at the first conversation.
    assert found.stop_ids
    return found


def end_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """Give the token that ends an answer.

    Raises:
        PlanError: the tokenizer has none.
    """
    end = tokenizer.eos_token_id
    if not isinstance(end, int):
        raise PlanError(
            "base: its tokenizer has no end-of-sequence token, so that an answer would never end; "
            "set eos_token in its tokenizer_config.json"
        )
    return end


def encode_chat(template: ChatTemplate, turns: Sequence[Turn], origin: str) -> Row:
    """Give the row that teaches the trained answers of a conversation.

    Raises:
        Refused: no turn is trained, or the template cannot teach them as they stand.
    """
    if not any(turn.trained for turn in turns):
        raise refuse(origin, "no turn is trained", "mark at least one answer")
    layout = lay_out(template, turns, origin)
    tokens, escaped = _tokens(template, turns, layout, origin)
    weights = [int(_learned(token, layout.trained)) for token in tokens]
    return _row(tokens, weights, layout, escaped)


def encode_answers(template: ChatTemplate, turns: Sequence[Turn], origin: str) -> list[Row]:
    """Give the rows that teach the trained answers: one row, or, where that is refused, one each.

    A template that writes an answer differently once the conversation goes on (as those do that
    drop earlier thinking) teaches each answer at the end of its own conversation.

    Raises:
        Refused: the template cannot teach the answers one by one either.
    """
    try:
        return [encode_chat(template, turns, origin)]
    except Refused:
        parts = unrolled(turns)
        if parts in ([], [list(turns)]):
            raise
        return [encode_chat(template, part, origin) for part in parts]


def unrolled(turns: Sequence[Turn]) -> list[list[Turn]]:
    """Give a conversation for each trained answer, which ends with it and trains it alone."""
    heard = [replace(turn, trained=False) for turn in turns]
    return [[*heard[:place], turn] for place, turn in enumerate(turns) if turn.trained]


def encode_question(template: ChatTemplate, turns: Sequence[Turn], origin: str) -> Row:
    """Give the row that asks for the next answer; nothing in it is learned.

    Raises:
        Refused: the template refuses the conversation, or its texts cannot be found for certain.
    """
    asked = [replace(turn, trained=False) for turn in turns]
    layout = lay_out(template, asked, origin, ask=True)
    tokens, escaped = _tokens(template, asked, layout, origin)
    return _row(tokens, [0] * len(tokens), layout, escaped)


def encode_completion(
    tokenizer: PreTrainedTokenizerBase, prompt: str, completion: str, origin: str
) -> Row:
    """Give the row that teaches a completion: prompt, completion, end of sequence.

    Prompt and completion are tokenized apart, so that what the base is asked with is what it
    was trained on. The blank between them belongs to the completion: `A:` and ` yes`.

    Raises:
        PlanError: the tokenizer has no offsets, or no end of sequence.
        Refused: a control token that is typed cannot be kept as text.
    """
    refuse_without_offsets(tokenizer)
    asked = encode_prompt(tokenizer, prompt, origin)
    said, escaped = typed(tokenizer, completion, origin, inner=True)
    ids = [*said, end_of(tokenizer)]
    weights = [0] * len(asked.ids) + [1] * len(ids)
    return Row([*asked.ids, *ids], weights, escaped=asked.escaped + escaped)


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str, origin: str) -> Row:
    """Give the row that asks for a completion: what the tokenizer puts before a text, and it.

    Raises:
        Refused: a control token that is typed cannot be kept as text.
    """
    ids, escaped = typed(tokenizer, prompt, origin, inner=False)
    ids = [*frame(tokenizer, pair=False).before, *ids]
    return Row(ids, [0] * len(ids), escaped=escaped)


def fit(
    row: Row,
    limit: int,
    origin: str,
    *,
    tokenizer: PreTrainedTokenizerBase,
    cut: Literal["left", "refuse"],
) -> Row:
    """Give a row of at most `limit` tokens.

    The prompt, which is what stands before the first learned token, loses tokens at its left; a
    beginning of sequence stays. What follows it is never cut.

    Args:
        row: the row.
        limit: most tokens.
        origin: `file:line`, for errors.
        tokenizer: of the base, which says what begins a sequence.
        cut: what to do with a row that is too long.

    Raises:
        Refused: the row is too long, and may not be cut, or answers alone leave no prompt.
    """
    excess = len(row.ids) - limit
    if excess <= 0:
        return row
    if cut == "refuse":
        raise refuse(
            origin, f"{len(row.ids):,} tokens, more than {limit:,}", "shorten it or raise the limit"
        )
    kept = int(row.ids[0] == tokenizer.bos_token_id)
    if row.prompt - kept <= excess:
        raise refuse(
            origin,
            f"{len(row.ids):,} tokens, of which {len(row.ids) - row.prompt:,} from the first "
            f"answer on, which are never cut, leave no prompt within {limit:,}",
            "shorten the answers, train fewer of them, or raise the limit",
        )
    rest = kept + excess
    ids, weights = [*row.ids[:kept], *row.ids[rest:]], [*row.weights[:kept], *row.weights[rest:]]
    return replace(row, ids=ids, weights=weights, cut=row.cut + excess)


def _row(tokens: list[Token], weights: list[int], layout: Layout, escaped: int) -> Row:
    changes = [place.change for place in layout.places]
    return Row(
        [token for token, _, _ in tokens],
        weights,
        trimmed=changes.count("trimmed"),
        altered=changes.count("altered") + len(layout.dropped),
        escaped=escaped,
    )


def _learned(token: Token, trained: Sequence[tuple[int, int]]) -> bool:
    _, first, last = token
    return any(first < end and (last > start or first >= start) for start, end in trained)


def _tokens(
    template: ChatTemplate, turns: Sequence[Turn], layout: Layout, origin: str
) -> tuple[list[Token], int]:
    """Tokenize what is written, split where the base begins to write."""
    regions = [
        (
            place.start,
            place.end,
            template.specials if turns[place.turn].role == "assistant" else template.controls,
        )
        for place in layout.places
    ]
    text = Pieced(template.tokenizer, layout.text, regions, origin)
    for border in sorted(layout.borders.values()):
        text.split_at(border)
    return text.tokens, text.escaped


def typed(
    tokenizer: PreTrainedTokenizerBase, text: str, origin: str, *, inner: bool
) -> tuple[list[int], int]:
    """Tokenize what is typed; give the ids, and the control tokens in it that stay text.

    Args:
        inner: whether text stands before it.

    Raises:
        Refused: a control token cannot be kept as text.
    """
    known: Any = tokenizer.added_tokens_decoder
    controls = frozenset(place for place, token in known.items() if token.special)
    found = Pieced(tokenizer, text, [(0, len(text), controls)], origin, inner=inner)
    return [token for token, _, _ in found.tokens], found.escaped
