"""By hand: the scores of a base whose weights a few matrices were added to, read from files.

So are files proved whose readers do not run here. Legend: B texts, L classes, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tenon.adapters.manifest import Manifest
from tenon.evaluate.ground import headed, renderer_for, tokenizer_for, trunk_for
from tenon.evaluate.merged import proof_texts
from tenon.evaluate.probes import scores
from tenon.model.base import Base
from tenon.model.quantized import dequantize
from tenon.model.settings import ModelSettings


def scores_by_hand(
    manifest: Manifest, base: Base, settings: ModelSettings, added: Mapping[str, Tensor]
) -> Tensor:
    """Give the scores of the proof's texts, [B, L], of a base that writes and what is added to it.

    Args:
        settings: number format and device.
        added: the trunk's name of a module to what is added to its weight, [O, I].
    """
    tokenizer = tokenizer_for(manifest, base)
    trunk = trunk_for([manifest], base, settings, tokenizer)
    dequantize(trunk.model if trunk.whole is None else trunk.whole)
    for module, matrix_OI in added.items():
        layer: Any = trunk.model.get_submodule(module)
        weight = layer.weight
        matrix = matrix_OI if isinstance(layer, nn.Linear) else matrix_OI.T
        with torch.no_grad():
            # Summed as a merge does it, so that the weight is rounded once.
            weight.copy_(weight.double() + matrix.to(weight.device, torch.float64))
    model = headed(manifest, trunk, None, {})
    renderer = renderer_for(manifest, tokenizer, seq2seq=trunk.seq2seq)
    texts, pairs = proof_texts(manifest, renderer)
    return scores(manifest.task, model, renderer, texts, pairs)
