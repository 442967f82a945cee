"""Work: floating-point operations of passes over rows, from their lengths.

Legend: N parameters that every token meets, T tokens, L tokens of a row, D channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tenon.adapters.blocks import block_of
from tenon.model.quantized import count_parameters
from tenon.model.recompute import Recompute
from tenon.model.trunk import Trunk
from tenon.plan.plan import Plan
from tenon.text.order import Order, Rows, micro_batches
from tenon.text.tokens import Tokens

FORWARD, BACKWARD, AGAIN = 1, 1, 1
"""Passes over the base in a step: its weights are frozen, so that only states get gradients."""


@dataclass(frozen=True)
class Work:
    """How much there is to compute on a base.

    Args:
        per_token: operations of a forward pass over a token, attention left out: 2 N.
        per_pair: of a token that attends to one other, over all layers: 4 D a layer.
        padded: whether padding is computed as well.

    Source: Kaplan et al. 2020 (arXiv:2001.08361), table 1.
    """

    per_token: float
    per_pair: float
    padded: bool

    def of(self, lengths: Rows) -> float:
        """Give the operations of a forward pass over the rows of a micro-batch."""
        longest, rows = int(lengths.max()), len(lengths)
        tokens = rows * longest if self.padded else int(lengths.sum())
        pairs = rows * longest**2 if self.padded else int((lengths**2).sum())
        return self.per_token * tokens + self.per_pair * pairs

    def batches(self, parts: Iterable[Rows], lengths_R: Rows) -> np.ndarray[Any, Any]:
        """Give the operations of each of some micro-batches."""
        return np.array([self.of(lengths_R[rows]) for rows in parts])


def work_of(trunk: Trunk) -> Work:
    """Give what passes over a base compute."""
    model: Any = trunk.whole if trunk.whole is not None else trunk.model
    config = trunk.model.config
    outside = sum(
        parameter.numel() for name, parameter in model.named_parameters() if block_of(name) is None
    )
    inside = max(1, count_parameters(model) - outside)
    head = trunk.hidden_size * int(config.vocab_size) if trunk.whole is not None else 0
    return Work(
        per_token=2.0 * (inside + head),
        per_pair=4.0 * trunk.hidden_size * layers_of(trunk),
        padded=not trunk.packed,
    )


def passes_of(recompute: Recompute, layers: int, below: float = 0.0, spared: float = 0.0) -> float:
    """Give how many passes over the base a step of training takes.

    Args:
        recompute: which layers compute their states again.
        layers: of the base.
        below: share of the layers that lie below all adapters, to which no gradients go.
        spared: share of the layers whose states are stored.
    """
    learning = 1 - below
    share = 0.0 if recompute == "auto" else int(recompute) / max(1, layers)
    again = learning if recompute is True else min(share, learning)
    return (FORWARD + BACKWARD) * learning + AGAIN * again + below - spared


def layers_of(trunk: Trunk) -> int:
    """Give how many layers a base has, as its config says."""
    return int(getattr(trunk.model.config, "num_hidden_layers", 0) or 1)


def steps_of(plan: Plan, train: Tokens) -> list[list[Rows]]:
    """Give the micro-batches of each step of the first epoch; the others are like it."""
    order = Order(train.lengths_R, plan.seed, plan.train.tokens_per_step)
    size = plan.train.micro_batch_tokens
    return [micro_batches(rows, train.lengths_R, size) for rows in order.epoch(0)]
