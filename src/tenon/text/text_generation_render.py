"""WritingRenderer: prompts and conversations to rows of token ids, each with a weight.

What the base learns to write has weight 1, all else 0; a row that waits for an answer has no
weight at all. A row that is too long loses tokens of its prompt, and answers are never cut. T
tokens of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from tenon.core.errors import DataError, Faults, PlanError
from tenon.core.files import digest_of
from tenon.data.example import Example
from tenon.data.gold import Turn
from tenon.text.chat import (
    Row,
    chat_template,
    encode_answers,
    encode_completion,
    encode_prompt,
    encode_question,
    end_of,
    fit,
    unrolled,
)
from tenon.text.render import Rendered
from tenon.text.seq2seq import JOINT, encode_pair, fit_sides, source_of
from tenon.text.settings import PLACE
from tenon.text.shorten import Shortened, shorten_question
from tenon.text.tally import packed
from tenon.text.template import ChatTemplate, Refused, refuse
from tenon.text.tokens import Tokens

Form = Literal["chat", "none"]
LONG = 0.99
TALLIED = ("trimmed", "altered", "escaped")


def form_of(
    tokenizer: PreTrainedTokenizerBase, wanted: str, units: str, *, seq2seq: bool = False
) -> Form:
    """Say how conversations are written, where that is left to the base.

    Args:
        wanted: `text.template`.
        units: "turns" where rows are conversations, which a decoder needs a template for.
        seq2seq: whether an encoder reads them, which needs none.

    Raises:
        PlanError: a template is asked for, and the base is an encoder-decoder.
    """
    if seq2seq and wanted == "chat":
        raise PlanError(
            'text.template = "chat": has no effect, an encoder-decoder reads texts as they are; '
            "remove it"
        )
    if seq2seq:
        return "none"
    if wanted == "auto":
        return "chat" if tokenizer.chat_template or units == "turns" else "none"
    return "none" if wanted == "none" else "chat"


@dataclass(frozen=True)
class WritingRenderer:
    """Prompts and conversations, and what shall be written after them.

    Args:
        tokenizer: of the base, with offsets.
        limit: most tokens of a row; of an encoder-decoder, of each of its sides.
        form: "chat" writes turns as the base's chat template does, "none" the prompt as it is.
        instruction: what is asked around a prompt, which stands where it has `{}`; "" for the
            prompt alone.
        cut: the side at which a text that is too long loses tokens, while what is asked around it
            stays; "" cuts the whole prompt at its left.
        seq2seq: whether an encoder reads the prompt and a decoder writes the answer.
    """

    tokenizer: PreTrainedTokenizerBase
    limit: int
    form: Form
    instruction: str = ""
    cut: str = ""
    seq2seq: bool = False

    @cached_property
    def template(self) -> ChatTemplate:
        """How the base writes a conversation."""
        return chat_template(self.tokenizer)

    @cached_property
    def template_digest(self) -> str:
        """Identify the chat template; empty where none is used."""
        return self.template.digest if self.form == "chat" else ""

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens at which an answer ends."""
        return self.template.stop_ids if self.form == "chat" else (end_of(self.tokenizer),)

    @property
    def digest(self) -> str:
        """Identify everything but the tokenizer that decides the token ids and weights."""
        own = [self.template_digest, self.instruction, self.limit, self.cut, self.seq2seq]
        return digest_of(["writing.v2", *own])

    def rows(self, examples: Sequence[Example]) -> Rendered:
        """Give one row an example, or one an answer where the template needs it.

        Raises:
            DataError: rows that the template cannot teach as they stand, or whose answers leave no
                room for a prompt; all of these examples at once.
        """
        made, told, faults = Rendered([], [], None, [], []), list[str | None](), Faults()
        for place, example in enumerate(examples):
            try:
                rows = self._rows(example)
            except Refused as error:
                faults.add(error.fault.where, error.fault.what, error.fault.remedy)
                continue
            for row in rows:
                made.example.append(place)
                made.ids.append(row.ids)
                made.cut.append(row.cut)
                made.targets.append([float(weight) for weight in row.weights])
                told.append(packed({name: getattr(row, name) for name in TALLIED}))
        faults.raise_if_any(DataError)
        return replace(made, tally=told)

    def answer(self, ids: Sequence[int]) -> str:
        """Give the text of what the base has written."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _rows(self, example: Example) -> list[Row]:
        origin, lost = example.origin, 0
        turns = list(example.turns or (Turn("user", example.text),))
        rows = self._written(turns, origin)
        if self.cut and self._excess(rows) > 0 and (short := self._shortened(turns, origin)):
            rows, lost = self._written(short.turns, origin), short.cut
        if any(row.weights[:1] == [1] or not row.ids for row in rows):
            raise refuse(origin, "the prompt has no tokens in the base's tokenizer", "mend it")
        rows = [self._fitted(row, origin) for row in rows]
        return [replace(row, cut=row.cut + lost) for row in rows] if lost else rows

    def _shortened(self, turns: Sequence[Turn], origin: str) -> Shortened | None:
        """Give the turns with a text of which the row fits; None where it is left to `_fitted`."""
        return shorten_question(
            self.tokenizer,
            turns,
            lambda asked: self._excess(self._written(asked, origin)),
            self.cut,
        )

    def _excess(self, rows: Sequence[Row]) -> int:
        """Give the tokens that the longest row, or the longest source, has too many."""
        return max(row.prompt if self.seq2seq else len(row.ids) for row in rows) - self.limit

    def _fitted(self, row: Row, origin: str) -> Row:
        if self.seq2seq:
            return fit_sides(row, self.limit, origin)
        return fit(row, self.limit, origin, tokenizer=self.tokenizer, cut="left")

    def _written(self, said: Sequence[Turn], origin: str) -> list[Row]:
        turns, trained = self._instructed(said), any(turn.trained for turn in said)
        if self.seq2seq:
            return self._sides(turns, origin, trained=trained)
        if self.form == "none":
            return [self._plain(turns, origin, trained=trained)]
        if trained:
            return encode_answers(self.template, turns, origin)
        return [encode_question(self.template, turns, origin)]

    def _sides(self, turns: Sequence[Turn], origin: str, *, trained: bool) -> list[Row]:
        """Give a row for each answer that is learned, with all that is said before as its source.

        Raises:
            Refused: a control token that is typed cannot be kept as text.
        """
        if not trained:
            return [encode_pair(self.tokenizer, source_of(turns), None, origin)]
        parts = unrolled(turns)
        return [
            encode_pair(self.tokenizer, source_of(part[:-1]), part[-1].text, origin)
            for part in parts
        ]

    def _instructed(self, turns: Sequence[Turn]) -> list[Turn]:
        if not self.instruction:
            return list(turns)
        return [
            replace(turn, text=self.instruction.replace(PLACE, turn.text))
            if turn.role == "user"
            else turn
            for turn in turns
        ]

    def _plain(self, turns: Sequence[Turn], origin: str, *, trained: bool) -> Row:
        """Give the row of a prompt without a template.

        What the system says comes first. An answer follows its prompt as the one that is learned
        does; a blank line stands before the next prompt.
        """
        asked = turns[:-1] if trained else turns
        blocks: list[str] = []
        for turn in asked:
            if turn.role == "assistant" and blocks:
                blocks[-1] += turn.text
            else:
                blocks.append(turn.text)
        prompt = JOINT.join(blocks)
        if trained:
            return encode_completion(self.tokenizer, prompt, turns[-1].text, origin)
        return encode_prompt(self.tokenizer, prompt, origin)


def last_answer(weights_T: Sequence[float]) -> int:
    """Give the place of the first token of a row's last answer; its length where it has none."""
    place = len(weights_T)
    while place and not weights_T[place - 1]:
        place -= 1
    if not place:
        return len(weights_T)
    while place and weights_T[place - 1]:
        place -= 1
    return place


def runs(weights_T: npt.NDArray[np.float32]) -> list[int]:
    """Give the length of each answer in a row: of each run of tokens with a weight."""
    learned_T = np.flatnonzero(weights_T)
    if not len(learned_T):
        return []
    return [len(run) for run in np.split(learned_T, np.flatnonzero(np.diff(learned_T) > 1) + 1)]


def answer_tokens(tokens: Tokens) -> int:
    """Give the length that 99 of 100 answers do not exceed, the token that ends one among them."""
    lengths = [length for row in range(len(tokens)) for length in runs(tokens.targets(row))]
    return int(np.quantile(lengths, LONG, method="inverted_cdf")) if lengths else 0
