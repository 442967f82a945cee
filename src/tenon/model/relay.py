"""Relay: a trunk whose hidden states come from elsewhere, for the heads of adapters that share one.

Legend: T real tokens, U chosen ones, V tokens of the vocabulary, D hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from tenon.model.trunk import Trunk
from tenon.text.batch import Batch

States = Callable[[Batch], Tensor]


class Relay:
    """What a head asks of a trunk, answered by what another has computed.

    Args:
        trunk: the one that computes.
        states: gives the last hidden state of every token of a batch, [T, D].
    """

    def __init__(self, trunk: Trunk, states: States) -> None:
        self.trunk = trunk
        self.states = states
        self.model = Shell(trunk.model)

    @property
    def device(self) -> torch.device:
        """Where the base lies."""
        return self.trunk.device

    @property
    def hidden_size(self) -> int:
        """Channels D of a hidden state."""
        return self.trunk.hidden_size

    @property
    def seq2seq(self) -> bool:
        """As of the trunk."""
        return self.trunk.seq2seq

    @property
    def output(self) -> nn.Module:
        """The base's own language-model head."""
        return self.trunk.output

    def hidden_TD(self, batch: Batch) -> Tensor:
        """Give the last hidden state of every real token, row after row."""
        return self.states(batch)

    def logits_UV(self, hidden_UD: Tensor) -> Tensor:
        """Give the scores of the next token from hidden states."""
        return self.trunk.logits_UV(hidden_UD)

    @property
    def as_trunk(self) -> Trunk:
        """The same, where a model asks for a trunk, of which it uses no more than is here."""
        return cast(Trunk, self)


class Shell(nn.Module):
    """What of a base a head reads beside hidden states: its trained pooler and number format.

    It has no layers, so that a model around it is quickly put into evaluation mode.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.dtype: torch.dtype = cast(Any, model).dtype
        self.pooler = getattr(model, "pooler", None)


def replay(rows: Sequence[Tensor]) -> States:
    """Give the states of a batch from those of single rows.

    Args:
        rows: [tokens, D] of each row of the Tokens that the batch is of.
    """
    return lambda batch: torch.cat([rows[row] for row in batch.rows.tolist()])
