"""Quantised tiny bases: every scheme, and what is needed to compare one with floats."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tenon.model import trunk as trunks
from tenon.model.base import locate
from tenon.model.quantization import SCHEMES
from tenon.model.quantized import dequantize
from tenon.model.settings import ModelSettings
from tenon.model.trunk import Trunk

pytest.importorskip("torchao")
pytest.importorskip("bitsandbytes")

QUANTIZE = tuple(SCHEMES)
ARCHITECTURES = ("bert", "llama", "gpt2")


def trunk_of(folder: Path, quantize: str, dtype: str = "float32", **more: Any) -> Trunk:
    """Load the trunk of a base's folder on the CPU, quantised."""
    settings = ModelSettings(device="cpu", quantize=quantize, dtype=dtype)
    return trunks.load(locate(str(folder)), settings, **more)


def in_floats(model: nn.Module) -> nn.Module:
    """Give a copy of a quantised model, its layers plain ones of the same weights."""
    copied = copy.deepcopy(model)
    assert dequantize(copied) > 0
    return copied


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Give the largest difference / the largest value that is expected."""
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
