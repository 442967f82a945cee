"""Placement: where the delta of a bottleneck goes on a module, by the sort of the module."""

from __future__ import annotations

import inspect
from typing import Literal, cast

import torch
from torch import nn

from tenon.adapters.blocks import block_of
from tenon.adapters.bottleneck_config import BottleneckConfig
from tenon.adapters.sites import features, is_linear
from tenon.core.errors import PlanError

Place = Literal["after", "stream", "around", "beside", "residual", "across", "coupled"]

FIRST_OF_MLP = {"fc2": "fc1", "ffn_output": "ffn"}
"""Last to first linear layer of an MLP that lies open in its block, as in BART and ALBERT."""


def is_norm(module: nn.Module) -> bool:
    """Whether `module` is a LayerNorm or an RMS norm of any library."""
    return isinstance(module, nn.LayerNorm) or type(module).__name__.endswith("Norm")


def place_of(base: nn.Module, config: BottleneckConfig, module: str = "") -> Place:
    """Say where the delta goes on `base`.

    Args:
        module: its full name in the model.

    Raises:
        PlanError: `base` is of a sort that this placement cannot wrap.
    """
    if config.invertible is not None and is_embedding(base, module):
        return "coupled"
    if config.parallel:
        return _parallel(base, module)
    if config.original_ln_before:
        return _behind(base, config)
    if not (is_linear(base) or isinstance(base, nn.Embedding)):
        raise PlanError(
            f"bottleneck: wraps linear layers and embeddings, not {sort(base)}; choose other sites"
        )
    return "after"


def is_embedding(base: nn.Module, module: str) -> bool:
    """Whether a module makes, or sums up, what the first block reads."""
    return bool(module) and block_of(module) is None and not is_linear(base)


def _parallel(base: nn.Module, module: str) -> Place:
    if is_linear(base) and module.rpartition(".")[2] in FIRST_OF_MLP:
        return "across"
    if is_linear(base) or is_norm(base):
        raise PlanError(f"bottleneck: parallel placement wraps a whole MLP, not {sort(base)}")
    takes_residual = "input_tensor" in inspect.signature(base.forward).parameters
    return "residual" if takes_residual else "beside"


def _behind(base: nn.Module, config: BottleneckConfig) -> Place:
    if is_norm(base):
        return "around" if config.original_ln_after else "after"
    if is_linear(base) or isinstance(base, nn.Embedding) or config.original_ln_after:
        raise PlanError(
            "bottleneck: original_ln_before wraps the norm that closes a block, or, without "
            f"original_ln_after, a module that adds the residual itself, not {sort(base)}"
        )
    return "stream"


def sort(base: nn.Module) -> str:
    """Name the class of a module, for messages."""
    return f"a {type(base).__name__}"


def hidden_size(base: nn.Module) -> int:
    """Give the units D that come out of `base`: of an MLP or a block, what its last layer gives.

    Raises:
        PlanError: its parts do not tell.
    """
    if isinstance(base, nn.Embedding):
        return base.embedding_dim
    if is_norm(base):
        return int(cast(torch.Tensor, base.weight).shape[0])
    linears = [module for module in base.modules() if is_linear(module)]
    if not linears:
        raise PlanError(f"bottleneck: cannot tell the hidden size of {sort(base)}")
    return features(linears[-1])[1]
