"""Kernels: modules with kernels of CUDA, for which Triton has to be installed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor

from tenon.model.proving import faults

CLOSE = 1e-4
"""By which a kernel's numbers of about 1 may differ from torch's, if rounding explains no more."""
Sample = Callable[[ModuleType, torch.device, torch.dtype], bool]
"""Says whether kernels give on a device, in a number format, what torch does."""
_known: dict[tuple[str, torch.device, torch.dtype], ModuleType | None] = {}


@cache
def kernels_of(name: str) -> ModuleType | None:
    """Give a module with kernels; None where Triton is not installed, or has not all of it.

    Args:
        name: of the module, beside this one.
    """
    try:
        return import_module(f"tenon.model.{name}")
    except ImportError:
        return None


def trusted(
    name: str, device: torch.device, dtype: torch.dtype, sample: Sample
) -> ModuleType | None:
    """Give a module with kernels where a sample shows that they are right; else None.

    A device may have less room than a kernel asks for, or be none that Triton knows. The sample is
    run once in a process for each device and number format.

    Args:
        name: of the module.
        device: that computes.
        dtype: of states.
        sample: is run.
    """
    found = kernels_of(name)
    if found is None or device.type != "cuda":
        return None
    key = name, device, dtype
    if key not in _known:
        if torch.cuda.is_current_stream_capturing():  # what is recorded has been computed before
            return found
        _known[key] = found if _right(found, device, dtype, sample) else None
    return _known[key]


def _right(kernels: ModuleType, device: torch.device, dtype: torch.dtype, sample: Sample) -> bool:
    try:
        with torch.no_grad(), torch.cuda.device(device):
            return sample(kernels, device, dtype)
    except faults():
        return False


def agree(found: Tensor, expected: Tensor) -> bool:
    """Whether a kernel's numbers are torch's, but for rounding in their number format."""
    apart = float((found.float() - expected.float()).abs().max())
    rounding = 2 * torch.finfo(found.dtype).eps * float(expected.float().abs().max())
    return apart <= max(CLOSE, rounding)
