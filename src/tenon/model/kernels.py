"""Kernels: modules with kernels of CUDA, for which Triton has to be installed."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType


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
