"""PEFT's own kinds, one function each: settings and targets to a PEFT config.

PEFT is imported by the function that makes the config, so that looking up a
kind and settling its settings stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from tenon.adapters.kind import Targets, kind
from tenon.core.settings import Settings

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedConfig

TRANSPOSED = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})
"""Model types whose linear layers are `Conv1D`, stored [in, out]; PEFT has to be told."""


class LoraSettings(Settings):
    """What can be set of LoRA.

    Args:
        rank: r, the inner size of the two factors.
        alpha: the update is scaled by alpha / rank.
        dropout: share of the adapter's input that is zeroed while training.
        rank_stabilized: scale by alpha / sqrt(rank) instead, for large ranks.
    """

    rank: int = Field(default=8, ge=1, le=1024)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    rank_stabilized: bool = False


@kind(
    "lora.v1",
    title="LoRA",
    settings=LoraSettings,
    default_sites=("linear",),
    learning_rate=1e-3,
    mergeable=True,
    mergeable_why="the update is one matrix per layer, B A, which adds to the layer's weight",
    rowwise=True,
    paper="Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models (arXiv:2106.09685)",
    summary="Adds to each chosen linear layer the product of two thin matrices, B A.",
)
def lora(settings: LoraSettings, targets: Targets, base: PreTrainedConfig) -> LoraConfig:
    """Make LoRA's PEFT config.

    The default sites are all linear layers of every block: at equal parameters they learn more
    than attention alone.

    Source: Schulman et al. 2025, "LoRA Without Regret" (all layers, MLP above all; about ten times
        full fine-tuning's learning rate).
    """
    from peft import LoraConfig

    from tenon.adapters import sites

    return LoraConfig(
        r=settings.rank,
        # PEFT types it as int and divides by it; a whole number stays one in the file
        lora_alpha=_whole(settings.alpha),
        lora_dropout=settings.dropout,
        use_rslora=settings.rank_stabilized,
        target_modules=list(sites.modules(targets)),
        fan_in_fan_out=base.model_type in TRANSPOSED,
        bias="none",
    )


def _whole(value: float) -> int:
    return int(value) if value.is_integer() else value  # type: ignore[return-value]
