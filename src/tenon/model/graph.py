"""Graph: padded rows to class scores in one forward pass, for runtimes that know tensors alone.

Legend: B rows, P tokens of the longest row, D hidden, L classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tenon.model.adapted import Adapted
from tenon.model.head import Head
from tenon.model.trunk import Trunk

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Graph(nn.Module):
    """Trunk, adapter and head of a task whose head is ours, over padded rows.

    Args:
        model: as it answers.
        head: its own.
        pooling: hidden states to a pooled vector; "tokens" where every token is scored.
    """

    def __init__(self, model: Adapted, head: Head, pooling: str) -> None:
        super().__init__()
        self.base: nn.Module = model.base
        self.head = head
        self.pooling = pooling
        self.trunk: Trunk = model.trunk

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what `forward` takes, in order."""
        return INPUTS if self.trunk.types > 1 else INPUTS[:2]

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Give logits, [B, L], or [B, P, L] where every token is scored, in float32.

        Args:
            input_ids: int64 [B, P], padded on the right.
            attention_mask: int64 [B, P], 1 on real tokens.
            token_type_ids: int64 [B, P], where the base tells token types apart.
        """
        model: Any = self.trunk.model
        states = model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            **({} if token_type_ids is None else {"token_type_ids": token_type_ids}),
        )
        return self.head(self._read(states.last_hidden_state, attention_mask))

    def _read(self, hidden_BPD: Tensor, mask_BP: Tensor) -> Tensor:
        if self.pooling == "tokens":
            return hidden_BPD.float()
        if self.pooling == "mean":
            real_BP1 = mask_BP[..., None].float()
            return (hidden_BPD.float() * real_BP1).sum(1) / real_BP1.sum(1)
        if self.pooling == "last":
            ends_B11 = (mask_BP.sum(1) - 1)[:, None, None].expand(-1, 1, hidden_BPD.shape[2])
            return hidden_BPD.gather(1, ends_B11)[:, 0].float()
        if self.pooling == "cls":
            return hidden_BPD[:, 0].float()
        pooler: Any = self.trunk.model.pooler
        return pooler(hidden_BPD[:, :1]).float()


def example(graph: Graph) -> tuple[Tensor, ...]:
    """Give inputs that a graph can be traced on: two rows, the second one shorter."""
    ids_BP = torch.arange(10).reshape(2, 5) % (int(graph.trunk.model.config.vocab_size) - 1) + 1
    mask_BP = torch.ones_like(ids_BP)
    mask_BP[1, 3:] = 0
    ids_BP[1, 3:] = graph.trunk.pad
    given = (ids_BP, mask_BP, torch.zeros_like(ids_BP))
    return tuple(tensor.to(graph.trunk.device) for tensor in given[: len(graph.inputs)])
