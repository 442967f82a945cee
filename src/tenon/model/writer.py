"""Writer: a frozen decoder with an adapter, and its own language-model head.

Legend: B rows, P tokens of the longest row, T real tokens, U tokens that are learned, D hidden,
V tokens of the vocabulary.
"""

from __future__ import annotations

from typing import cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers.modeling_outputs import CausalLMOutput

from tenon.adapters.lean import autocasts
from tenon.model.adapted import Adapted
from tenon.model.entropy import FrozenEntropy
from tenon.model.head import Head
from tenon.model.trunk import LOGITS, Trunk
from tenon.text.batch import Batch, sent

IGNORED = -100
CHUNK_SCORES = 1 << 26
"""Scores of tokens that are held at once: 256 MiB in float32."""


class Writer(Adapted):
    """Scores of the next token for packed or padded rows, at the learned places alone.

    The targets of a batch are the weights of its tokens: 0 for those that are only read. In
    training mode the frozen trunk runs without its own dropout unless `trunk_dropout` is set;
    adapters keep theirs. `forward` takes what `transformers.Trainer` gives a language model.

    Args:
        trunk: the base, with its language-model head; all parameters are frozen.
        peft: the PEFT model around the trunk's modules, or None for the bare base.
        trunk_dropout: keep the trunk's own dropout on in training mode.
    """

    accepts_loss_kwargs = True
    """Trainer then tells `forward` the tokens of a whole step, and does not average averages."""

    head: Head | None = None

    def __init__(
        self, trunk: Trunk, peft: PeftModel | None, *, trunk_dropout: bool = False
    ) -> None:
        super().__init__(trunk, peft, trunk_dropout=trunk_dropout)
        self.output = trunk.output

    def nats(self, batch: Batch) -> Tensor:
        """Give the summed cross-entropy of the learned tokens, each times its weight."""
        return self.nats_U(batch).sum()

    def nats_from(self, hidden_TD: Tensor, batch: Batch) -> Tensor:
        """Give the same loss from the trunk's hidden states."""
        return self._nats_U(hidden_TD, batch).sum()

    def targets(self, batch: Batch) -> int:
        """Give how many tokens are learned."""
        return int((batch.targets_X != 0).sum())

    def nats_U(self, batch: Batch) -> Tensor:
        """Give the cross-entropy of each learned token, times its weight, in the batch's order."""
        return self._nats_U(self.trunk.hidden_TD(batch.to(self.trunk.device)), batch)

    def _nats_U(self, hidden_TD: Tensor, batch: Batch) -> Tensor:
        # Found where the batch was made, so that no device has to be waited for.
        places_U = batch.targets_X.nonzero()[:, 0]
        # A token is scored at the place before it.
        before_U, ids_U, weights_U = (
            sent(each, self.trunk.device)
            for each in (places_U - 1, batch.ids_T[places_U], batch.targets_X[places_U])
        )
        return chunked_nats_U(self.trunk, hidden_TD[before_U], ids_U) * weights_U

    def next_logits_BV(self, batch: Batch) -> Tensor:
        """Give the scores of the token that follows each row, in float32."""
        hidden_TD = self.trunk.hidden_TD(batch.to(self.trunk.device))
        ends_B = torch.tensor(batch.lengths, device=hidden_TD.device).cumsum(0)
        return self.trunk.logits_UV(hidden_TD[ends_B - 1])

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        labels: Tensor,
        num_items_in_batch: Tensor | int | None = None,
    ) -> CausalLMOutput:
        """Give the loss of padded rows, as `transformers.Trainer` calls a model.

        Args:
            input_ids: [B, P], padded on the right.
            attention_mask: [B, P], 1 on real tokens.
            labels: [B, P], the id of each learned token, else -100.
            num_items_in_batch: learned tokens of the whole step; their mean is the loss.
        """
        real_BP = attention_mask.bool()
        states = self.trunk.model(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=False
        )
        learned_T = labels[real_BP] != IGNORED
        places_U = learned_T.nonzero()[:, 0]
        hidden_TD, ids_T = states.last_hidden_state[real_BP], input_ids[real_BP]
        nats_U = chunked_nats_U(self.trunk, hidden_TD[places_U - 1], ids_T[places_U])
        count = len(places_U) if num_items_in_batch is None else num_items_in_batch
        return CausalLMOutput(loss=cast(torch.FloatTensor, nats_U.sum() / count))


def chunked_nats_U(trunk: Trunk, hidden_UD: Tensor, ids_U: Tensor) -> Tensor:
    """Give the cross-entropy of tokens, each scored by the hidden state beside it.

    Where the base makes scores by its frozen head alone, none are kept for the gradient. Where it
    changes them as well and they are too many to be held at once, those of a chunk are computed
    again on the way back.
    """
    size = max(1, CHUNK_SCORES // int(trunk.model.config.vocab_size))
    head = trunk.output
    if torch.is_grad_enabled() and hidden_UD.requires_grad and _plain(trunk, hidden_UD):
        return cast(Tensor, FrozenEntropy.apply(hidden_UD, head, ids_U, size))  # pyright: ignore[reportUnknownMemberType]

    def entropy_U(hidden_UD: Tensor, ids_U: Tensor) -> Tensor:
        return functional.cross_entropy(trunk.logits_UV(hidden_UD), ids_U, reduction="none")

    if len(ids_U) <= size:
        return entropy_U(hidden_UD, ids_U)
    parts = [
        cast(Tensor, checkpoint(entropy_U, hidden, ids, use_reentrant=False))
        for hidden, ids in zip(hidden_UD.split(size), ids_U.split(size), strict=True)
    ]
    return torch.cat(parts)


def _plain(trunk: Trunk, hidden_UD: Tensor) -> bool:
    """Whether scores of tokens are a frozen matrix times hidden states, and nothing else."""
    head, config = trunk.output, trunk.model.config
    if type(head) is not nn.Linear or head.weight.requires_grad:
        return False
    changed = any(getattr(config, name, None) for name in LOGITS) or trunk.scale != 1.0
    cast_ = autocasts(hidden_UD) or hidden_UD.dtype != head.weight.dtype
    biased = "bias" in dict(head.named_parameters())
    biased = biased or getattr(trunk.whole, "final_logits_bias", None) is not None
    return bool(len(hidden_UD)) and not (changed or cast_ or biased)
