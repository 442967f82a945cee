"""Lower: what the layers below all adapters give, and the proof that a base can go on from it.

Legend: T real tokens, P tokens of the longest row, D channels.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tenon.adapters.blocks import block_of
from tenon.adapters.fit import fit
from tenon.adapters.names import modules
from tenon.adapters.settings import AdapterSettings
from tenon.model.entry import (
    LOWEST,
    SEQ2SEQ,
    Entry,
    Seen,
    blocks,
    depth_of,
    faults_of,
    left,
    same,
    spare_first,
)
from tenon.model.loading import quiet
from tenon.model.trunk import PROOF_LENGTHS, TOLERANCE, Trunk, proof_row
from tenon.text.batch import Batch, Below, batch, of_ids
from tenon.text.order import Rows
from tenon.text.tokens import Tokens


def lower_TD(trunk: Trunk, rows: Batch, layers: int) -> Tensor:
    """Give the states that leave so many layers of a base, row after row, without gradients.

    The upper layers are not run, nor those below what is stored of the rows. The base keeps its
    mode.

    Args:
        rows: on any device.
    """
    on_device = rows.to(trunk.device)
    with torch.no_grad(), left(trunk.model, layers) as found:
        trunk.hidden_TD(on_device)
    if trunk.packed:
        return found[0][0]
    lengths_B1 = torch.tensor(rows.lengths, device=trunk.device)[:, None]
    real_BP = torch.arange(max(rows.lengths), device=trunk.device) < lengths_B1
    return found[0][real_BP]


class Recalled:
    """States that are computed when they are asked for, and given again from memory.

    Args:
        trunk: with adapters in none of the layers.
        tokens: whose rows are asked for.
        layers: how many layers they spare.
    """

    def __init__(self, trunk: Trunk, tokens: Tokens, layers: int) -> None:
        self.trunk, self.layers = trunk, layers
        self.tokens = replace(tokens, below=None)
        self._known: dict[bytes, Tensor] = {}

    def states_TD(self, rows: Rows) -> Tensor:
        """Give the states of some rows, one row after the other."""
        key = rows.tobytes()
        if key not in self._known:
            self._known[key] = lower_TD(self.trunk, batch(self.tokens, rows), self.layers)
        return self._known[key]


def named_entry(trunk: Trunk, settings: AdapterSettings) -> Entry:
    """Tell from names where a base could be entered below an adapter; nothing is run or proved.

    Raises:
        PlanError: a site matches nothing, or the kind refuses the trunk.
    """
    count = len(blocks(trunk.model))
    found = [block_of(name) for name in modules(fit(trunk.model, settings).places)]
    layers = min((block.number if block else 0 for block in found), default=0)
    if trunk.seq2seq or not layers:
        return Entry(0, count, why=SEQ2SEQ if trunk.seq2seq else LOWEST)
    return Entry(layers, count, trunk.hidden_size)


def entry_of(trunk: Trunk) -> Entry:
    """Find how many layers of a base lie below all its adapters, and prove that they can be spared.

    What goes on from stored states must be what goes through the whole base. The adapters that are
    asked about are on the base; everything is in evaluation mode.
    """
    if trunk.seq2seq:
        return Entry(0, 0, why=SEQ2SEQ)
    proof = proof_of(trunk)
    seen = Seen(blocks(trunk.model))
    if seen.blocks and not seen.lowest:
        return Entry(0, len(seen.blocks), why=LOWEST)
    with torch.no_grad(), quiet():
        with seen.watching(trunk.model):
            whole_TD = trunk.hidden_TD(proof)
        why = faults_of(trunk.model, seen)
        if not why:
            spare_first(trunk.model, seen.first)
            why = goes_on(trunk, proof, whole_TD, seen.lowest)
    return depth_of(seen, why)


def proof_of(trunk: Trunk) -> Batch:
    """Give the rows on which it is proved that a base can be entered."""
    return of_ids([proof_row(trunk, length) for length in PROOF_LENGTHS]).to(trunk.device)


def goes_on(trunk: Trunk, proof: Batch, whole_TD: Tensor, layers: int) -> str:
    """Say why a base does not go on from the states that leave so many layers; empty if it does.

    What makes the states that enter the first layer is spared no more where it must not be.

    Args:
        proof: some rows.
        whole_TD: their last hidden states, from a pass through all layers.
    """
    stored = replace(proof, below=Below(layers, lower_TD(trunk, proof, layers)))
    if same(whole_TD, trunk.hidden_TD(stored), TOLERANCE[trunk.model.dtype]):
        return ""
    spare_first(trunk.model, ())
    if same(whole_TD, trunk.hidden_TD(stored), TOLERANCE[trunk.model.dtype]):
        return ""
    return "its hidden states differ when it goes on from stored ones"
