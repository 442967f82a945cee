"""Recompute: the base's blocks compute their states again on the way back instead of keeping them.

Between blocks one hidden state is kept for each; what a block keeps inside for its gradients is
thrown away and computed again when they are asked for. It costs a second forward pass and gives
the same gradients, bit for bit. Where only some blocks do so, they are the lowest that compute
gradients: when theirs are asked for, what the blocks above them kept is gone already.

What a second pass could see otherwise than the first is put back for its time: the attention that
was chosen, torch's modes, its generator (by torch itself) and, where rows of several adapters go
together, the state of each adapter's own generator. The route of such a batch is in place until
its gradients are computed (`tenon.model.route`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from tenon.core.errors import PlanError
from tenon.model.attending import attention
from tenon.model.compiled import first_of
from tenon.model.entry import blocks
from tenon.model.route import Switch
from tenon.model.trunk import Trunk

Recompute = bool | int | Literal["auto"]
"""All blocks or none, so many of them, or to be decided by the memory that there is."""


def recompute(trunk: Trunk, layers: Recompute = True) -> int:  # noqa: FBT001, FBT002
    """Let blocks of a trunk compute their states again; those that do already go on doing so.

    Args:
        trunk: with the adapter that is trained.
        layers: how many of its blocks, counted from the lowest that computes gradients; True for
            all, False and "auto" for none.

    Returns:
        How many blocks were meant.

    Raises:
        PlanError: the base has no blocks that are known, or fewer than asked for compute
            gradients. Nothing has changed.
    """
    if layers is False or layers == "auto":
        return 0
    chosen = _chosen(trunk, layers)
    for block in chosen:
        if not isinstance(vars(block).get("forward"), Again):
            vars(block)["forward"] = Again(trunk.model, block)
    return len(chosen)


def recomputes(trunk: Trunk) -> bool:
    """Whether any block of a trunk computes its states again."""
    return any(isinstance(vars(block).get("forward"), Again) for block in blocks(trunk.model))


def _chosen(trunk: Trunk, layers: Recompute) -> list[nn.Module]:
    found, given = blocks(trunk.model), str(layers).lower()
    if not found:
        raise PlanError(
            f"train.recompute = {given}: {trunk.model.config.model_type} has no blocks that are "
            "known here; leave it out"
        )
    if layers is True:
        return found
    learning = found[lowest_learning(trunk.model) :]
    if int(layers) > len(learning):
        raise PlanError(
            f"train.recompute = {given}: {len(learning)} of the base's {len(found)} layers compute "
            f"gradients with this adapter; set at most {len(learning)}, or true"
        )
    return learning[: int(layers)]


def lowest_learning(model: nn.Module) -> int:
    """Give how many blocks of a base lie below all that is trained in it; no gradient meets them.

    Modules count in their order in the base. Where nothing in it is trained, what comes into it is.
    """
    places = {block: number for number, block in enumerate(blocks(model))}
    passed = 0
    for module in model.modules():
        if module in places:
            passed = places[module] + 1
            if any(each.requires_grad for each in module.parameters()):
                return places[module]
        elif any(each.requires_grad for each in module.parameters(recurse=False)):
            return passed
    return 0


def _function_modes() -> list[Any]:
    """Give the modes through which torch's functions are called; gradients are computed without."""
    modes: Any = torch.overrides._get_current_function_mode_stack()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return modes


class Again:
    """The forward pass of a block, whose states are computed again where gradients are asked for.

    Args:
        model: the base that the block is of.
        block: the block.
    """

    def __init__(self, model: PreTrainedModel, block: nn.Module) -> None:
        self.model, self.block = model, block

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Compute the block."""
        first = first_of(self.block)
        if not torch.is_grad_enabled():
            return first(self.block, *given, **named)
        attending: Any = self.model.config._attn_implementation  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        states = [(router, dict(router.random)) for router in self._routers()]
        modes, passes = list(_function_modes()), 0

        def compute(*given: Any, **named: Any) -> Any:
            nonlocal passes
            passes += 1
            if passes == 1:
                return first(self.block, *given, **named)
            with (
                attention(self.model, attending),
                _drawing(states),
                contextlib.ExitStack() as stack,
            ):
                for mode in modes[len(_function_modes()) :]:
                    stack.enter_context(mode)
                return first(self.block, *given, **named)

        # A pass that is recorded draws nothing: the state of a generator cannot be put back in it.
        drawing = not (torch.cuda.is_available() and torch.cuda.is_current_stream_capturing())
        return checkpoint(compute, *given, use_reentrant=False, preserve_rng_state=drawing, **named)

    def _routers(self) -> list[Any]:
        """Give what routes rows inside of the block: one for all of its switches, if any."""
        found = (m.router for m in self.block.modules() if isinstance(m, Switch))
        router = next(found, None)
        return [] if router is None else [router]


@contextlib.contextmanager
def _drawing(states: list[tuple[Any, dict[str, Any]]]) -> Iterator[None]:
    """Put the generators of adapters back to where they were before the first pass."""
    now = [router.random for router, _ in states]
    for router, before in states:
        router.random = dict(before)
    try:
        yield
    finally:
        for (router, _), after in zip(states, now, strict=True):
            router.random = after
