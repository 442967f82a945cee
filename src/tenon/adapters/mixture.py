"""Mixture: the attention of a fusion over what adapters change at one module.

A fresh mixture weighs all adapters alike, as its query is 0.

Source: Pfeiffer et al. 2021, AdapterFusion (arXiv:2005.00247), section 3.2: the query is what the
module gives, keys and values are what the adapters add to it. Its value matrix starts as the
identity and is held near it by a penalty; here it is the identity plus a matrix that starts at 0,
which weight decay holds there.
Legend: D channels of the module's output, N adapters, A units of query and key; dimensions before
them are free.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Mixture(nn.Module):
    """Weighs what N adapters change, for each token by itself.

    Args:
        channels: D.
        size: A.
        value: whether the mixture passes through a trained matrix.
        dropout: share of the weights that is zeroed while training.
    """

    def __init__(self, channels: int, size: int, *, value: bool, dropout: float) -> None:
        super().__init__()
        self.query = nn.Linear(channels, size, dtype=torch.float32)
        self.key = nn.Linear(channels, size, bias=False, dtype=torch.float32)
        self.value = (
            nn.Linear(channels, channels, bias=False, dtype=torch.float32) if value else None
        )
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.query.weight)
        nn.init.zeros_(self.query.bias)
        if self.value is not None:
            nn.init.zeros_(self.value.weight)

    def weights(self, output_D: Tensor, changes_ND: Tensor) -> Tensor:
        """Give the weight of each adapter, float32 [..., N], which sum to 1.

        Args:
            output_D: float32 [..., D], what the module gives.
            changes_ND: float32 [..., N, D], what each adapter adds to it; 0 for one that has
                nothing there.
        """
        query_A = self.query(output_D)
        scores_N = (self.key(changes_ND) @ query_A[..., None])[..., 0]
        return self.dropout(scores_N.softmax(-1))

    def forward(self, output_D: Tensor, changes_ND: Tensor) -> Tensor:
        """Give what is added to the module's output, float32 [..., D]."""
        weights_N = self.weights(output_D, changes_ND)
        mixed_D = (weights_N[..., None, :] @ changes_ND)[..., 0, :]
        return mixed_D if self.value is None else mixed_D + self.value(mixed_D)
