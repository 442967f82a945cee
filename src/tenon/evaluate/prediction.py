"""Predictions: the answers to the rows of one part, with their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Index = npt.NDArray[np.integer[Any]]


class Answers(Protocol):
    """Answers to the R rows of one part, of whatever task."""

    @property
    def ids(self) -> Sequence[str]:
        """Content ids of the rows."""
        ...

    @property
    def origins(self) -> Sequence[str]:
        """`file:line` of the rows."""
        ...

    @property
    def failed(self) -> dict[str, str]:
        """Origin to cause, for rows that could not be answered; they are in nothing else."""
        ...

    @property
    def known_R(self) -> Bools:
        """Which rows have a gold."""
        ...

    def __len__(self) -> int: ...

    def finite(self) -> bool:
        """Whether every score of a row with a gold is a finite number."""
        ...

    def take(self, rows: Index) -> Self:
        """Give the rows at `rows`, in that order."""
        ...

    def same_gold(self, other: Self) -> bool:
        """Whether the rows of both have the same gold."""
        ...


class Scored(Answers, Protocol):
    """Answers that class scores, or numbers, decide."""

    def rescored(self, log_probs: Floats) -> Self:
        """Give the same rows with other class scores, a row of them for each unit."""
        ...


A = TypeVar("A", bound=Answers)
S = TypeVar("S", bound=Scored)


def picked(answers: object, rows: Index, *fields: str) -> dict[str, Any]:
    """Give what fields of some answers hold at `rows`: ids and origins, and those that are named.

    Args:
        rows: which, in the order in which they are wanted.
        fields: further ones that have an entry for each row; one that is None stays so.
    """
    places: list[int] = rows.tolist()

    def at(held: Any) -> Any:
        if held is None or isinstance(held, np.ndarray):
            return None if held is None else held[rows]
        return [held[row] for row in places]

    return {name: at(getattr(answers, name)) for name in ("ids", "origins", *fields)}


def renamed(answers: A, origins: Sequence[str], failed: dict[str, str]) -> A:
    """Give the same answers under other origins.

    Args:
        answers: of a frozen dataclass.
        origins: of its rows.
        failed: origin to cause, for rows that are in nothing else.
    """
    held: Any = answers
    return replace(held, origins=origins, failed=failed)


@dataclass(frozen=True)
class Predictions:
    """Class scores for the rows of one part; R rows, L labels.

    Args:
        labels: the L label names; a class index counts into them.
        ids: content ids of the R rows.
        origins: `file:line` of the R rows.
        texts: text of each row.
        pairs: second text of each row, or None for single texts.
        gold_R: int32, index of the true label; -1 where the row has none that is known.
        log_probs_RL: float32, natural logarithm of each label's probability.
        failed: origin to cause, for rows that could not be answered; they are in no array.
    """

    labels: tuple[str, ...]
    ids: Sequence[str]
    origins: Sequence[str]
    texts: Sequence[str]
    pairs: Sequence[str] | None
    gold_R: npt.NDArray[np.int32]
    log_probs_RL: npt.NDArray[np.float32]
    failed: dict[str, str]

    @property
    def answer_R(self) -> npt.NDArray[np.int32]:
        """Index of the likeliest label of each row."""
        return self.log_probs_RL.argmax(axis=1).astype(np.int32)

    @property
    def known_R(self) -> Bools:
        """Which rows have a gold."""
        return self.gold_R >= 0

    def finite(self) -> bool:
        """Whether every score of a row with a gold is a finite number."""
        return bool(np.isfinite(self.log_probs_RL[self.known_R]).all())

    def take(self, rows: Index) -> Predictions:
        """Give the rows at `rows`, in that order."""
        return replace(self, **picked(self, rows, "texts", "pairs", "gold_R", "log_probs_RL"))

    def same_gold(self, other: Predictions) -> bool:
        """Whether the rows of both have the same gold."""
        return np.array_equal(self.gold_R, other.gold_R)

    def rescored(self, log_probs: Floats) -> Predictions:
        """Give the same rows with other class scores, [R, L]."""
        return replace(self, log_probs_RL=log_probs, failed={})

    def __len__(self) -> int:
        return len(self.ids)
