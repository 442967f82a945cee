"""Step: one update of the weights from the rows of one step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim import Optimizer

from tenon.core.errors import RunError
from tenon.model.model import Model
from tenon.text.batch import Batch
from tenon.train.passes import Passes


@dataclass(frozen=True)
class StepResult:
    """What one step did.

    Args:
        loss: nats per target, before the update.
        targets: what the loss is the mean over: rows with a label, tokens that are learned.
        tokens: real tokens.
        norm: of the gradient, before clipping.
    """

    loss: float
    targets: int
    tokens: int
    norm: float


def step(
    model: Model,
    batches: Sequence[Batch],
    optimizer: Optimizer,
    accelerator: Accelerator,
    clip: float,
    passes: Passes | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> StepResult:
    """Take one optimizer step from gradients summed over `batches`.

    Args:
        batches: micro-batches of this step.
        clip: largest gradient norm; a larger gradient is scaled down to it.
        passes: computes the micro-batches; None computes each as the model does.
        meanwhile: done while a device computes.

    Raises:
        RunError: no row has a label, or the loss or the norm is not finite. Nothing has been
            updated, and the gradients are cleared.
    Source: mean over the whole step, not a mean of means (transformers' `num_items_in_batch`).
    """
    targets, losses = gradients(model, batches, accelerator.backward, passes)
    parameters = model.parameters() if passes is None else passes.parameters
    try:
        if guards(optimizer):
            loss, norm = guarded(losses, parameters, optimizer, clip, meanwhile)
        else:
            loss, norm = clipped(losses, parameters, clip)
            optimizer.step()
    finally:
        optimizer.zero_grad(set_to_none=True)
    return StepResult(loss, targets, sum(batch.tokens for batch in batches), norm)


def gradients(
    model: Model,
    batches: Sequence[Batch],
    backward: Callable[[torch.Tensor], None],
    passes: Passes | None = None,
) -> tuple[int, list[torch.Tensor]]:
    """Add the gradients of one step; give its targets, and the loss of each micro-batch.

    Args:
        batches: micro-batches of this step; their losses sum to the step's.
        backward: computes the gradients of a loss.
        passes: as of `step`.

    Raises:
        RunError: no row has a label.
    """
    targets = count_targets(model, batches)
    losses: list[torch.Tensor] = []
    for batch in batches:
        if passes is not None:
            losses.append(passes.passed(batch, targets, backward))
            continue
        loss = model.nats(batch) / targets
        backward(loss)
        losses.append(loss.detach())
    return targets, losses


def count_targets(model: Model, batches: Sequence[Batch]) -> int:
    """Give how many targets a step has.

    Raises:
        RunError: none.
    """
    targets = sum(model.targets(batch) for batch in batches)
    if not targets:
        raise RunError("no row of this step has a label; nothing can be learned from it")
    return targets


def clipped(
    losses: Sequence[torch.Tensor], parameters: Iterable[nn.Parameter], clip: float
) -> tuple[float, float]:
    """Clip the gradient of a step; give its loss, and its norm before.

    Args:
        losses: of the micro-batches; they sum to the step's.
        parameters: whose gradients they are.
        clip: largest norm.

    Raises:
        RunError: loss or norm is not finite. Nothing has been updated.
    """
    norm = nn.utils.clip_grad_norm_(parameters, clip)
    mean = torch.stack(list(losses)).sum()
    return _finite(float(mean), float(norm))


def guards(optimizer: Optimizer) -> bool:
    """Whether an optimizer can be told on the device to update nothing, as CUDA's fused one can."""
    groups = optimizer.param_groups
    fused = all(group.get("fused") for group in groups)
    return fused and all(each.is_cuda for group in groups for each in group["params"])


def guarded(
    losses: Sequence[torch.Tensor],
    parameters: Iterable[nn.Parameter],
    optimizer: Optimizer,
    clip: float,
    meanwhile: Callable[[], None] | None = None,
) -> tuple[float, float]:
    """Clip the gradient of a step and update; give its loss, and its norm before.

    The device decides whether to update, so that it need not wait to be told.

    Args:
        losses: of the micro-batches; they sum to the step's.
        parameters: whose gradients they are.
        optimizer: one that `guards`.
        clip: largest norm.
        meanwhile: done while the device computes.

    Raises:
        RunError: loss or norm is not finite. Nothing has been updated.
    Source: torch, `torch.amp.GradScaler`, which tells a fused optimizer the same way.
    """
    known_2 = _known_2(losses, parameters, clip)
    _tell(optimizer, known_2)
    if meanwhile is not None:
        meanwhile()
    return _finite(*known_2.tolist())


def _known_2(
    losses: Sequence[torch.Tensor], parameters: Iterable[nn.Parameter], clip: float
) -> torch.Tensor:
    """Clip the gradient of a step; give its loss and its norm before, on their device."""
    norm = nn.utils.clip_grad_norm_(parameters, clip)
    return torch.stack([torch.stack(list(losses)).sum(), norm])


def _tell(optimizer: Optimizer, known_X: torch.Tensor) -> None:
    """Update where all that is known is finite, which the device finds out."""
    telling = cast(Any, optimizer)
    telling.grad_scale, telling.found_inf = None, 1.0 - torch.isfinite(known_X).all().float()
    try:
        optimizer.step()
    finally:
        del telling.grad_scale, telling.found_inf


@dataclass(frozen=True)
class Due:
    """A step whose gradients are there.

    Args:
        losses: of its micro-batches; they sum to the step's.
        parameters: whose gradients they are.
        optimizer: that updates them.
        clip: largest norm of the gradient.
    """

    losses: Sequence[torch.Tensor]
    parameters: Sequence[nn.Parameter]
    optimizer: Optimizer
    clip: float


def taken(
    steps: Mapping[str, Due], meanwhile: Callable[[], None] | None = None
) -> dict[str, tuple[float, float]]:
    """Clip the gradients of several steps and take all of them, or none where one is not finite.

    Args:
        steps: by the adapter's name.
        meanwhile: done while a device computes.

    Returns:
        The loss of each step and its norm before.

    Raises:
        RunError: a loss or a norm is not finite; it names the adapter. Nothing has been updated.
    """
    known_A2 = torch.stack([_known_2(d.losses, d.parameters, d.clip) for d in steps.values()])
    told = all(guards(each.optimizer) for each in steps.values())
    if told:
        for each in steps.values():
            _tell(each.optimizer, known_A2)
        if meanwhile is not None:
            meanwhile()
    found = dict(zip(steps, known_A2.tolist(), strict=True))
    for name in sorted(steps, key=lambda name: _soundness(steps[name], *found[name])):
        try:
            _finite(*found[name])
        except RunError as error:
            raise RunError(f"adapter {name}: {error}") from error
    if not told:
        for each in steps.values():
            each.optimizer.step()
    return {name: (mean, norm) for name, (mean, norm) in found.items()}


def _soundness(due: Due, mean: float, norm: float) -> int:
    """Rank a step by how little it is to blame where one is not finite.

    Weights that are not finite spoil the gradients of all adapters beside them, and on a GPU their
    losses as well.
    """
    if math.isfinite(mean) and math.isfinite(norm):
        return 3
    if not all(bool(torch.isfinite(each).all()) for each in due.parameters):
        return 0
    return 2 if math.isfinite(mean) else 1


def _finite(mean: float, norm: float) -> tuple[float, float]:
    if not (math.isfinite(mean) and math.isfinite(norm)):
        raise RunError(
            f"loss {mean:.4g} nats, gradient norm {norm:.4g}: not finite; nothing "
            "was updated. Lower train.learning_rate, or use model.dtype = float32 or bfloat16"
        )
    return mean, norm
