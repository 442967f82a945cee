"""Seq2Seq: a frozen encoder-decoder with an adapter, and its own language-model head.

Legend: B rows, S tokens of the longest source, P places of the longest answer, U tokens that are
learned, D hidden, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers.modeling_outputs import Seq2SeqLMOutput

from tenon.core.errors import PlanError
from tenon.model.adapted import Adapted
from tenon.model.coded import coded_BPD, coded_TD
from tenon.model.head import Head
from tenon.model.trunk import Trunk
from tenon.model.writer import IGNORED, chunked_nats_U
from tenon.text.batch import Batch, sent

SEPARATE = (
    "adapters of an encoder-decoder cannot share a pass over it, as each answer has a source of "
    "its own; train them one by one"
)


@dataclass(frozen=True)
class Sides:
    """A batch as its two sides.

    Args:
        source_BS: ids that the encoder reads, padded on the right.
        real_BS: 1 on real tokens of it.
        said_BP: ids that the decoder reads: what every answer begins with, and the answer.
        real_BP: 1 on real tokens of it.
        learned_BP: whether the state at a place is asked for a token that is learned.
        ids_U: the learned tokens, row after row.
    """

    source_BS: Tensor
    real_BS: Tensor
    said_BP: Tensor
    real_BP: Tensor
    learned_BP: Tensor
    ids_U: Tensor


@dataclass(frozen=True, eq=False)
class Parted:
    """A batch as its two sides, each laid end to end.

    Args:
        source_S, said_T: ids that the encoder and the decoder read: what every answer begins with,
            and the answer.
        source, said: tokens of each row of both.
        places_U: the token of `said_T` whose state is asked for each that is learned.
        ids_U, weights_U: of the learned tokens, row after row.
    """

    source_S: Tensor
    said_T: Tensor
    source: tuple[int, ...]
    said: tuple[int, ...]
    places_U: Tensor
    ids_U: Tensor
    weights_U: Tensor


class Seq2Seq(Adapted):
    """Scores of the next token of answers, of which the encoder has read the sources.

    A row of a batch is a source and, from the first token with a weight on, its answer. In
    training mode the frozen trunk runs without its own dropout unless `trunk_dropout` is set;
    adapters keep theirs. `forward` takes what `transformers.Trainer` gives such a model.

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
        """Give the summed cross-entropy of the learned tokens."""
        return self.nats_U(batch).sum()

    def nats_from(self, hidden_TD: Tensor, batch: Batch) -> Tensor:
        """Refuse: a batch of one side has no hidden states that could be shared.

        Raises:
            PlanError: always.
        """
        del hidden_TD, batch
        raise PlanError(SEPARATE)

    def targets(self, batch: Batch) -> int:
        """Give how many tokens are learned."""
        return int((batch.targets_X > 0).sum())

    def nats_U(self, batch: Batch) -> Tensor:
        """Give the cross-entropy of each learned token, times its weight, in the batch's order."""
        if self.trunk.packed:
            return self._packed_nats_U(batch)
        on_device = batch.to(self.trunk.device)
        weights_T = on_device.targets_X
        sides = self.sides(on_device)
        hidden_UD = self._hidden_BPD(sides)[sides.learned_BP]
        nats_U = chunked_nats_U(self.trunk, hidden_UD, sides.ids_U)
        return nats_U * weights_T[weights_T > 0]

    def _packed_nats_U(self, batch: Batch) -> Tensor:
        """Give the same from sources laid end to end, and answers likewise."""
        sides, device = parted(batch, self.trunk.start), self.trunk.device
        source_S, said_T, places_U, ids_U, weights_U = (
            sent(each, device)
            for each in (
                sides.source_S, sides.said_T, sides.places_U, sides.ids_U, sides.weights_U
            )
        )  # fmt: skip
        hidden_TD, _ = coded_TD(self.trunk.model, source_S, said_T, sides.source, sides.said)
        return chunked_nats_U(self.trunk, hidden_TD.index_select(0, places_U), ids_U) * weights_U

    def next_logits_BV(self, batch: Batch) -> Tensor:
        """Give the scores of the token with which the answer to each row begins, in float32."""
        sides = self.sides(batch.to(self.trunk.device))
        hidden_BPD = self._hidden_BPD(sides)
        return self.trunk.logits_UV(hidden_BPD[:, len(self.trunk.start) - 1])

    def sides(self, batch: Batch) -> Sides:
        """Part each row at the first token with a weight.

        Args:
            batch: on the trunk's device; -1 for each row instead of weights where all is source.
        """
        lengths = list(batch.lengths)
        rows = torch.split(batch.ids_T, lengths)
        weighed = len(batch.targets_X) == len(batch.ids_T)
        weights = torch.split(batch.targets_X, lengths) if weighed else [None] * len(rows)
        borders = [
            _border(weights_T, len(row)) for weights_T, row in zip(weights, rows, strict=True)
        ]
        pairs = list(zip(rows, borders, strict=True))
        start = torch.tensor(self.trunk.start, device=batch.ids_T.device)
        said = [torch.cat([start, row[border:]]) for row, border in pairs]
        learned = [
            _learned(len(start), None if w is None else w[border:], row[border:])
            for (row, border), w in zip(pairs, weights, strict=True)
        ]
        source_BS, real_BS = self._padded([row[:border] for row, border in pairs])
        said_BP, real_BP = self._padded(said)
        learned_BP = pad_sequence(learned, batch_first=True, padding_value=0).bool()
        ids_BP = torch.roll(said_BP, -1, dims=1)
        return Sides(source_BS, real_BS, said_BP, real_BP, learned_BP, ids_BP[learned_BP])

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        labels: Tensor,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Seq2SeqLMOutput:
        """Give the loss of padded sides, as `transformers.Trainer` calls a model.

        Args:
            input_ids: [B, S], the sources, padded on the right.
            attention_mask: [B, S], 1 on real tokens.
            labels: [B, P], the ids of the answers, else -100.
            num_items_in_batch: learned tokens of the whole step; their mean is the loss.
        """
        start = torch.tensor(self.trunk.start, device=labels.device).expand(len(labels), -1)
        said_BP = torch.cat([start, labels.masked_fill(labels == IGNORED, self.trunk.pad)], 1)
        count = len(self.trunk.start)
        learned_BP = nn.functional.pad(labels != IGNORED, (count - 1, 1))
        real_BP = nn.functional.pad(labels != IGNORED, (count, 0), value=True)
        ids_U = labels[labels != IGNORED]
        sides = Sides(input_ids, attention_mask, said_BP, real_BP.long(), learned_BP, ids_U)
        hidden_UD = self._hidden_BPD(sides)[learned_BP]
        total = chunked_nats_U(self.trunk, hidden_UD, ids_U).sum()
        items = len(ids_U) if num_items_in_batch is None else num_items_in_batch
        return Seq2SeqLMOutput(loss=cast(torch.FloatTensor, total / items))

    def _hidden_BPD(self, sides: Sides) -> Tensor:
        return coded_BPD(
            self.trunk.model, sides.source_BS, sides.real_BS, sides.said_BP, sides.real_BP
        )

    def _padded(self, rows: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Give rows padded on the right, and 1 on their real tokens."""
        ids_BS = pad_sequence(rows, batch_first=True, padding_value=self.trunk.pad)
        lengths_B = torch.tensor([len(row) for row in rows], device=ids_BS.device)
        places_S = torch.arange(ids_BS.shape[1], device=ids_BS.device)
        return ids_BS, (places_S < lengths_B[:, None]).long()


def parted(batch: Batch, start: Sequence[int]) -> Parted:
    """Part each row at the first token with a weight; all is source where there is none.

    Args:
        batch: weights of all tokens are its targets.
        start: what every answer begins with.
    """
    ids = batch.ids_T.cpu().split(list(batch.lengths))
    weights = batch.targets_X.cpu().split(list(batch.lengths))
    first = torch.tensor(start)
    sources, answers, places = list[Tensor](), list[Tensor](), list[Tensor]()
    before = 0
    for ids_T, weights_T in zip(ids, weights, strict=True):
        learned_U = (weights_T > 0).nonzero()[:, 0]
        border = int(learned_U[0]) if len(learned_U) else len(ids_T)
        sources.append(ids_T[:border])
        answers.append(torch.cat([first, ids_T[border:]]))
        # A token is asked of the state before it, which is the start's for the first.
        places.append(learned_U - border + before + len(start) - 1)
        before += len(answers[-1])
    known_T = torch.cat(weights) > 0
    return Parted(
        torch.cat(sources),
        torch.cat(answers),
        tuple(map(len, sources)),
        tuple(map(len, answers)),
        torch.cat(places),
        torch.cat(ids)[known_T],
        torch.cat(weights)[known_T],
    )


def _border(weights_T: Tensor | None, length: int) -> int:
    """Give the place of a row's first weight; its length where it has none."""
    found = [] if weights_T is None else (weights_T > 0).nonzero()[:1, 0].tolist()
    return found[0] if found else length


def _learned(start: int, weights_T: Tensor | None, ids_T: Tensor) -> Tensor:
    """Say of each place of a decoder's row whether it is asked for a token with a weight."""
    flags_P = torch.zeros(start + len(ids_T), dtype=torch.int64, device=ids_T.device)
    if weights_T is not None:
        flags_P[start - 1 : start - 1 + len(ids_T)] = (weights_T > 0).long()
    return flags_P
