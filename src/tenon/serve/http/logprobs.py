"""Logprobs: the probabilities of tokens, as OpenAI's two routes tell them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerBase

from tenon.evaluate.running import Piece
from tenon.evaluate.sampling import Logprob
from tenon.serve.http.service import Service

LEAST = -9999.0
"""In place of the logarithm of 0, which JSON cannot hold."""


@dataclass
class Shown:
    """Spells tokens with their probabilities.

    Args:
        tokenizer: of the base.
        chat: in the form of conversations, else in that of completions.
        offset: characters that were told before.
    """

    tokenizer: PreTrainedTokenizerBase
    chat: bool
    offset: int = 0
    _words: dict[int, str] = field(default_factory=dict[int, str])

    def whole(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        """Give those of a whole answer."""
        told = tuple(each for piece in pieces for each in piece.logprobs)
        return self.part(Piece("".join(piece.text for piece in pieces), (), told))

    def part(self, piece: Piece) -> dict[str, Any]:
        """Give those of a part of an answer."""
        return self._chat(piece.logprobs) if self.chat else self._completion(piece.logprobs)

    def _chat(self, told: Sequence[Logprob]) -> dict[str, Any]:
        content = [
            {
                **self._entry(each.id, each.logprob),
                "top_logprobs": [self._entry(token, chance) for token, chance in each.top],
            }
            for each in told
        ]
        return {"content": content, "refusal": None}

    def _completion(self, told: Sequence[Logprob]) -> dict[str, Any]:
        offsets: list[int] = []
        for each in told:
            offsets.append(self.offset)
            self.offset += len(self._word(each.id))
        return {
            "tokens": [self._word(each.id) for each in told],
            "token_logprobs": [max(each.logprob, LEAST) for each in told],
            "top_logprobs": [
                {self._word(token): max(chance, LEAST) for token, chance in each.top}
                for each in told
            ],
            "text_offset": offsets,
        }

    def _entry(self, token: int, chance: float) -> dict[str, Any]:
        word = self._word(token)
        return {"token": word, "logprob": max(chance, LEAST), "bytes": list(word.encode())}

    def _word(self, token: int) -> str:
        if token not in self._words:
            self._words[token] = str(self.tokenizer.decode([token]))
        return self._words[token]


def shown(service: Service, *, chat: bool) -> Shown:
    """Give what spells tokens for one answer."""
    return Shown(service.tokenizer, chat)
