"""Factor kinds: updates that are made of small factors, as LoRA's is, but put together otherwise.

PEFT is imported by the functions that make the configs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from tenon.adapters.kind import Targets, kind
from tenon.adapters.names import modules
from tenon.adapters.transposed import is_transposed
from tenon.core.settings import Settings

if TYPE_CHECKING:
    from peft import (
        DeftConfig,
        DeloraConfig,
        GloraConfig,
        GraloraConfig,
        MissConfig,
        PeanutConfig,
    )
    from transformers import PreTrainedConfig

ADDS = "the update is one matrix per layer, which adds to the layer's weight"
LINEAR_ONLY = ("linear",)


class DeloraSettings(Settings):
    """What can be set of DeLoRA.

    Args:
        rank: of the product.
        strength: lambda, the largest length of the update relative to the weight's, at the start.
        dropout: share of the adapter's input that is zeroed while training.
    """

    rank: int = Field(default=8, ge=1, le=1024)
    strength: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)


@kind(
    "delora.v1",
    title="DeLoRA",
    settings=DeloraSettings,
    default_sites=("linear",),
    learning_rate=1e-3,
    rate_source="PEFT's method comparison (1e-3 to a 3B decoder); confirmed here",
    mergeable=True,
    mergeable_why=ADDS,
    rowwise=True,
    wraps=LINEAR_ONLY,
    paper="Bini et al. 2025, DeLoRA: Decoupling Angles and Strength (arXiv:2503.18225)",
    summary="LoRA with normalised factors and a trained strength, so that updates stay bounded.",
)
def delora(settings: DeloraSettings, targets: Targets, base: PreTrainedConfig) -> DeloraConfig:  # noqa: ARG001 - as all kinds
    """Make DeLoRA's PEFT config.

    PEFT's strength of 15 loses what MiniLM knows at any rate that was tried (docs/log.md).
    """
    from peft import DeloraConfig

    return DeloraConfig(
        r=settings.rank,
        delora_lambda=settings.strength,
        module_dropout=settings.dropout,
        target_modules=list(modules(targets)),
    )


class GraloraSettings(Settings):
    """What can be set of GraLoRA.

    Args:
        rank: of all blocks of a row together; a multiple of `blocks`.
        alpha: the update is scaled by alpha / rank.
        blocks: k; a layer's weight is cut into k times k blocks.
        dropout: share of the adapter's input that is zeroed while training.
    """

    rank: int = Field(default=8, ge=1, le=1024)
    alpha: int = Field(default=16, ge=1)
    blocks: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _check(self) -> GraloraSettings:
        if self.rank % self.blocks:
            raise ValueError(f"rank is {self.rank}, which blocks = {self.blocks} does not divide")
        return self


@kind(
    "gralora.v1",
    title="GraLoRA",
    settings=GraloraSettings,
    default_sites=("linear",),
    learning_rate=1e-3,
    rate_source="PEFT's method comparison (2e-4 to a 3B decoder), raised here as LoRA's is",
    mergeable=True,
    mergeable_why=ADDS,
    rowwise=True,
    wraps=("linear", "transposed"),
    divides={"blocks": "both"},
    paper="Jung et al. 2025, GraLoRA: Granular Low-Rank Adaptation (arXiv:2505.20355)",
    summary="Cuts each weight into blocks and gives every block a LoRA of its own.",
)
def gralora(settings: GraloraSettings, targets: Targets, base: PreTrainedConfig) -> GraloraConfig:
    """Make GraLoRA's PEFT config."""
    from peft import GraloraConfig

    return GraloraConfig(
        r=settings.rank,
        alpha=settings.alpha,
        gralora_k=settings.blocks,
        gralora_dropout=settings.dropout,
        fan_in_fan_out=is_transposed(base),
        target_modules=list(modules(targets)),
    )


class GloraSettings(Settings):
    """What can be set of GLoRA.

    Args:
        rank: of its products.
    """

    rank: int = Field(default=4, ge=1, le=1024)


