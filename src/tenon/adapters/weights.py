"""Weights: the tensors of an adapter that sits on a model, taken out and put in, strictly."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict

from tenon.core.errors import AdapterError, Faults

PEFT_NAME = "default"
"""The name under which PEFT holds an adapter; a user's own may collide with torch's attributes."""


def take(model: PeftModel, name: str = PEFT_NAME) -> dict[str, torch.Tensor]:
    """Copy the tensors of one adapter, on the CPU, under the names that PEFT writes to disk."""
    held = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    return {
        key: tensor.detach().to("cpu", copy=True).contiguous()
        for key, tensor in sorted(held.items())
    }


def put(model: PeftModel, weights: Mapping[str, torch.Tensor], name: str = PEFT_NAME) -> None:
    """Copy `weights` into one adapter of `model`; PEFT itself would pass over what does not fit.

    Raises:
        AdapterError: a tensor is missing, unexpected, or of another shape; nothing has changed.
    """
    held = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    refuse_unlike({key: tensor.shape for key, tensor in held.items()}, weights)
    set_peft_model_state_dict(model, dict(weights), adapter_name=name)


def refuse_unlike(shapes: Mapping[str, torch.Size], weights: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights that are not exactly those of such names and shapes.

    Args:
        shapes: name to the shape of each tensor that an adapter has on the model.

    Raises:
        AdapterError: a tensor is missing, unexpected, or of another shape.
    """
    faults = Faults()
    for key in sorted({*shapes, *weights}):
        if key not in weights:
            faults.add(key, "the model has this tensor, the adapter does not", "retrain or reload")
        elif key not in shapes:
            faults.add(key, "the adapter has this tensor, the model does not", "retrain or reload")
        elif shapes[key] != weights[key].shape:
            there, here = _shape(weights[key].shape), _shape(shapes[key])
            faults.add(key, f"is {there} in the adapter, {here} here")
    faults.raise_if_any(AdapterError)


def _shape(sizes: torch.Size) -> str:
    return "x".join(map(str, sizes)) or "a number"
