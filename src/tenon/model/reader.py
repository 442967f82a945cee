"""Reader: a frozen trunk with an adapter and a head that finds where an answer starts and ends.

Every token of a row is scored as the answer's first and as its last; the row's first token
stands for no answer. In a base that reads from left to right, that token has seen nothing, and
its scores are those of the head alone.

Legend: B rows, T real tokens, D hidden, L classes: start, end, and no answer where there is such.
"""

from __future__ import annotations

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from tenon.model.adapted import Adapted
from tenon.model.classifier import IGNORED
from tenon.model.head import Head
from tenon.model.laid_rows import LaidRows
from tenon.model.sized import Size
from tenon.model.trunk import Trunk
from tenon.text.batch import Batch

NUMBERS = 3
"""Targets of a row: first place, last place, most tokens of an answer."""
SIDES = 2


class Reader(Adapted):
    """Start and end scores for the tokens of packed or padded rows.

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

    def features_TD(self, batch: Batch) -> Tensor:
        """Give the hidden state of every token, in float32."""
        return self.head.features(self.trunk.hidden_TD(batch.to(self.trunk.device)).float())

    def logits_TL(self, batch: Batch) -> Tensor:
        """Give the head's scores of every token, in float32."""
        return self.head.linear(self.features_TD(batch))

    def scores_T2(self, batch: Batch) -> Tensor:
        """Give every token's scores as the answer's first and as its last, in float32."""
        return place_scores(self.logits_TL(batch), batch.lengths)

    def nats(self, batch: Batch) -> Tensor:
        """Give the summed cross-entropy of the rows whose answer is known: mean of both ends."""
        return self.nats_from(self.trunk.hidden_TD(batch.to(self.trunk.device)), batch)

    def nats_from(self, hidden_TD: Tensor, batch: Batch) -> Tensor:
        """Give the same loss from the trunk's hidden states."""
        logits_TL = self.head.linear(self.head.features(hidden_TD.float()))
        scores_T2 = place_scores(logits_TL, batch.lengths)
        return place_nats(scores_T2, batch.lengths, places_B2(batch))

    def room(self, size: Size, batch: Batch) -> LaidRows:
        """Give memory for micro-batches of a size."""
        del batch
        return LaidRows(size, NUMBERS * size.rows, IGNORED, self.trunk)

    def laid_nats(self, laid: LaidRows) -> Tensor:
        """Give the summed cross-entropy of the rows with answers of what is laid out."""
        logits_TL = self.head.linear(self.head.features(laid.hidden_TD().float()))
        scores_T2 = first_scored(logits_TL, laid.first_B)
        places_B2 = laid.targets_X.long().view(-1, NUMBERS)[:, :SIDES]
        return padded_nats(laid.padded_BPX(scores_T2), places_B2)

    def targets(self, batch: Batch) -> int:
        """Give how many rows have a known answer, be it none."""
        return int((places_B2(batch)[:, 0] != IGNORED).sum())


def places_B2(batch: Batch) -> Tensor:
    """Give the places of each row's answer, first and last, int64; 0 for none, -1 if unknown."""
    return batch.classes_X.reshape(-1, NUMBERS)[:, :SIDES]


def place_scores(logits_TL: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Give start and end scores of tokens, [T, 2].

    Of a head that has a class for no answer, it is what the first token of a row is scored by, as
    both ends: its bias against the others' is how readily no answer is given.

    Args:
        logits_TL: the head's scores, rows laid end to end.
        lengths: tokens of each row.
    """
    lengths_B = torch.tensor(lengths, device=logits_TL.device)
    return first_scored(logits_TL, lengths_B.cumsum(0) - lengths_B)


def first_scored(logits_TL: Tensor, first_B: Tensor) -> Tensor:
    """Give start and end scores of tokens, [T, 2]; see `place_scores`.

    Args:
        logits_TL: the head's scores, rows laid end to end.
        first_B: the place of each row's first token.
    """
    if logits_TL.shape[1] == SIDES:
        return logits_TL
    scores_T2 = logits_TL[:, :SIDES].clone()
    scores_T2[first_B] = logits_TL[first_B, SIDES:].expand(-1, SIDES)
    return scores_T2


def place_nats(scores_T2: Tensor, lengths: tuple[int, ...], places_B2: Tensor) -> Tensor:
    """Give the summed cross-entropy of places among the tokens of their rows, mean of both ends.

    Source: Devlin et al. 2019, section 4.2, with no answer at the first token as in 4.3.
    """
    rows = scores_T2.split(list(lengths))
    return padded_nats(
        pad_sequence(list(rows), batch_first=True, padding_value=-torch.inf), places_B2
    )


def padded_nats(scores_BP2: Tensor, places_B2: Tensor) -> Tensor:
    """Give the summed cross-entropy of places among the scores of their rows, mean of both ends.

    Args:
        scores_BP2: minus infinity behind a row's own.
        places_B2: first and last; -1 where they are not known.
    """
    places_X = places_B2.to(scores_BP2.device).reshape(-1)
    scores_XP = scores_BP2.transpose(1, 2).reshape(len(places_X), -1)
    total = functional.cross_entropy(scores_XP, places_X, reduction="sum", ignore_index=IGNORED)
    return total / SIDES
