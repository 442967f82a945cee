"""Compiled: the base's blocks, each compiled by torch where gradients are asked for.

A base of like blocks is compiled once or twice, not as often as it has blocks: torch takes what it
has compiled for the first where nothing that it looked at differs in the next. How many tokens a
batch has, and where its rows begin, are left open. Without gradients blocks run as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from tenon.core.errors import PlanError
from tenon.model.entry import blocks

if TYPE_CHECKING:
    from tenon.model.packing import Borders

FAST = "_tenon_compiled"
CPU = (
    "model.compile = true: on a CPU compiling takes minutes and saves less; leave it out, or set "
    'model.device = "cuda"'
)


class Fast:
    """The forward pass of a block: compiled where gradients are asked for.

    Args:
        block: the block.
        compiled: its class's forward pass.
    """

    def __init__(self, block: nn.Module, compiled: Callable[..., Any]) -> None:
        self.block, self.compiled = block, compiled

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Compute the block."""
        if torch.is_grad_enabled():
            return self.compiled(self.block, *given, **named)
        return cast(Any, type(self.block)).forward(self.block, *given, **named)


def compile_blocks(model: nn.Module, backend: str = "inductor") -> int:
    """Let the blocks of a model be compiled at their first pass; a second call changes nothing.

    Args:
        model: whose blocks.
        backend: of torch's compiler.

    Returns:
        How many blocks there are.

    Raises:
        PlanError: the base has none that are known, or is on a CPU, where compiling takes longer
            than it saves.
    """
    found = blocks(model)
    if not found:
        kind = cast(Any, model).config.model_type
        raise PlanError(
            f"model.compile = true: {kind} has no blocks that are known here; leave it out"
        )
    if backend == "inductor" and cast(Any, model).device.type == "cpu":
        raise PlanError(CPU)
    fast: dict[type[nn.Module], Callable[..., Any]] = {}
    for block in found:
        sort = type(block)
        if sort not in fast:
            fast[sort] = torch.compile(sort.forward, dynamic=True, backend=backend)
        vars(block)[FAST] = Fast(block, fast[sort])
        vars(block).setdefault("forward", vars(block)[FAST])
    vars(model)[FAST] = True
    return len(found)


def first_of(block: nn.Module) -> Callable[..., Any]:
    """Give the forward pass of a block, which takes the block first; compiled where it is to be."""
    fast = vars(block).get(FAST)
    return cast(Any, type(block)).forward if fast is None else fast.compiled


def compiled_named(model: nn.Module, borders: Borders) -> dict[str, Any]:
    """Give what compiled blocks are told of the borders of rows; nothing to others."""
    return {"flat": borders.flat} if FAST in vars(model) else {}
