"""Lower: what the layers below all adapters give, and the proof that a base can go on from it.

Legend: T real tokens, P tokens of the longest row, D channels.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tenon.model.entry import LOWEST, SEQ2SEQ, Entry, Seen, blocks, depth_of, faults_of, left, same
from tenon.model.loading import quiet
from tenon.model.trunk import PROOF_LENGTHS, TOLERANCE, Trunk, proof_row
from tenon.text.batch import Batch, Below, of_ids


def lower_TD(trunk: Trunk, batch: Batch, layers: int) -> Tensor:
    """Give the states that leave so many layers of a base, row after row, without gradients.

    The upper layers are not run. The base keeps its mode.

    Args:
        batch: on any device.
    """
    on_device = replace(batch, below=None).to(trunk.device)
    with torch.no_grad(), left(trunk.model, layers) as found:
        trunk.hidden_TD(on_device)
    if trunk.packed:
        return found[0][0]
    lengths_B1 = torch.tensor(batch.lengths, device=trunk.device)[:, None]
    real_BP = torch.arange(max(batch.lengths), device=trunk.device) < lengths_B1
    return found[0][real_BP]


def entry_of(trunk: Trunk) -> Entry:
    """Find how many layers of a base lie below all its adapters, and prove that they can be spared.

    What goes on from stored states must be what goes through the whole base. The adapters that are
    asked about are on the base; everything is in evaluation mode.
    """
    if trunk.seq2seq:
        return Entry(0, 0, why=SEQ2SEQ)
    rows = [proof_row(trunk, length) for length in PROOF_LENGTHS]
    batch = of_ids(rows).to(trunk.device)
    seen = Seen(blocks(trunk.model))
    if seen.blocks and not seen.lowest:
        return Entry(0, len(seen.blocks), why=LOWEST)
    with torch.no_grad(), quiet():
        with seen.watching(trunk.model):
            whole_TD = trunk.hidden_TD(batch)
        why = faults_of(trunk.model, seen)
        if not why:
            below = Below(seen.lowest, lower_TD(trunk, batch, seen.lowest))
            again_TD = trunk.hidden_TD(replace(batch, below=below))
            if not same(whole_TD, again_TD, TOLERANCE[trunk.model.dtype]):
                why = "its hidden states differ when it goes on from stored ones"
    return depth_of(seen, why)
