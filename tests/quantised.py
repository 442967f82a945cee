"""Quantised tiny bases: every scheme, and what is needed to compare one with floats."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModel, BitsAndBytesConfig

from tenon.model import trunk as trunks
from tenon.model.base import locate
from tenon.model.loading import quiet
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


def stored(floats: Path, folder: Path, quantize: str, **more: Any) -> Path:
    """Write a base as transformers stores one that it has quantised.

    Args:
        more: of `BitsAndBytesConfig`, instead of what `quantize` stands for.
    """
    config = SCHEMES[quantize].config(["pooler"])
    if more:
        config = BitsAndBytesConfig(load_in_4bit=True, **more)
    with quiet():
        model = AutoModel.from_pretrained(
            floats, quantization_config=config, dtype=torch.float32, device_map={"": "cpu"}
        )
        model.save_pretrained(folder)
    for file in floats.glob("*token*.json"):
        shutil.copy(file, folder)
    return folder
