"""Tagged: class scores for the words or tokens of texts, and the spans they say.

Legend: R texts, U units (words or tokens) of all texts, L tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tenon.data.gold import Place, Span
from tenon.evaluate.prediction import Bools, Floats, Index, picked
from tenon.text.alignment import spans_of

Ints = npt.NDArray[np.int32]
NEVER = -1e9


@dataclass(frozen=True)
class Tagged:
    """Tag scores of the units of R texts.

    Args:
        labels: the L tags: `O`, then `B-` and `I-` of each span label.
        ids: content ids of the R texts.
        origins: `file:line` of the R texts.
        texts: the texts.
        gold: the spans of each text; None where it has none that are known.
        first_R: the first unit of each text; R + 1 numbers.
        starts_U, ends_U: the characters of each unit, end exclusive.
        classes_U: the gold tag's index; -1 without one.
        log_probs_UL: float32, natural logarithm of each tag's probability.
        failed: origin to cause, for texts that could not be answered; they are in nothing else.
    """

    labels: tuple[str, ...]
    ids: Sequence[str]
    origins: Sequence[str]
    texts: Sequence[str]
    gold: Sequence[tuple[Span, ...] | None]
    first_R: npt.NDArray[np.int64]
    starts_U: Ints
    ends_U: Ints
    classes_U: Ints
    log_probs_UL: Floats
    failed: dict[str, str]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def known_R(self) -> Bools:
        """Which texts have gold spans, be they none."""
        return np.array([spans is not None for spans in self.gold], np.bool_)

    def finite(self) -> bool:
        """Whether every score is a finite number."""
        return bool(np.isfinite(self.log_probs_UL).all())

    @cached_property
    def spans(self) -> list[tuple[Span, ...]]:
        """The spans of each text: those of the likeliest tags in which every I continues a span."""
        return [tuple(self._spans(row)) for row in range(len(self))]

    @cached_property
    def tags(self) -> list[list[str]]:
        """The tags of each text's units."""
        allowed_LL = follows(self.labels)
        return [
            [self.labels[tag] for tag in best_path(self.log_probs_UL[self.units(row)], allowed_LL)]
            for row in range(len(self))
        ]

    def units(self, row: int) -> slice:
        """Give the units of a text."""
        return slice(int(self.first_R[row]), int(self.first_R[row + 1]))

    def places(self, row: int) -> list[Place]:
        """Give the characters of a text's units."""
        units = self.units(row)
        pairs = zip(self.starts_U[units].tolist(), self.ends_U[units].tolist(), strict=True)
        return list(pairs)

    def _spans(self, row: int) -> list[Span]:
        return spans_of(self.texts[row], self.places(row), self.tags[row])

    def take(self, rows: Index) -> Tagged:
        """Give the texts at `rows`, in that order."""
        chosen: list[int] = rows.tolist()
        sizes = np.diff(self.first_R)[rows]
        units_U = np.concatenate(
            [np.arange(self.first_R[row], self.first_R[row + 1]) for row in chosen]
            or [np.zeros(0, np.int64)]
        ).astype(np.int64)
        return replace(
            self,
            **picked(self, rows, "texts", "gold"),
            first_R=np.concatenate([[0], sizes.cumsum()]).astype(np.int64),
            starts_U=self.starts_U[units_U],
            ends_U=self.ends_U[units_U],
            classes_U=self.classes_U[units_U],
            log_probs_UL=self.log_probs_UL[units_U],
        )

    def same_gold(self, other: Tagged) -> bool:
        """Whether the texts of both have the same gold spans."""
        return list(self.gold) == list(other.gold)

    def rescored(self, log_probs: Floats) -> Tagged:
        """Give the same texts with other tag scores, [U, L]."""
        return replace(self, log_probs_UL=log_probs, failed={})

    def probability(self, row: int, span: Span) -> float:
        """Give how sure the tags of a span's units are: the product of their probabilities."""
        units = self.units(row)
        inside_U = (self.starts_U[units] < span.end) & (self.ends_U[units] > span.start)
        tags = [self.labels.index(tag) for tag in self.tags[row]]
        scores_U = self.log_probs_UL[units][np.arange(len(tags)), tags]
        return float(min(1.0, np.exp(scores_U[inside_U].sum())))


def follows(labels: Sequence[str]) -> Any:
    """Say which tag may follow which, [L, L] of 0 or a large negative number; row L of the start.

    `I-x` follows only `B-x` and `I-x`.
    """
    allowed = np.zeros((len(labels) + 1, len(labels)), np.float64)
    for place, tag in enumerate(labels):
        if tag.startswith("I-"):
            before = [f"B-{tag[2:]}", tag]
            allowed[:, place] = [0.0 if known in before else NEVER for known in (*labels, "")]
    return allowed


def best_path(log_probs_UL: Floats, allowed_LL: Any) -> list[int]:
    """Give the likeliest sequence of tags that `follows` allows.

    Source: Viterbi 1967, with transitions that are free or forbidden.
    """
    if not len(log_probs_UL):
        return []
    best_L = log_probs_UL[0] + allowed_LL[-1]
    back: list[Any] = []
    for scores_L in log_probs_UL[1:]:
        joined_LL = best_L[:, None] + allowed_LL[:-1]
        back.append(joined_LL.argmax(0))
        best_L = joined_LL.max(0) + scores_L
    path = [int(best_L.argmax())]
    for came_L in reversed(back):
        path.append(int(came_L[path[-1]]))
    return path[::-1]
