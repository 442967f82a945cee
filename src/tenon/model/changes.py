"""Changes: what an adapter adds to the weight of each module that it sits on, as whole matrices.

Every adapter that can be merged is one such matrix a module, however it is kept: the difference of
the weight before and after PEFT has merged it. Legend: I inputs, O outputs.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from tenon.adapters.delta import PAIRS, Whole
from tenon.adapters.wrapped import adapted
from tenon.core.errors import AdapterError
from tenon.model.merge import merge_layer
from tenon.model.quantized import dequantize
from tenon.model.trunk import Trunk

NO_SUM = ", so that it is no sum of two weights; export it with --to peft"


def changes(name: str, trunk: Trunk, peft: PeftModel) -> dict[str, Whole]:
    """Give what is added to the weight of each module, [O, I] in float64.

    The adapter is merged in float64, so that of the differences of two weights nothing is rounded
    that a float32 can hold. The trunk is changed by it and must be loaded again.

    Args:
        name: of the adapter, for messages.
        trunk: the base.
        peft: the PEFT model around it.

    Returns:
        The base's name of a module to its matrix.

    Raises:
        AdapterError: PEFT cannot merge a module, or the adapter changes more than one weight of it.
    """
    layers = adapted(trunk.model)
    dequantize(trunk.model if trunk.whole is None else trunk.whole)
    found = {path: _change(name, path, layer) for path, layer in layers.items()}
    peft.unload()
    return found


def _change(name: str, path: str, layer: BaseTunerLayer) -> Whole:
    vars(layer).pop("merge", None)
    cast(nn.Module, layer).double()
    before = _parameters(layer.get_base_layer())
    merge_layer(name, path, layer, NO_SUM)
    base = layer.get_base_layer()
    after = _parameters(base)
    others = [key for key in before if key != "weight" and not _same(before[key], after.get(key))]
    matrix = isinstance(base, nn.Linear | nn.Embedding | Conv1D)
    if others or not matrix or before.keys() != after.keys():
        what = f"its {others[0]}" if others else f"a {type(base).__name__}"
        raise AdapterError(
            f"adapter {name}: of {path} it changes {what}, which is no product of two matrices; "
            "export it with --to merged or --to peft"
        )
    change = after["weight"] - before["weight"]
    if isinstance(base, nn.Linear):
        return Whole(change, PAIRS[0])
    return Whole(change.T, PAIRS[isinstance(base, nn.Embedding)])


def _parameters(base: Any) -> dict[str, Tensor]:
    return {key: held.detach().double().clone() for key, held in base.named_parameters()}


def _same(before: Tensor, after: Tensor | None) -> bool:
    return after is not None and torch.equal(before, after)