@kind(
    "glora.v1",
    title="GLoRA",
    settings=GloraSettings,
    default_sites=("linear",),
    learning_rate=1e-3,
    mergeable=True,
    mergeable_why="what it does to weight and bias is again a weight and a bias",
    rowwise=True,
    quantized_why="PEFT puts it on torch's own linear layers alone, as it scales their weight",
    wraps=LINEAR_ONLY,
    paper="Chavan et al. 2023, One-for-All: Generalized LoRA (arXiv:2306.07967)",
    summary="Scales and shifts each weight and bias through several small products at once.",
)
def glora(settings: GloraSettings, targets: Targets, base: PreTrainedConfig) -> GloraConfig:  # noqa: ARG001 - as all kinds
    """Make GLoRA's PEFT config."""
    from peft import GloraConfig

    return GloraConfig(r=settings.rank, target_modules=list(modules(targets)))


class DeftSettings(Settings):
    """What can be set of DEFT.

    Args:
        rank: of the part of the weight that is taken away and put in anew.
        decomposition: how the projection is made from its trained factor.
        dropout: share of the adapter's input that is zeroed while training.
    """

    rank: int = Field(default=8, ge=1, le=1024)
    decomposition: Literal["relu", "qr"] = "relu"
    dropout: float = Field(default=0.0, ge=0, lt=1)


@kind(
    "deft.v1",
    title="DEFT",
    settings=DeftSettings,
    default_sites=("linear",),
    learning_rate=1e-3,
    mergeable=True,
    mergeable_why=ADDS,
    rowwise=True,
    wraps=("linear", "transposed"),
    start="a part of the weight is taken away and put in again, which rounds",
    paper="DEFT: Decompositional Efficient Fine-Tuning for Text-to-Image Models (NeurIPS 2025)",
    summary="Projects a low-rank part of each weight away and learns what stands in its place.",
)
def deft(settings: DeftSettings, targets: Targets, base: PreTrainedConfig) -> DeftConfig:
    """Make DEFT's PEFT config."""
    from peft import DeftConfig

    return DeftConfig(
        r=settings.rank,
        decomposition_method=settings.decomposition,
        deft_dropout=settings.dropout,
        fan_in_fan_out=is_transposed(base),
        target_modules=list(modules(targets)),
    )


class MissSettings(Settings):
    """What can be set of MiSS.

    Args:
        rank: rows of the one matrix of each layer.
        dropout: share of the adapter's input that is zeroed while training.
    """

    rank: int = Field(default=16, ge=1, le=1024)
    dropout: float = Field(default=0.0, ge=0, lt=1)


@kind(
    "miss.v1",
    title="MiSS",
    settings=MissSettings,
    default_sites=("linear",),
    learning_rate=1e-3,
    mergeable=True,
    mergeable_why=ADDS,
    rowwise=True,
    wraps=LINEAR_ONLY,
    paper="Kang and Yin 2024, MiSS: Matrix Shard Sharing (arXiv:2409.15371)",
    summary="Adds one small matrix that is repeated along each weight; PEFT's Bone renamed.",
)
def miss(settings: MissSettings, targets: Targets, base: PreTrainedConfig) -> MissConfig:  # noqa: ARG001 - as all kinds
    """Make MiSS's PEFT config."""
    from peft import MissConfig

    return MissConfig(
        r=settings.rank,
        miss_dropout=settings.dropout,
        target_modules=list(modules(targets)),
    )


class PeanutSettings(Settings):
    """What can be set of PEANuT.

    Args:
        rank: width of the network that reads a weight.
        depth: hidden layers on each side of it.
        activation: between its layers.
        scale: factor of the update.
    """

    rank: int = Field(default=16, ge=1, le=1024)
    depth: int = Field(default=0, ge=0, le=8)
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    scale: float = 1.0


@kind(
    "peanut.v1",
    title="PEANuT",
    settings=PeanutSettings,
    default_sites=("linear",),
    learning_rate=1e-3,
    mergeable=True,
    mergeable_why=ADDS,
    rowwise=True,
    wraps=LINEAR_ONLY,
    paper="Zhong et al. 2024, PEANuT: Weight-aware Neural Tweakers (arXiv:2410.01870)",
    summary="Adds what a small network computes from each frozen weight.",
)
def peanut(settings: PeanutSettings, targets: Targets, base: PreTrainedConfig) -> PeanutConfig:  # noqa: ARG001 - as all kinds
    """Make PEANuT's PEFT config."""
    from peft import PeanutConfig

    return PeanutConfig(
        r=settings.rank,
        depth=settings.depth,
        act_fn=settings.activation,
        scaling=settings.scale,
        target_modules=list(modules(targets)),
    )
