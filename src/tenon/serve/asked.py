"""Asked: what the engine can be asked, and the pieces in which a text is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tenon.data.example import Example
from tenon.serve.handle import Handle

Form = Literal["replies", "entries"]
Finish = Literal["stop", "length", "cancelled", "deadline"]


@dataclass(frozen=True)
class Rows:
    """Rows for an adapter to answer.

    Args:
        handle: the adapter.
        examples: at least one; all of one sort, single texts or pairs.
        flow: whose request it is; flows take turns, whatever each of them asks.
        deadline: by `time.monotonic()`, in seconds; None for none.
        form: what is given: "replies" an object of `tenon.evaluate.reply` for each example,
            "entries" what `tenon predict` writes: an entry for each, with those that failed.
    """

    handle: Handle
    examples: tuple[Example, ...]
    flow: str = ""
    deadline: float | None = None
    form: Form = "replies"


@dataclass(frozen=True)
class Features:
    """Texts of which the base's own vectors are wanted, pooled and of length 1.

    Args:
        texts: at least one, none empty.
        flow, deadline: as of `Rows`.
    """

    texts: tuple[str, ...]
    flow: str = ""
    deadline: float | None = None


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Args:
        max_new_tokens: most tokens of an answer; 0 for as many as the adapter had in training.
        temperature: what scores are divided by; 0 takes the likeliest, as evaluation does.
        top_p: only the likeliest tokens that have so much probability together.
        top_k: only so many of the likeliest; 0 for all.
        seed: of the draws; the same seed gives the same answer.
        stop: texts before which the answer ends.
        stop_ids: tokens before which it ends, beside those of the adapter.
        logprobs: how many of the likeliest tokens are told with each token; None for no
            probabilities at all.
    """

    max_new_tokens: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()
    logprobs: int | None = None


@dataclass(frozen=True)
class Prompt:
    """Token ids for a base that writes to go on from.

    Args:
        handle: the adapter; None for the base as it is.
        ids: at least one.
        sampling: how.
        flow, deadline: as of `Rows`.
    """

    handle: Handle | None
    ids: tuple[int, ...]
    sampling: Sampling = Sampling()
    flow: str = ""
    deadline: float | None = None


@dataclass(frozen=True)
class Logprob:
    """The natural logarithm of a token's probability, and of those beside it.

    Args:
        id: the token.
        logprob: of it.
        top: the likeliest tokens with theirs, best first.
    """

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


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
