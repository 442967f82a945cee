"""Running: a row that is being written, and what is kept of it between passes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

import numpy as np

from tenon.evaluate.sampling import Logprob, Sampling
from tenon.model.cached import Line
from tenon.model.cells import Blocks
from tenon.text.spelling import Decode, Spelling

Finish = Literal["stop", "length", "cancelled", "deadline"]


class Asked(Protocol):
    """What a row goes on from: token ids, how it is sampled, and until when it is wanted."""

    @property
    def ids(self) -> Sequence[int]:
        """At least one."""
        ...

    @property
    def sampling(self) -> Sampling:
        """How tokens are chosen."""
        ...

    @property
    def deadline(self) -> float | None:
        """By `time.monotonic()`, in seconds; None for none."""
        ...


@dataclass(frozen=True)
class Prompt:
    """Token ids to go on from, for as long as it takes.

    Args:
        ids: at least one.
        sampling: how.
        deadline: by `time.monotonic()`, in seconds; None for none.
    """

    ids: tuple[int, ...]
    sampling: Sampling = Sampling()
    deadline: float | None = None


@dataclass(frozen=True)
class Piece:
    """A part of an answer; all parts together are the answer.

    Args:
        text: what is surely part of it.
        ids: tokens that were written since the piece before.
        logprobs: of these tokens, if asked for.
        finish: why nothing follows; None where something may: "stop" for an end of its own or a
            stop text, "length" for `max_new_tokens`, "cancelled", or "deadline".
    """

    text: str
    ids: tuple[int, ...] = ()
    logprobs: tuple[Logprob, ...] = ()
    finish: Finish | None = None


@dataclass(eq=False)
class Running:
    """A row that is being written.

    Args:
        owner: its adapter's name in the rack; None for the base as it is.
        prompt: what it goes on from; `max_new_tokens` of its sampling is at least 1.
        decode: token ids to text; None where ids alone are wanted, and no text ends an answer.
        stop_ids: tokens before which it ends, beside those of its sampling.
        blocks: of its keys and values.
        past: tokens that are in them.
        new: tokens that were written.
        finish: why nothing follows.
    """

    owner: str | None
    prompt: Asked
    decode: Decode | None
    stop_ids: Sequence[int] = ()
    blocks: Blocks = field(default_factory=lambda: np.empty(0, np.int64))
    past: int = 0
    new: list[int] = field(default_factory=list[int])
    finish: Finish | None = None
    _untold: list[int] = field(default_factory=list[int])
    _logprobs: list[Logprob] = field(default_factory=list[Logprob])

    def __post_init__(self) -> None:
        sampling = self.prompt.sampling
        self._ends = frozenset((*self.stop_ids, *sampling.stop_ids))
        self._chance = random.Random(sampling.seed)  # noqa: S311 - no secret hangs on it

    @cached_property
    def _spelling(self) -> Spelling:
        return Spelling(self.decode or _unspelled, self.prompt.sampling.stop)

    @property
    def most(self) -> int:
        """Tokens that the row has at its longest; the last one written is never read."""
        return len(self.prompt.ids) + self.prompt.sampling.max_new_tokens - 1

    @property
    def unread(self) -> int:
        """Tokens of the row that are not in its cells."""
        return len(self.prompt.ids) + len(self.new) - self.past

    @property
    def plain(self) -> bool:
        """Whether its likeliest tokens are all that is asked for."""
        sampling = self.prompt.sampling
        return not sampling.temperature and sampling.logprobs is None

    @property
    def last(self) -> bool:
        """Whether the next token is the last one, whatever it is."""
        return len(self.new) + 1 >= self.prompt.sampling.max_new_tokens

    def line(self, count: int) -> Line:
        """Give the next `count` tokens as a line of a pass."""
        return Line(self.blocks, self.past, count)

    def ids(self, count: int) -> Sequence[int]:
        """Give the ids of the next `count` tokens."""
        if self.new:
            return self.new[-count:]
        return self.prompt.ids[self.past : self.past + count]

    def draw(self) -> float:
        """Draw the number that decides the next token; 0 where nothing is left to chance."""
        return self._chance.random() if self.prompt.sampling.temperature else 0.0

    def put(self, token: int, logprob: Logprob | None) -> Piece | None:
        """Take in the token that was chosen; give the next piece, if there is anything to tell."""
        if token in self._ends:
            return self.end("stop")
        self.new.append(token)
        self._untold.append(token)
        if logprob is not None:
            self._logprobs.append(logprob)
        text = "" if self.decode is None else self._spelling.put(token)
        if self._spelling.stopped:
            return self._piece(text, "stop")
        if len(self.new) >= self.prompt.sampling.max_new_tokens:
            text += self._spelling.end()
            # What was held back may have had a stop text in it, once nothing could follow.
            return self._piece(text, "stop" if self._spelling.stopped else "length")
        return self._piece(text, None) if text else None

    def end(self, finish: Finish) -> Piece:
        """Give the last piece: what was held back."""
        return self._piece(self._spelling.end(), finish)

    def _piece(self, text: str, finish: Finish | None) -> Piece:
        self.finish = finish
        piece = Piece(text, tuple(self._untold), tuple(self._logprobs), finish)
        self._untold, self._logprobs = [], []
        return piece


def _unspelled(ids: Sequence[int]) -> str:
    del ids
    return ""
