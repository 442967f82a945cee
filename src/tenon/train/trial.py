"""Trial: a few steps of a run that are taken and taken back, to see what they would reach."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from tenon.adapters import weights
from tenon.core.errors import RunError
from tenon.model.model import Model
from tenon.text.batch import Batch
from tenon.train import optim
from tenon.train.settings import TrainSettings
from tenon.train.step import clipped, gradients
from tenon.train.untouched import base_sums, untouched

LEAST_STEPS = 2
"""A LoRA's A has no gradient at the first step, as B is 0."""
MOST_STEPS = 4


@dataclass
class Trial:
    """What some steps reached.

    Args:
        held: the parameters that training changes, by name.
        losses: of each step, in nats per target.
        norms: of each step's gradient.
        reached: names of those that a gradient other than 0 reached.
        moved: names of those that a step changed.
        unread: adapter layers, by name, that no row has gone through.
        cut_off: whether a loss depended on nothing that is trained.
        fault: what kept a step from being taken; empty where nothing did.
        lost: those of the adapter's that are not the same once written and read.
        base_changed: tensors of the base that are not what they were.
        base_reached: parameters that are not trained, and got a gradient.
    """

    held: tuple[str, ...]
    losses: list[float] = field(default_factory=list[float])
    norms: list[float] = field(default_factory=list[float])
    reached: set[str] = field(default_factory=set[str])
    moved: set[str] = field(default_factory=set[str])
    unread: tuple[str, ...] = ()
    cut_off: bool = False
    fault: str = ""
    lost: tuple[str, ...] = ()
    base_changed: tuple[str, ...] = ()
    base_reached: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether all that is trained was reached and has moved."""
        return len(self.reached) == len(self.moved) == len(self.held)


def layers_of(model: Model) -> dict[str, nn.Module]:
    """Give the layers that the adapter has put in, by name."""
    named = cast(nn.Module, model).named_modules()
    return {
        str(name): cast(nn.Module, module)
        for name, module in named
        if isinstance(module, BaseTunerLayer)
    }


def take(
    model: Model,
    batches: Sequence[Batch],
    settings: TrainSettings,
    factors: Mapping[str, float],
    seed: int,
) -> Trial:
    """Take steps at the peak rates until all that is trained has moved; then take them back.

    Args:
        batches: micro-batches of each step, which are the same each time.
        factors: as of `tenon.train.optim.adamw`.
        seed: of dropout.
    """
    held = model.trainable()
    trial = Trial(tuple(held))
    if not held:
        return trial
    sums = base_sums(model)
    with untouched(model), _calls(layers_of(model)) as calls:
        model.train()
        torch.manual_seed(seed)
        optimizer = optim.adamw(held, settings, factors)
        start = _copies(held)
        for number in range(MOST_STEPS):
            if number >= LEAST_STEPS and trial.whole:
                break
            if not _step(model, batches, optimizer, settings.clip, trial, held):
                break
        reached = [n for n, p in cast(nn.Module, model).named_parameters() if p.grad is not None]
        trial.base_reached = tuple(name for name in reached if name not in held)
        trial.lost = _lost(model, held, start)
        after = base_sums(model)
        trial.base_changed = tuple(name for name, number in sums.items() if after[name] != number)
    trial.unread = tuple(name for name, count in calls.items() if not count)
    return trial


def _step(
    model: Model,
    batches: Sequence[Batch],
    optimizer: torch.optim.Optimizer,
    clip: float,
    trial: Trial,
    held: Mapping[str, nn.Parameter],
) -> bool:
    """Take one step; give whether there can be another."""

    def backward(loss: Tensor) -> None:
        if loss.requires_grad:
            loss.backward()
        else:
            trial.cut_off = True

    before = _copies(held)
    optimizer.zero_grad(set_to_none=True)
    try:
        _, losses = gradients(model, batches, backward)
        trial.reached |= {name for name, p in held.items() if _is_some(p.grad)}
        loss, norm = clipped(losses, held.values(), clip)
    except RunError as error:
        trial.fault = str(error)
        return False
    trial.losses.append(loss)
    trial.norms.append(norm)
    optimizer.step()
    trial.moved |= {name for name, p in held.items() if not torch.equal(p, before[name])}
    return not trial.cut_off


def _lost(
    model: Model, held: Mapping[str, nn.Parameter], start: Mapping[str, Tensor]
) -> tuple[str, ...]:
    """Write the adapter, take back what was trained, read the adapter; give what has not come back.

    Args:
        start: what was there before the steps.
    """
    peft = model.peft
    assert peft is not None  # noqa: S101 - a run always trains an adapter
    trained, written = _copies(held), weights.take(peft)
    with torch.no_grad():
        for name, parameter in held.items():
            parameter.copy_(start[name])
    weights.put(peft, written)
    own = [name for name in held if not name.startswith(optim.HEAD)]
    return tuple(name for name in own if not torch.equal(held[name], trained[name]))


def _copies(held: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in held.items()}


def _is_some(gradient: Tensor | None) -> bool:
    return gradient is not None and bool((gradient != 0).any())


@contextlib.contextmanager
def _calls(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, int]]:
    """Count how often each layer is called."""
    counts = dict.fromkeys(layers, 0)

    def counting(name: str) -> object:
        def count(*_: object) -> None:
            counts[name] += 1

        return count

    hooks = [
        layer.register_forward_pre_hook(counting(name))  # type: ignore[arg-type]
        for name, layer in layers.items()
    ]
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()
