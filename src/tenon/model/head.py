"""Head: a row's hidden states to one vector, and the vector to class scores.

Legend: B rows, T tokens, D hidden, L labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from tenon.model.settings import Pooling


def pool(hidden_TD: Tensor, lengths: tuple[int, ...], pooling: Pooling) -> Tensor:
    """Give one vector a row, in float32, of shape [B, D].

    Args:
        hidden_TD: hidden states of the real tokens, row after row.
        lengths: tokens of each row; they sum to T.
        pooling: `mean` over the row's tokens, `cls` its first, `last` its last; `pooler` takes
            the first, which the base's own pooler then reads.
    """
    if pooling != "mean":
        return hidden_TD[read(lengths, pooling, hidden_TD.device)].float()
    lengths_B = torch.tensor(lengths, device=hidden_TD.device)
    rows_T = torch.repeat_interleave(torch.arange(len(lengths), device=lengths_B.device), lengths_B)
    return means(hidden_TD, rows_T, lengths_B)


def means(hidden_TD: Tensor, rows_T: Tensor, lengths_B: Tensor) -> Tensor:
    """Give the mean of each row's hidden states, in float32, of shape [B, D].

    Args:
        hidden_TD: hidden states, row after row.
        rows_T: the row of each.
        lengths_B: tokens of each row; at least 1.
    """
    sums_BD = hidden_TD.new_zeros(len(lengths_B), hidden_TD.shape[1], dtype=torch.float32)
    return sums_BD.index_add(0, rows_T, hidden_TD.float()) / lengths_B[:, None]


def read(lengths: tuple[int, ...], pooling: Pooling, device: torch.device) -> Tensor:
    """Give the place of the one token of each row that a pooling other than `mean` reads."""
    lengths_B = torch.tensor(lengths, device=device)
    ends_B = lengths_B.cumsum(0)
    return ends_B - 1 if pooling == "last" else ends_B - lengths_B


DENSE: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": functional.relu,
    "gelu": functional.gelu,
}
"""Activations of a layer before the scores."""
LINEAR = "linear."


class Head(nn.Module):
    """Class scores from pooled vectors: `W v + b`, in float32.

    Args:
        hidden_size: D.
        labels: L.
        normalize: scale v to length 1 first, as the base was trained.
        bias: whether there is a b; decoders' heads in transformers have none.
        dense: activation of a layer [D, D] that stands before, as in RoBERTa's own head; empty for
            none. Tenon trains none, but reads those of others.

    What else turns its scores into answers is in `constants`, by name: thresholds, or the mean and
    spread of the numbers that were learned. They are not trained. `temperature` is what the weights
    have been divided by, so that scores are as sure as they are right.
    """

    def __init__(
        self, hidden_size: int, labels: int, *, normalize: bool, bias: bool, dense: str = ""
    ) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size) if dense else None
        self.activation = DENSE[dense] if dense else None
        self.normalize = normalize
        self.has_bias = bias
        self.constants: dict[str, tuple[float, ...]] = {}
        self.temperature = 1.0
        self.linear = nn.Linear(hidden_size, labels, bias=bias)
        nn.init.normal_(self.linear.weight, std=0.02)

    def features(self, pooled_BD: Tensor) -> Tensor:
        """Give what the linear layer reads."""
        if self.dense is not None and self.activation is not None:
            pooled_BD = self.activation(self.dense(pooled_BD))
        return functional.normalize(pooled_BD, dim=-1) if self.normalize else pooled_BD

    def forward(self, pooled_BD: Tensor) -> Tensor:
        """Give logits_BL."""
        return self.linear(self.features(pooled_BD))

    def tensors(self) -> dict[str, Tensor]:
        """Copy `weight` and `bias`, and those of the dense layer, on the CPU."""
        held = self.state_dict().items()
        return {name.removeprefix(LINEAR): t.detach().cpu().clone() for name, t in held}

    def put(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what `tensors` gave; the inverse of it."""
        self.load_state_dict(
            {
                name if name.startswith("dense.") else f"{LINEAR}{name}": t
                for name, t in tensors.items()
            }
        )

    def start_from(self, weight_LD: Tensor, bias_L: Tensor, unit_D: Tensor) -> None:
        """Copy the weights of a linear probe on the same features.

        Args:
            unit_D: the vector whose product with a feature vector is nearest to 1; in a head
                without b, it carries the probe's bias.
        """
        with torch.no_grad():
            if self.has_bias:
                self.linear.bias.copy_(bias_L)
            else:
                weight_LD = weight_LD + bias_L[:, None] * unit_D
            self.linear.weight.copy_(weight_LD)
