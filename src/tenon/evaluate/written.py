"""Written: what a base has written to prompts, and how likely it finds what it should write.

R rows: one for each prompt or conversation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tenon.evaluate.overlap import Tokenizer
from tenon.evaluate.prediction import Bools, Index, picked

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Written:
    """Answers to R prompts.

    Args:
        ids: content ids of the R prompts.
        origins: `file:line` of them.
        texts: the prompts; of a conversation, all that comes before its last answer.
        gold: what may be written, one text or several; None where the row does not say.
        nats_R: negative log-likelihood of all that should be written, summed over its tokens.
        tokens_R: how many tokens that are; 0 where it was not looked at.
        bytes_R: how many bytes of text they are.
        answers: what was written; None where nothing was asked to be.
        ended: whether an answer came to its end within the tokens it may have.
        looped: whether an answer was broken off while it repeated itself.
        cut: prompts that lost tokens so that the base has room for an answer.
        extract: what of an answer is compared, by its name; see `tenon.evaluate.extractors`.
        tokenizer: how BLEU parts answers into words, by sacreBLEU's name.
        failed: origin to cause, for rows that could not be answered; they are in nothing else.
    """

    ids: Sequence[str]
    origins: Sequence[str]
    texts: Sequence[str]
    gold: Sequence[tuple[str, ...] | None]
    nats_R: Doubles
    tokens_R: Doubles
    bytes_R: Doubles
    answers: Sequence[str | None]
    ended: Sequence[bool]
    looped: Sequence[bool]
    cut: int
    extract: str
    tokenizer: Tokenizer
    failed: dict[str, str]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def known_R(self) -> Bools:
        """Which rows say what may be written."""
        return np.array([gold is not None for gold in self.gold], np.bool_)

    @property
    def unended(self) -> int:
        """How many answers were broken off."""
        answered = [answer is not None for answer in self.answers]
        return sum(a and not e for a, e in zip(answered, self.ended, strict=True))

    def finite(self) -> bool:
        """Whether every likelihood is a finite number."""
        return bool(np.isfinite(self.nats_R).all())

    def take(self, rows: Index) -> Written:
        """Give the rows at `rows`, in that order."""
        return replace(
            self,
            **picked(
                self,
                rows,
                "texts",
                "gold",
                "nats_R",
                "tokens_R",
                "bytes_R",
                "answers",
                "ended",
                "looped",
            ),  # fmt: skip
        )

    def same_gold(self, other: Written) -> bool:
        """Whether the rows of both have the same gold."""
        return list(self.gold) == list(other.gold)

    def asked(self, other: Written) -> Written:
        """Give the same answers with the prompts as others were asked."""
        texts = dict(zip(other.origins, other.texts, strict=True))
        return replace(self, texts=[texts[origin] for origin in self.origins])

    def saying(self, answers: Sequence[str | None]) -> Written:
        """Give the same rows with other answers, of which nobody knows how likely they are."""
        nothing = np.zeros(len(self))
        ended = [answer is not None for answer in answers]
        return replace(
            self,
            answers=answers,
            ended=ended,
            looped=[False] * len(self),
            nats_R=nothing,
            tokens_R=nothing,
            cut=0,
            failed={},
        )


def weighed(answers: Written) -> Written:
    """Give the rows whose likelihood is known."""
    return answers.take(np.flatnonzero(answers.tokens_R > 0))


def said(answers: Written) -> Written:
    """Give the rows to which something was written."""
    return answers.take(np.flatnonzero([answer is not None for answer in answers.answers]))
