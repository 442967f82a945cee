"""Untouched: a model that is tried out, and is afterwards bit for bit what it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from tenon.model.adapted import adapter_modules
from tenon.model.attach import unchanged_random_state
from tenon.model.model import Model


@dataclass(frozen=True)
class State:
    """What a trial may change.

    Args:
        tensors: of the adapter and the head, each with a copy of what it held.
        gradients: parameter to its gradient.
        wanted: parameter to whether it wants one.
        modes: module to whether it is in training mode.
    """

    tensors: list[tuple[Tensor, Tensor]]
    gradients: list[tuple[nn.Parameter, Tensor | None]]
    wanted: list[tuple[nn.Parameter, bool]]
    modes: list[tuple[nn.Module, bool]]


@contextlib.contextmanager
def untouched(model: Model) -> Iterator[None]:
    """Let a model be trained on trial; give it back as it was, whatever happened.

    Put back are what the adapter and the head hold, gradients, what wants one, modes, and torch's
    random state. The base's tensors are not copied: nothing changes them, which is checked.
    """
    before = _state(model)
    with unchanged_random_state():
        for parameter, _ in before.gradients:
            parameter.grad = None
        try:
            yield
        finally:
            _put_back(before)


def _state(model: Model) -> State:
    parameters = list(model.parameters())
    held = {id(tensor): tensor for tensor in own_tensors(model)}
    return State(
        tensors=[(tensor, tensor.detach().clone()) for tensor in held.values()],
        gradients=[(parameter, parameter.grad) for parameter in parameters],
        wanted=[(parameter, parameter.requires_grad) for parameter in parameters],
        modes=[(module, module.training) for module in model.modules()],
    )


def own_tensors(model: Model) -> Iterator[Tensor]:
    """Give what is not the base's: all that is trained, and all that adapters hold besides."""
    yield from model.trainable().values()
    peft = model.peft
    for module in () if peft is None else adapter_modules(peft):
        yield from module.parameters(recurse=False)
        yield from module.buffers(recurse=False)


@torch.no_grad()
def _put_back(before: State) -> None:
    for tensor, copy in before.tensors:
        tensor.copy_(copy)
    for parameter, gradient in before.gradients:
        parameter.grad = gradient
    for parameter, wanted in before.wanted:
        parameter.requires_grad = wanted
    for module, training in before.modes:
        module.training = training


def base_sums(model: Model) -> dict[str, int]:
    """Give for each tensor of the base the sum of its bits, which any change of it changes.

    It takes one pass over the memory, where a digest of the bytes would take a hundred times as
    long.
    """
    own = {id(tensor) for tensor in own_tensors(model)}
    module = cast(nn.Module, model)
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: _sum(tensor) for name, tensor in named if id(tensor) not in own}


WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
LARGEST_WORD = 8


def _sum(tensor: Tensor) -> int:
    flat = tensor.detach().contiguous().flatten()
    size = flat.element_size()
    aligned = not (flat.numel() * size % LARGEST_WORD or flat.storage_offset() % LARGEST_WORD)
    bits = flat.view(WORDS[LARGEST_WORD if aligned else size])
    return int(bits.sum(dtype=torch.int64))
