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


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a base reads of some examples; an example may be several rows, one after another.

    Args:
        example: for each row, the place of its example.
        ids: token ids of each row, special tokens included.
        types: token types of each row, or None where every type is 0.
        cut: tokens that were cut from each row.
        targets: numbers that the answer of each row is made of, in the form of the task.
        starts, ends: for each token the characters it stands for, end exclusive; -1 where an
            answer is never read. None where no answer is a place in the text.
        tally: for each row what could not be done with its text, as `tenon.text.tally` writes it;
            None where there is nothing to say of any.
    """

    example: list[int]
    ids: list[list[int]]
    types: list[list[int]] | None
    cut: list[int]
    targets: list[list[float]]
    starts: list[list[int]] | None = None
    ends: list[list[int]] | None = None
    tally: list[str | None] | None = None


class Renderer(Protocol):
    """How examples of a task become what a base reads."""

    @property
    def limit(self) -> int:
        """Give the most tokens of a row."""
        ...

    @property
    def digest(self) -> str:
        """Identify everything but the tokenizer that decides ids and targets."""
        ...

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The base's."""
        ...

    def rows(self, examples: Sequence[Example]) -> Rendered:
        """Give the rows of some examples, in their order."""
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
        if isinstance(example.gold, str):
            target = self._classes.get(example.gold, UNLABELLED)
        return Pieces(pieces.text, pieces.pair, target)

    def prompt(self, example: Example) -> Pieces:
        """Give the texts."""
        if example.pair is None or self.separates_pairs:
            return Pieces(example.text, example.pair, UNLABELLED)
        return Pieces(f"{example.text}{JOINT}{example.pair}", None, UNLABELLED)

    def parse(self, log_probs_L: npt.NDArray[np.float32]) -> str:
        """Give the likeliest label."""
        return self.labels[int(log_probs_L.argmax())]

    def rows(self, examples: Sequence[Example]) -> Rendered:
        """Give one row an example; its target is its class."""
        pieces = [self.train_pieces(example) for example in examples]
        encoded = self.encode(pieces)
        targets = [[float(piece.target)] for piece in pieces]
        places = list(range(len(examples)))
        return Rendered(places, encoded.ids, encoded.types, encoded.cut, targets)

    def encode(self, pieces: Sequence[Pieces]) -> Encoded:
        """Turn pieces, all single or all pairs, into token ids of at most `limit` tokens."""
        texts = [piece.text for piece in pieces]
        pairs = [piece.pair for piece in pieces if piece.pair is not None]
        return encode(self.tokenizer, texts, pairs or None, limit=self.limit, side=self.side)
