"""Rule: how a layer attends."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """How a layer attends.

    Args:
        scaling: of the scores; None for one over the root of D.
        dropout: share of the scores that are dropped.
        causal: whether a token sees none that come after it.
        window: a token sees those less than so many places away; None for all.
    """

    scaling: float | None
    dropout: float
    causal: bool
    window: int | None

    def scale(self, channels: int) -> float:
        """Give what scores are multiplied by, for heads of so many channels."""
        return self.scaling if self.scaling is not None else channels**-0.5
