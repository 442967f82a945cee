"""Holding: what the layers of a base in few bits take, and what stays in floats."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from tenon.model.quantization import SCHEMES, choose
from tenon.model.quantized import held_bytes, quantized

STORED = "stored"


@dataclass(frozen=True)
class Holding:
    """What the layers of a base in few bits take.

    Args:
        quantize: a name of `SCHEMES`, or "stored" for a base that is stored quantised.
        layers: how many there are.
        before_bytes: of their weights in the number format of the base.
        after_bytes: of them as they are held.
        kept: number of the other linear layers.
        kept_why: why these are not quantised, as far as it was decided here.
        dtype: number format of all that is not quantised.
    """

    quantize: str
    layers: int
    before_bytes: int
    after_bytes: int
    kept: int
    kept_why: str
    dtype: str

    def __str__(self) -> str:
        how = "is stored quantised" if self.quantize == STORED else f"is held as {self.quantize}"
        why = f" ({self.kept_why})" if self.kept_why else ""
        rest = f", heads and {self.kept} other linear layers{why}" if self.kept else " and heads"
        return (
            f"the base {how}: the weights of {self.layers} linear layers take "
            f"{self.after_bytes / 1e6:,.2f} MB instead of {self.before_bytes / 1e6:,.2f} MB; "
            f"embeddings, norms{rest} stay in {self.dtype}"
        )


def holding(model: nn.Module, quantize: str, dtype: torch.dtype) -> Holding | None:
    """Give what the layers of a loaded base in few bits take; None where it has none.

    Args:
        quantize: value of `model.quantize`.
        dtype: number format of the base.
    """
    layers = quantized(model)
    if not layers:
        return None
    numbers = sum(math.prod(layer.pieces.shape) for layer in layers.values())
    kept = sum(type(module) in (nn.Linear, Conv1D) for module in model.modules())
    why = choose(model, SCHEMES[quantize]).told() if quantize in SCHEMES else ""
    return Holding(
        quantize=quantize if quantize in SCHEMES else STORED,
        layers=len(layers),
        before_bytes=numbers * dtype.itemsize,
        after_bytes=sum(map(held_bytes, layers.values())),
        kept=kept,
        kept_why=why,
        dtype=str(dtype).removeprefix("torch."),
    )
