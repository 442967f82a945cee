"""Delta: what a LoRA adapter adds to the weight of one module, as two thin matrices.

Everything that an adapter's config says about the size of its change (alpha, rank, how both are
put together, by module) is folded into the second matrix, so that deltas of adapters with other
settings can be added. Legend: I inputs, O outputs, R rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from peft import LoraConfig
from peft.utils.other import get_pattern_key
from torch import Tensor

from tenon.adapters.lora_form import widened
from tenon.adapters.pack import PEFT_PREFIX, Adapter
from tenon.core.errors import AdapterError

PAIRS = (("lora_A.weight", "lora_B.weight"), ("lora_embedding_A", "lora_embedding_B"))
"""Names behind a module's: of linear layers, and of embeddings, whose weight is stored [I, O]."""

UNDERSTOOD = {
    *("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern"),
    *("lora_dropout", "fan_in_fan_out", "target_modules", "exclude_modules", "init_lora_weights"),
    *("task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path"),
    *("revision", "inference_mode", "modules_to_save", "layers_to_transform", "layers_pattern"),
    *("loftq_config", "corda_config", "eva_config", "lora_ga_config"),
}
"""Fields of PEFT's config that are folded into a delta, or do not change what it computes."""

STARTS = (True, False, "gaussian", "orthogonal", "eva")
"""Initialisations that leave the base's own weights as they are; of others nothing is known."""


@dataclass(frozen=True)
class Delta:
    """What is added to a module's weight: up_OR @ down_RI, nothing left to multiply it by.

    Args:
        down_RI: reads the module's input.
        up_OR: writes to its output.
        pair: names of the two tensors behind the module's.
    """

    down_RI: Tensor
    up_OR: Tensor
    pair: tuple[str, str]

    @property
    def rank(self) -> int:
        """How many columns the two have in common."""
        return len(self.down_RI)

    @property
    def dense_OI(self) -> Tensor:
        """The whole matrix."""
        return self.up_OR @ self.down_RI

    @property
    def square(self) -> float:
        """The squared size of the whole matrix, which is not made."""
        return float(((self.up_OR.T @ self.up_OR) * (self.down_RI @ self.down_RI.T)).sum())

    def tensors(self) -> tuple[tuple[str, Tensor], tuple[str, Tensor]]:
        """Give the two matrices under their names behind the module's."""
        return (self.pair[0], self.down_RI), (self.pair[1], self.up_OR)

    def times(self, weight: float) -> Delta:
        """Give the delta multiplied by a number."""
        return Delta(self.down_RI, self.up_OR * weight, self.pair)


@dataclass(frozen=True)
class Whole:
    """What is added to a module's weight, as one matrix.

    Args:
        matrix_OI: in float64.
        pair: names of the two tensors behind the module's, were it a LoRA.
    """

    matrix_OI: Tensor
    pair: tuple[str, str]


def why_not(adapter: Adapter) -> str:
    """Say why what an adapter adds is no matrix a module; empty where it is."""
    config = adapter.config
    if not isinstance(config, LoraConfig):
        return (
            f"{adapter.kind} does not add one matrix to each weight, so that sums of it are no "
            "adapter of its kind"
        )
    default, given = LoraConfig().to_dict(), config.to_dict()
    strange = [
        name for name in given if name not in UNDERSTOOD and given[name] != default.get(name)
    ]
    if strange:
        return f"its {strange[0]} = {given[strange[0]]!r} makes it more than the product of A and B"
    start = given["init_lora_weights"]
    if start not in STARTS:
        return f"it began as {start}, which may change the base's own weights"
    paired = {f"{module}.{name}" for module, pair in _pairs(adapter).items() for name in pair}
    others = sorted(adapter.weights.keys() - paired)
    return f"its tensor {others[0]} is no part of a product of A and B" if others else ""


def deltas(adapter: Adapter) -> dict[str, Delta]:
    """Give what a LoRA adapter adds to the weight of each module, in float64.

    Returns:
        A module's name, as its tensors have it, to its delta.

    Raises:
        AdapterError: what the adapter adds is no matrix a module.
    """
    why = why_not(adapter)
    if why:
        raise AdapterError(f"adapter {adapter.name}: {why}")
    config = cast(LoraConfig, adapter.config)
    found: dict[str, Delta] = {}
    for module, pair in _pairs(adapter).items():
        down_RI, up_OR = (adapter.weights[f"{module}.{name}"].double() for name in pair)
        scale = scaling(config, module.removeprefix(PEFT_PREFIX), len(down_RI))
        found[module] = Delta(down_RI, up_OR * scale, pair)
    return found


def scaling(config: LoraConfig, module: str, rank: int) -> float:
    """Give what a module's product is multiplied by.

    Source: PEFT, `LoraLayer.update_layer`; Kalajdzievski 2023, rank-stabilised LoRA
        (arXiv:2312.03732).
    """
    patterns = cast("Mapping[str, float]", config.alpha_pattern or {})
    alpha = patterns.get(get_pattern_key([*patterns], module), config.lora_alpha)
    return alpha / (math.sqrt(rank) if config.use_rslora else rank)


def concatenated(parts: Sequence[Delta]) -> Delta:
    """Give the sum of deltas of one module: exact, its rank the sum of theirs."""
    first = parts[0]
    down_RI = torch.cat([part.down_RI for part in parts])
    return Delta(down_RI, torch.cat([part.up_OR for part in parts], 1), first.pair)


def padded(delta: Delta, rank: int) -> Delta:
    """Give the same delta with a larger rank, the rest of it 0."""
    return Delta(*widened(delta.down_RI, delta.up_OR, rank), delta.pair)


def _pairs(adapter: Adapter) -> dict[str, tuple[str, str]]:
    """Give the modules that have both tensors of a pair."""
    found: dict[str, tuple[str, str]] = {}
    for pair in PAIRS:
        for name in adapter.weights:
            module = name.removesuffix(f".{pair[0]}")
            if module != name and f"{module}.{pair[1]}" in adapter.weights:
                found[module] = pair
    return found
