"""Renderer: what of an Example the base reads, and what its answer means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from tenon.core.files import digest_of
from tenon.data.example import Example
from tenon.text.tokenizer import Encoded, encode

UNLABELLED = -1
JOINT = "\n\n"


@dataclass(frozen=True, slots=True)
class Pieces:
    """One example as the tokenizer takes it.

    Args:
        text: first text.
        pair: second text, where the tokenizer has a place for one.
        target: class index; -1 without a known label.
    """

    text: str
    pair: str | None
    target: int


class Renderer(Protocol):
    """How examples of a task become what a base reads, and its output an answer."""

    def train_pieces(self, example: Example) -> Pieces:
        """Give what is read, and what shall be answered."""
        ...

    def prompt(self, example: Example) -> Pieces:
        """Give what is read when the answer is not known."""
        ...

    def parse(self, log_probs_L: npt.NDArray[np.float32]) -> str:
        """Give the answer that the base's output stands for."""
        ...


@dataclass(frozen=True)
class ClassRenderer:
    """Texts, or pairs of texts, to one of L classes.

    A tokenizer whose template separates two texts gets both; another (most
    decoders) gets them joined by an empty line, so that the border is never lost.

    Args:
        tokenizer: of the base.
        labels: the L label names; a class is the place of its label.
        limit: most tokens of a row, special tokens included.
        side: where a row that is too long is cut, `right` or `left`.
    """

    tokenizer: PreTrainedTokenizerBase
    labels: tuple[str, ...]
    limit: int
    side: str
    _classes: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        classes = {label: index for index, label in enumerate(self.labels)}
        object.__setattr__(self, "_classes", classes)

    @property
    def separates_pairs(self) -> bool:
        """Whether the tokenizer marks the border between two texts."""
        single = self.tokenizer.num_special_tokens_to_add(pair=False)
        return self.tokenizer.num_special_tokens_to_add(pair=True) > single

    @property
    def digest(self) -> str:
        """Identify everything but the tokenizer that decides the token ids and classes."""
        return digest_of(["class.v1", self.labels, self.limit, self.side, self.separates_pairs])

    def train_pieces(self, example: Example) -> Pieces:
        """Give the texts and the class index."""
        pieces = self.prompt(example)
        target = UNLABELLED
        if example.label is not None:
            target = self._classes.get(example.label, UNLABELLED)
        return Pieces(pieces.text, pieces.pair, target)

    def prompt(self, example: Example) -> Pieces:
        """Give the texts."""
        if example.pair is None or self.separates_pairs:
            return Pieces(example.text, example.pair, UNLABELLED)
        return Pieces(f"{example.text}{JOINT}{example.pair}", None, UNLABELLED)

    def parse(self, log_probs_L: npt.NDArray[np.float32]) -> str:
        """Give the likeliest label."""
        return self.labels[int(log_probs_L.argmax())]

    def encode(self, pieces: Sequence[Pieces]) -> Encoded:
        """Turn pieces, all single or all pairs, into token ids of at most `limit` tokens."""
        texts = [piece.text for piece in pieces]
        pairs = [piece.pair for piece in pieces if piece.pair is not None]
        return encode(self.tokenizer, texts, pairs or None, limit=self.limit, side=self.side)
