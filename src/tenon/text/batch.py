"""Batch: rows laid end to end, with their borders; B rows, T real tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tenon.text.order import Rows
from tenon.text.tokens import Tokens


@dataclass(frozen=True)
class Below:
    """What the lower layers of a frozen base make of a batch, computed before.

    Args:
        layers: how many of the base's layers that is.
        states_TD: the hidden states that enter the next one.
    """

    layers: int
    states_TD: Tensor


@dataclass(frozen=True)
class Batch:
    """B rows as one run of T real tokens.

    Args:
        ids_T: int64 token ids, row after row.
        types_T: int64 token types, or None where all are 0.
        lengths: tokens of each of the B rows; they sum to T.
        targets_X: float32 targets of the rows, row after row, in the form of the task.
        rows: place of each row in its Tokens.
        below: what a base without adapters in its lower layers need not compute again; None
            where nothing is stored.
    """

    ids_T: Tensor
    types_T: Tensor | None
    lengths: tuple[int, ...]
    targets_X: Tensor
    rows: Rows
    below: Below | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def tokens(self) -> int:
        """Real tokens of the batch."""
        return int(self.ids_T.shape[0])

    def to(self, device: torch.device) -> Batch:
        """Give the batch with its tensors on `device`."""
        types = None if self.types_T is None else sent(self.types_T, device)
        ids, targets = sent(self.ids_T, device), sent(self.targets_X, device)
        below = self.below and Below(self.below.layers, sent(self.below.states_TD, device))
        return Batch(ids, types, self.lengths, targets, self.rows, below)

    @property
    def classes_X(self) -> Tensor:
        """The targets as int64 classes; -1 for none."""
        return self.targets_X.long()

    @property
    def positions_T(self) -> Tensor:
        """Place of each token within its row, from 0."""
        places = np.concatenate([np.arange(length) for length in self.lengths])
        return sent(torch.from_numpy(places), self.ids_T.device)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Give a tensor on a device; a GPU's computing is not waited for."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def batch(tokens: Tokens, rows: Rows) -> Batch:
    """Lay `rows` of `tokens` end to end."""
    places, kept = rows.tolist(), tokens.below
    ids = np.concatenate([tokens.ids(row) for row in places])
    kinds = [tokens.types(row) for row in places]
    typed = [kind for kind in kinds if kind is not None]
    return Batch(
        ids_T=torch.from_numpy(ids.astype(np.int64)),
        types_T=torch.from_numpy(np.concatenate(typed).astype(np.int64)) if typed else None,
        lengths=tuple(tokens.lengths_R[rows].tolist()),
        targets_X=torch.from_numpy(np.concatenate([tokens.targets(row) for row in places])),
        rows=rows,
        below=None if kept is None else Below(kept.layers, kept.states_TD(rows)),
    )


def joined(batches: Sequence[Batch]) -> Batch:
    """Lay batches end to end; targets stand end to end as well, whatever their forms."""
    typed = any(each.types_T is not None for each in batches)
    types = [
        torch.zeros_like(each.ids_T) if each.types_T is None else each.types_T for each in batches
    ]
    return Batch(
        ids_T=torch.cat([each.ids_T for each in batches]),
        types_T=torch.cat(types) if typed else None,
        lengths=tuple(length for each in batches for length in each.lengths),
        targets_X=torch.cat([each.targets_X for each in batches]),
        rows=np.concatenate([each.rows for each in batches]),
        below=_joined_below([each.below for each in batches]),
    )


def _joined_below(parts: Sequence[Below | None]) -> Below | None:
    """Lay stored states end to end; None where a part has none, or of other layers."""
    found = [part for part in parts if part is not None]
    if len(found) < len(parts) or len({part.layers for part in found}) > 1:
        return None
    return Below(found[0].layers, torch.cat([part.states_TD for part in found]))


def filled(batch: Batch, tokens: int, token: int) -> Batch:
    """Lay a row of one token behind a batch, that nobody learns from.

    Args:
        tokens: how often the token is in it; 0 for no row.
        token: its id.
    """
    if not tokens:
        return batch
    more = batch.ids_T.new_full((tokens,), token)
    types, below = batch.types_T, batch.below
    if below is not None:
        states_TD = torch.nn.functional.pad(below.states_TD, (0, 0, 0, tokens))
        below = Below(below.layers, states_TD)
    return replace(
        batch,
        ids_T=torch.cat([batch.ids_T, more]),
        types_T=None if types is None else torch.cat([types, torch.zeros_like(more)]),
        lengths=(*batch.lengths, tokens),
        below=below,
    )


def of_ids(ids: list[list[int]], types: list[list[int]] | None = None) -> Batch:
    """Lay rows of token ids end to end, without targets: -1 for each row."""
    flat = [token for row in ids for token in row]
    kinds = None if types is None else [kind for row in types for kind in row]
    return Batch(
        ids_T=torch.tensor(flat, dtype=torch.int64),
        types_T=None if kinds is None else torch.tensor(kinds, dtype=torch.int64),
        lengths=tuple(len(row) for row in ids),
        targets_X=torch.full((len(ids),), -1.0),
        rows=np.arange(len(ids)),
    )
