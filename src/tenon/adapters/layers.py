"""Layers: the sorts of modules that adapters sit on."""

from __future__ import annotations

import inspect
from typing import Any, cast

from torch import nn
from transformers.pytorch_utils import Conv1D

from tenon.adapters.names import Sort

SAID: dict[Sort, str] = {
    "linear": "a linear layer",
    "transposed": "a transposed linear layer (Conv1D)",
    "embedding": "an embedding",
    "norm": "a norm",
    "attention": "an attention module that calls transformers' attention function",
}


def sort_of(module: nn.Module) -> Sort | None:
    """Give the sort of a module; None for one that no adapter sits on by itself."""
    if isinstance(module, nn.Linear):
        return "linear"
    if isinstance(module, Conv1D):
        return "transposed"
    if isinstance(module, nn.Embedding):
        return "embedding"
    if is_norm(module):
        return "norm"
    return "attention" if calls_attention(module) else None


def calls_attention(module: nn.Module) -> bool:
    """Whether `module` attends by the function that its config names, as transformers has it.

    Some bases compute scores of another form by themselves, and pass over what is registered.
    """
    forward: Any = inspect.unwrap(type(module).forward)
    names = getattr(getattr(forward, "__code__", None), "co_names", ())
    return "ALL_ATTENTION_FUNCTIONS" in names and hasattr(module, "config")


def is_linear(module: nn.Module) -> bool:
    """Whether `module` is a linear layer (torch's, or GPT-2's transposed one)."""
    return isinstance(module, nn.Linear | Conv1D)


def is_transposed_linear(module: nn.Module) -> bool:
    """Whether `module` is GPT-2's linear layer, whose weight is stored as [in, out]."""
    return isinstance(module, Conv1D)


def is_norm(module: nn.Module) -> bool:
    """Whether `module` is a LayerNorm or an RMS norm of any library."""
    return isinstance(module, nn.LayerNorm) or type(module).__name__.endswith("Norm")


def features(linear: nn.Module) -> tuple[int, int]:
    """Give the sizes of a linear layer's input and output; its weight is not read."""
    if isinstance(linear, Conv1D):
        return int(linear.nx), int(linear.nf)
    sized = cast(nn.Linear, linear)
    return int(sized.in_features), int(sized.out_features)
