"""Asked: what the engine can be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tenon.data.example import Example
from tenon.evaluate.sampling import Sampling
from tenon.serve.handle import Handle

Form = Literal["replies", "entries"]


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
