"""Layers: the sorts of modules that adapters sit on."""

from __future__ import annotations

from typing import cast

from torch import nn
from transformers.pytorch_utils import Conv1D

from tenon.adapters.names import Sort

SAID: dict[Sort, str] = {
    "linear": "a linear layer",
    "transposed": "a transposed linear layer (Conv1D)",
    "embedding": "an embedding",
    "norm": "a norm",
}


def sort_of(module: nn.Module) -> Sort | None:
    """Give the sort of a module; None for one that no adapter sits on by itself."""
    if isinstance(module, nn.Linear):
        return "linear"
    if isinstance(module, Conv1D):
        return "transposed"
    if isinstance(module, nn.Embedding):
        return "embedding"
    return "norm" if is_norm(module) else None


def is_linear(module: nn.Module) -> bool:
    """Whether `module` is a linear layer (torch's, or GPT-2's transposed one)."""
    return isinstance(module, nn.Linear | Conv1D)


def is_norm(module: nn.Module) -> bool:
    """Whether `module` is a LayerNorm or an RMS norm of any library."""
    return isinstance(module, nn.LayerNorm) or type(module).__name__.endswith("Norm")


def features(linear: nn.Module) -> tuple[int, int]:
    """Give the sizes of a linear layer's input and output; its weight is not read."""
    if isinstance(linear, Conv1D):
        return int(linear.nx), int(linear.nf)
    sized = cast(nn.Linear, linear)
    return int(sized.in_features), int(sized.out_features)
