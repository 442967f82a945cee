"""Classifier: a frozen trunk with an adapter, a pooling and a head.

Legend: B rows, P tokens of the longest row, T real tokens, D hidden, L labels.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from peft import PeftModel
from torch import Tensor
from transformers.modeling_outputs import SequenceClassifierOutput

from tenon.model.adapted import Adapted
from tenon.model.goal import CLASS, Goal, loss_sum
from tenon.model.goal import IGNORED as IGNORED
from tenon.model.head import Head, means, pool, read
from tenon.model.laid_rows import LaidRows
from tenon.model.last import narrowed
from tenon.model.settings import Pooling
from tenon.model.sized import Size
from tenon.model.trunk import Trunk
from tenon.text.batch import Batch


class Classifier(Adapted):
    """Class scores for packed or padded rows.

    In training mode the frozen trunk runs without its own dropout unless
    `trunk_dropout` is set; adapters keep theirs. `forward` takes what
    `transformers.Trainer` gives, so that the model can be handed to it.

    Args:
        trunk: the base; its parameters are frozen.
        peft: the PEFT model around the trunk's modules, or None for the bare base.
        head: pooled vectors to scores.
        pooling: hidden states to a pooled vector.
        trunk_dropout: keep the trunk's own dropout on in training mode.
        goal: the loss; of one class a row unless given.
    """

    accepts_loss_kwargs = True
    """Trainer then tells `forward` the rows of a whole step, and does not average averages."""

    def __init__(
        self,
        trunk: Trunk,
        peft: PeftModel | None,
        head: Head,
        pooling: Pooling,
        *,
        trunk_dropout: bool = False,
        goal: Goal = CLASS,
    ) -> None:
        super().__init__(trunk, peft, trunk_dropout=trunk_dropout)
        self.head = head.to(trunk.device)
        self.pooling: Pooling = pooling
        self.goal = goal

    def logits_BL(self, batch: Batch) -> Tensor:
        """Give the class scores of the rows of a batch, in float32."""
        return self.head(self.pooled_BD(batch))

    def nats(self, batch: Batch) -> Tensor:
        """Give the summed loss of the rows that have targets."""
        on_device = batch.to(self.trunk.device)
        device = on_device.ids_T.device
        with self._reading(lambda: read(batch.lengths, self.pooling, device)):
            hidden_TD = self.trunk.hidden_TD(on_device)
        return self.nats_from(hidden_TD, batch)

    def _reading(self, read_B: Callable[[], Tensor]) -> AbstractContextManager[None]:
        """Let the last block compute but the tokens that pooling reads, where training may."""
        whole = not self.training or self.trunk_dropout or not self.trunk.packed
        if whole or self.pooling == "mean" or not self.trunk.alone:
            return nullcontext()
        return narrowed(self.trunk.model, self.trunk.alone, read_B())

    def room(self, size: Size, batch: Batch) -> LaidRows:
        """Give memory for micro-batches of a size, with as many targets a row as a batch has."""
        each = len(batch.targets_X) // len(batch)
        return LaidRows(size, each * size.rows, self.goal.none, self.trunk)

    def laid_nats(self, laid: LaidRows) -> Tensor:
        """Give the summed loss of the rows with targets of what is laid out."""
        places_B = laid.last_B if self.pooling == "last" else laid.first_B
        with self._reading(lambda: places_B):
            hidden_TD = laid.hidden_TD()
        if self.pooling == "mean":
            pooled_BD = means(hidden_TD, laid.rows_T, laid.starts.diff().clamp(min=1))
        else:
            pooled_BD = self._seen_BD(hidden_TD[places_B].float())
        return self.goal.nats(self.head(pooled_BD), laid.targets_X, self.head)

    def nats_from(self, hidden_TD: Tensor, batch: Batch) -> Tensor:
        """Give the same loss from the trunk's hidden states."""
        logits_BL = self.head(self._pooled_BD(hidden_TD, batch.lengths))
        return self.goal.nats(logits_BL, batch.targets_X, self.head)

    def targets(self, batch: Batch) -> int:
        """Give how many rows have targets."""
        return self.goal.rows(batch.targets_X, self.head.linear.out_features)

    def features_BD(self, batch: Batch) -> Tensor:
        """Give what the head's linear layer reads of each row, in float32."""
        return self.head.features(self.pooled_BD(batch))

    def pooled_BD(self, batch: Batch) -> Tensor:
        """Give the pooled vector of each row, in float32."""
        on_device = batch.to(self.trunk.device)
        return self._pooled_BD(self.trunk.hidden_TD(on_device), batch.lengths)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
    ) -> SequenceClassifierOutput:
        """Score padded rows, as `transformers.Trainer` calls a model.

        Args:
            input_ids: [B, P], padded on the right.
            attention_mask: [B, P], 1 on real tokens.
            token_type_ids: [B, P], where the base has token types.
            labels: [B] class of each row, -1 without one.
            num_items_in_batch: rows of the whole step; their mean is the loss.
        """
        kinds = self.trunk.typed(token_type_ids)
        states = self.trunk.model(input_ids=input_ids, attention_mask=attention_mask, **kinds)
        hidden_TD = states.last_hidden_state[attention_mask.bool()]
        lengths = tuple(int(length) for length in attention_mask.sum(1).tolist())
        logits_BL = self.head(self._pooled_BD(hidden_TD, lengths))
        if labels is None:
            return SequenceClassifierOutput(logits=logits_BL)
        nats, rows = loss_sum(logits_BL, labels)
        count = rows if num_items_in_batch is None else num_items_in_batch
        return SequenceClassifierOutput(loss=nats / count, logits=logits_BL)

    def _pooled_BD(self, hidden_TD: Tensor, lengths: tuple[int, ...]) -> Tensor:
        return self._seen_BD(pool(hidden_TD, lengths, self.pooling))

    def _seen_BD(self, pooled_BD: Tensor) -> Tensor:
        """Give pooled vectors as the base's own pooler sees them, where that is asked."""
        if self.pooling != "pooler":
            return pooled_BD
        pooler: Any = self.trunk.model.pooler
        return pooler(pooled_BD[:, None].to(self.trunk.model.dtype)).float()
