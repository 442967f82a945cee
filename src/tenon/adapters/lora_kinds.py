"""LoRA kinds: LoRA itself and DoRA, one function each: settings and targets to a PEFT config.

PEFT is imported by the function that makes the config, so that looking up a
kind and settling its settings stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from tenon.adapters.kind import Targets, kind
from tenon.adapters.names import WRAPPED, modules
from tenon.adapters.transposed import is_transposed
from tenon.core.settings import Settings

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedConfig


B_NAMES = (".lora_B.", ".lora_embedding_B.")
DRAWN = ("kaiming", "gaussian")
BY_PEFT = ("gaussian", "orthogonal")
"""Inits that PEFT itself draws, under its own names."""
DOUBLED = ("pissa", "olora")
STARTS = (*DOUBLED, "mica", "eva")
"""Inits that are computed; an adapter with one of `DOUBLED` has twice the rank that is trained."""


class DoraSettings(Settings):
    """What can be set of DoRA.

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


class LoraSettings(DoraSettings):
    """What can be set of LoRA.

    Args:
        rank: r, the inner size of the two factors.
        alpha: the update is scaled by alpha / rank.
        dropout: share of the adapter's input that is zeroed while training.
        rank_stabilized: scale by alpha / sqrt(rank) instead, for large ranks.
        init: what A and B begin with. With "kaiming" and "gaussian" A is drawn and B is 0; with
            "orthogonal" both are drawn so that their product is 0, for an even rank. "eva": A is
            the leading directions of the layer's inputs on rows of train, B is 0. "pissa" and
            "olora": A and B are the leading part of the layer's weight, which is subtracted
            again, as the base stays as it is: the file has twice the rank, and weight decay pulls
            that part of the base towards 0. "mica": B is the weight's last directions and stays,
            only A is trained.
        b_learning_rate_ratio: B's learning rate / A's; LoRA+ takes 4 to 16, plain LoRA 1.
    """

    init: Literal["kaiming", "gaussian", "orthogonal", "pissa", "olora", "mica", "eva"] = "kaiming"
    b_learning_rate_ratio: float = Field(default=1.0, gt=0, le=1000)

    @model_validator(mode="after")
    def _halves(self) -> LoraSettings:
        if self.init == "orthogonal" and self.rank % 2:
            raise ValueError(f"rank = {self.rank} is odd, and init orthogonal halves it")
        return self


@kind(
    "lora.v1",
    title="LoRA",
    settings=LoraSettings,
    default_sites=("linear",),
    learning_rate=1e-3,
    rate_source="Schulman et al. 2025, about ten times full fine-tuning's; confirmed here",
    mergeable=True,
    mergeable_why="the update is one matrix per layer, B A, which adds to the layer's weight",
    rowwise=True,
    paper="Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models (arXiv:2106.09685)",
    summary="Adds to each chosen linear layer the product of two thin matrices, B A.",
    start="with init pissa and olora what is added and subtracted again, and with orthogonal the "
    "product of what is orthogonal, leave a rounding; else nothing changes, bit for bit",
    choose_factors=lambda settings: dict.fromkeys(B_NAMES, settings.b_learning_rate_ratio),
    choose_sorts=lambda settings: WRAPPED if settings.init in DRAWN else ("linear", "transposed"),
    choose_start=lambda settings: settings.init if settings.init in STARTS else "",
)
def lora(settings: LoraSettings, targets: Targets, base: PreTrainedConfig) -> LoraConfig:
    """Make LoRA's PEFT config.

    The default sites are all linear layers of every block: at equal parameters they learn more
    than attention alone.

    Source: Schulman et al. 2025, "LoRA Without Regret" (all layers, MLP above all; about ten times
        full fine-tuning's learning rate); Kalajdzievski 2023, arXiv:2312.03732 (rank_stabilized);
        Hayou et al. 2024, LoRA+, arXiv:2402.12354 (b_learning_rate_ratio); Meng et al. 2024,
        PiSSA, arXiv:2404.02948; Büyükakyüz 2024, OLoRA, arXiv:2406.01775; Paischer et al. 2024,
        EVA, arXiv:2410.07170; MiCA, arXiv:2604.01694 (init).
    """
    config = _config(settings, targets, base)
    config.init_lora_weights = settings.init if settings.init in BY_PEFT else True
    if settings.init in DOUBLED:
        # What is trained and what is subtracted lie side by side; the factor stays as it was.
        config.r = 2 * settings.rank
        config.lora_alpha = _whole(settings.alpha * (2**0.5 if settings.rank_stabilized else 2))
    return config


@kind(
    "dora.v1",
    title="DoRA",
    settings=DoraSettings,
    default_sites=("linear",),
    learning_rate=1e-3,
    mergeable=True,
    mergeable_why="the rescaled sum of the layer's weight and B A is again one weight",
    rowwise=True,
    start="its columns are divided by their length and multiplied by it again, which in bfloat16 "
    "rounds; in float32 nothing changes",
    paper="Liu et al. 2024, DoRA: Weight-Decomposed Low-Rank Adaptation (arXiv:2402.09353)",
    summary="LoRA that trains the length of each row of the weight apart from its direction.",
)
def dora(settings: DoraSettings, targets: Targets, base: PreTrainedConfig) -> LoraConfig:
    """Make DoRA's PEFT config: LoRA's with `use_dora`."""
    config = _config(settings, targets, base)
    config.use_dora = True
    return config


def _config(settings: DoraSettings, targets: Targets, base: PreTrainedConfig) -> LoraConfig:
    from peft import LoraConfig

    return LoraConfig(
        r=settings.rank,
        # PEFT types it as int and divides by it; a whole number stays one in the file
        lora_alpha=_whole(settings.alpha),
        lora_dropout=settings.dropout,
        use_rslora=settings.rank_stabilized,
        target_modules=list(modules(targets)),
        fan_in_fan_out=is_transposed(base),
        bias="none",
    )


def _whole(value: float) -> int:
    return int(value) if value.is_integer() else value  # type: ignore[return-value]
