"""Proving: what a block gives, with its gradients, and how far that is from what it should be."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

CLOSE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""How far a block's output and its gradients may be from transformers', by their size. Of rounding
alone it is 1e-6, and 5e-3 to 3e-2 where a gradient is small."""
REFUSED = (RuntimeError, TypeError, ValueError, AttributeError)
Found = list[tuple[Tensor | None, Tensor | None]]
"""What a block gives, each with what it was taken from."""


def passed(
    compute: Any, given: tuple[Any, ...], named: dict[str, Any], *, block: nn.Module
) -> Found:
    """Give what a block adds, on the way back too, and the gradients of what is trained in it.

    Beside each is what it was taken from: it is known to the rounding of that alone.
    """
    states = given[0].detach().clone().requires_grad_()
    trained = [p for p in block.parameters() if p.requires_grad]
    with torch.enable_grad():
        output = compute(block, states, *given[1:], **named)
        # Any gradient that differs from place to place; nothing is drawn at random.
        along = torch.arange(output.numel(), device=output.device).view_as(output)
        back = torch.sin(along * 0.7).to(output.dtype)
        grads = torch.autograd.grad(output, [states, *trained], back, allow_unused=True)
    # What a block adds is compared, as what it hands on may be far larger; and so on the way back.
    own = (output - states).detach(), grads[0] - back
    wholes = output.detach(), grads[0]
    return [*zip(own, wholes, strict=True), *((each, None) for each in grads[1:])]


def faults() -> tuple[type[Exception], ...]:
    """Give what is raised where something cannot be computed so, by Triton's compiler as well."""
    try:
        from triton.errors import TritonError  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
    except ImportError:
        return REFUSED
    return *REFUSED, TritonError


def differ(found: Found, expected: Found) -> float:
    """Give the largest difference of what a block gives, by its size."""
    return max(_apart(*one, other) for one, (other, _) in zip(found, expected, strict=True))


def _apart(one: Tensor | None, whole: Tensor | None, other: Tensor | None) -> float:
    """Give the difference of two tensors beyond what rounding explains, by the second's size."""
    if one is None or other is None:
        return 0.0 if one is other else math.inf
    size = float(other.float().norm())
    apart = float((one.float() - other.float()).norm())
    if whole is not None:
        apart -= torch.finfo(whole.dtype).eps * float(whole.float().norm())
    return apart / size if size else apart
