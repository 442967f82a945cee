"""Tagger: a frozen trunk with an adapter and a head that scores the classes of tokens.

Legend: B rows, T real tokens, U tokens with a class, D hidden, L classes.
"""

from __future__ import annotations

from peft import PeftModel
from torch import Tensor

from tenon.model.adapted import Adapted
from tenon.model.goal import IGNORED, known_nats
from tenon.model.head import Head
from tenon.model.laid_rows import LaidRows
from tenon.model.sized import Size
from tenon.model.trunk import Trunk
from tenon.text.batch import Batch


class Tagger(Adapted):
    """Class scores for the tokens of packed or padded rows.

    In training mode the frozen trunk runs without its own dropout unless
    `trunk_dropout` is set; adapters keep theirs.

    Args:
        trunk: the base; its parameters are frozen.
        peft: the PEFT model around the trunk's modules, or None for the bare base.
        head: hidden states to scores.
        trunk_dropout: keep the trunk's own dropout on in training mode.
    """

    def __init__(
        self, trunk: Trunk, peft: PeftModel | None, head: Head, *, trunk_dropout: bool = False
    ) -> None:
        super().__init__(trunk, peft, trunk_dropout=trunk_dropout)
        self.head = head.to(trunk.device)

    def features_UD(self, batch: Batch, chosen_T: Tensor) -> Tensor:
        """Give the hidden state of chosen tokens, in float32.

        Args:
            chosen_T: bool, the tokens.
        """
        hidden_TD = self.trunk.hidden_TD(batch.to(self.trunk.device))
        return self.head.features(hidden_TD[chosen_T.to(hidden_TD.device)].float())

    def logits_UL(self, batch: Batch, chosen_T: Tensor) -> Tensor:
        """Give the class scores of chosen tokens, in float32."""
        return self.head.linear(self.features_UD(batch, chosen_T))

    def nats(self, batch: Batch) -> Tensor:
        """Give the summed cross-entropy of the tokens that have a class."""
        return self.nats_from(self.trunk.hidden_TD(batch.to(self.trunk.device)), batch)

    def nats_from(self, hidden_TD: Tensor, batch: Batch) -> Tensor:
        """Give the same loss from the trunk's hidden states."""
        known_T = batch.classes_X != IGNORED
        features_UD = self.head.features(hidden_TD[known_T.to(hidden_TD.device)].float())
        return known_nats(self.head.linear(features_UD), batch.classes_X[known_T])

    def room(self, size: Size, batch: Batch) -> LaidRows:
        """Give memory for micro-batches of a size."""
        del batch
        return LaidRows(size, size.tokens, IGNORED, self.trunk)

    def laid_nats(self, laid: LaidRows) -> Tensor:
        """Give the summed cross-entropy of the tokens with a class of what is laid out."""
        features_TD = self.head.features(laid.hidden_TD().float())
        return known_nats(self.head.linear(features_TD), laid.targets_X.long())

    def targets(self, batch: Batch) -> int:
        """Give how many tokens have a class."""
        return int((batch.classes_X != IGNORED).sum())
