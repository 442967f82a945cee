"""Optim: AdamW over adapter and head, and the learning rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from tenon.core.errors import RunError
from tenon.train.settings import TrainSettings

HEAD = "head."


def adamw(
    parameters: Mapping[str, nn.Parameter],
    settings: TrainSettings,
    factors: Mapping[str, float] | None = None,
) -> AdamW:
    """Give AdamW with a group for each (part, decay, factor), its peak rate in `peak`.

    Vectors (biases, scales, norms) are not decayed, nor is IA3's vector that is kept as a column.

    Args:
        parameters: what is trained, by name; those under `head.` take the head's rate.
        factors: part of a parameter's name to the factor on the adapter's rate, as LoRA+ has for B.

    Source: Hayou et al. 2024, LoRA+ (arXiv:2402.12354), for a rate of its own for B.
    """
    groups: dict[tuple[bool, bool, float], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        head = name.startswith(HEAD)
        decayed = parameter.dim() > 1 and (head or min(parameter.shape) > 1)
        key = (head, decayed, 1.0 if head else _factor(name, factors or {}))
        groups.setdefault(key, []).append(parameter)
    return AdamW(
        [
            {
                "params": members,
                "lr": _peak(settings, head=head) * factor,
                "peak": _peak(settings, head=head) * factor,
                "weight_decay": settings.weight_decay if decayed else 0.0,
            }
            for (head, decayed, factor), members in groups.items()
        ],
        fused=_fused(parameters),
    )


def _fused(parameters: Mapping[str, nn.Parameter]) -> bool | None:
    """Whether one kernel updates a tensor, or all; None leaves it to torch."""
    sorts = {parameter.device.type for parameter in parameters.values()} - {"meta"}
    return True if sorts in ({"cpu"}, {"cuda"}) else None


def _factor(name: str, factors: Mapping[str, float]) -> float:
    return next((factor for part, factor in factors.items() if part in name), 1.0)


def _peak(settings: TrainSettings, *, head: bool) -> float:
    return settings.head_learning_rate if head else settings.learning_rate


def rate(step: int, steps: int, settings: TrainSettings) -> float:
    """Give the factor on the peak learning rate at a step, in [0, 1].

    It rises linearly over the warm-up and then follows the schedule down to 0,
    which it would reach at the step after the last.

    Args:
        step: from 0.
        steps: of the whole run.
    """
    warm = math.ceil(settings.warmup * steps)
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    match settings.schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1.0 - done
        case "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * done))


def set_rate(optimizer: Optimizer, factor: float) -> None:
    """Set each group's rate to its peak times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def state_tensors(
    optimizer: Optimizer, parameters: Mapping[str, nn.Parameter]
) -> dict[str, torch.Tensor]:
    """Give the optimizer's tensors as `parameter|quantity`.

    Parameters without state are left out: those that never had a gradient.
    """
    return {
        f"{name}|{quantity}": value.detach().cpu().contiguous()
        for name, parameter in parameters.items()
        for quantity, value in optimizer.state.get(parameter, {}).items()
    }


def load_state(
    optimizer: Optimizer,
    parameters: Mapping[str, nn.Parameter],
    tensors: Mapping[str, torch.Tensor],
) -> None:
    """Put back what `state_tensors` gave.

    Raises:
        RunError: a tensor is of no parameter here. The optimizer is unchanged.
    """
    odd = sorted({key.rsplit("|", 1)[0] for key in tensors} - set(parameters))
    if odd:
        raise RunError(f"optimizer state: holds other parameters ({odd[0]}, {len(odd)} in all)")
    for key, tensor in tensors.items():
        name, quantity = key.rsplit("|", 1)
        parameter = parameters[name]
        counted = quantity == "step" and not _fused(parameters)
        where = torch.device("cpu") if counted else parameter.device
        optimizer.state[parameter][quantity] = tensor.to(where).clone()
