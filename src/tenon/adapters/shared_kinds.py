"""Shared kinds: updates of random, fixed matrices that all layers share and small trained vectors.

What is random is drawn from a seed of its own and, but for RandLoRA, saved with the adapter, since
torch promises the same numbers for the same seed neither on every device nor in every release. PEFT
is imported by the functions that make the configs.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from pydantic import Field

from tenon.adapters.factor_kinds import ADDS
from tenon.adapters.kind import Targets, kind
from tenon.adapters.names import modules
from tenon.adapters.transposed import is_transposed
from tenon.core.settings import Settings

if TYPE_CHECKING:
    from peft import (
        PveraConfig,
        RandLoraConfig,
        TinyLoraConfig,
        UniLoraConfig,
        VBLoRAConfig,
        VeraConfig,
    )
    from transformers import PreTrainedConfig

LINEAR_BOTH = ("linear", "transposed")


class VeraSettings(Settings):
    """What can be set of VeRA.

    Args:
        rank: inner size of the two random matrices.
        dropout: share of the adapter's input that is zeroed while training.
        initial: value of the vector d at the start; b starts at 0.
        projection_seed: of the random matrices.
    """

    rank: int = Field(default=256, ge=1, le=4096)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    initial: float = Field(default=0.1, gt=0)
    projection_seed: int = Field(default=0, ge=0)


@kind(
    "vera.v1",
    title="VeRA",
    settings=VeraSettings,
    default_sites=("linear",),
    learning_rate=2e-2,
    rate_source="Kopiczko et al. 2024, 1e-2 on RoBERTa, raised here",
    mergeable=True,
    mergeable_why=ADDS,
    rowwise=True,
    wraps=LINEAR_BOTH,
    paper="Kopiczko et al. 2024, VeRA: Vector-based Random Matrix Adaptation (arXiv:2310.11454)",
    summary="LoRA whose factors are random, fixed and shared; two vectors a layer are trained.",
)
def vera(settings: VeraSettings, targets: Targets, base: PreTrainedConfig) -> VeraConfig:
    """Make VeRA's PEFT config."""
    from peft import VeraConfig

    return VeraConfig(
        r=settings.rank,
        vera_dropout=settings.dropout,
        d_initial=settings.initial,
        projection_prng_key=settings.projection_seed,
        save_projection=True,
        fan_in_fan_out=is_transposed(base),
        target_modules=list(modules(targets)),
    )


@kind(
    "pvera.v1",
    title="PVeRA",
    settings=VeraSettings,
    default_sites=("linear",),
    learning_rate=3e-3,
    rate_source="PEFT's method comparison (3e-3 to a 3B decoder)",
    mergeable=True,
    mergeable_why="the mean of its update is one matrix per layer, and answers take the mean",
    rowwise=True,
    wraps=LINEAR_BOTH,
    paper="PVeRA: Probabilistic Vector-Based Random Matrix Adaptation (arXiv:2512.07703)",
    summary="VeRA that learns a mean and a spread of its inner vector and draws it while training.",
)
def pvera(settings: VeraSettings, targets: Targets, base: PreTrainedConfig) -> PveraConfig:
    """Make PVeRA's PEFT config; nothing is drawn when answering."""
    from peft import PveraConfig

    return PveraConfig(
        r=settings.rank,
        pvera_dropout=settings.dropout,
        d_initial=settings.initial,
        projection_prng_key=settings.projection_seed,
        save_projection=True,
        sample_at_inference=False,
        fan_in_fan_out=is_transposed(base),
        target_modules=list(modules(targets)),
    )


class RandloraSettings(Settings):
    """What can be set of RandLoRA.

    Args:
        rank: of each random base; a smaller one trains more and takes longer.
        alpha: the update is scaled by alpha / rank; PEFT takes 20 times the rank.
        dropout: share of the adapter's input that is zeroed while training.
        projection_seed: of the random bases.
    """

    rank: int = Field(default=32, ge=1, le=1024)
    alpha: int = Field(default=640, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    projection_seed: int = Field(default=0, ge=0)


@kind(
    "randlora.v1",
    title="RandLoRA",
    settings=RandloraSettings,
    default_sites=("linear",),
    learning_rate=1e-3,
    mergeable=True,
    mergeable_why=ADDS,
    rowwise=True,
    wraps=LINEAR_BOTH,
    paper="Albert et al. 2025, RandLoRA: Full-rank Parameter-efficient Fine-tuning "
    "(arXiv:2502.00987)",
    summary="Adds a sum of random, fixed, shared products, each scaled by trained vectors.",
)
def randlora(
    settings: RandloraSettings, targets: Targets, base: PreTrainedConfig
) -> RandLoraConfig:
    """Make RandLoRA's PEFT config.

    Its bases are drawn again from their seed when it is loaded, as PEFT would save them once for
    each layer, 357 MB on MiniLM; the probes in the manifest tell if torch draws other ones.
    """
    from peft import RandLoraConfig

    with warnings.catch_warnings():
        # that its bases are drawn again is told above
        warnings.filterwarnings("ignore", "Specified to not save", UserWarning)
        return RandLoraConfig(
            r=settings.rank,
            randlora_alpha=settings.alpha,
            randlora_dropout=settings.dropout,
            projection_prng_key=settings.projection_seed,
            save_projection=False,
            fan_in_fan_out=is_transposed(base),
            target_modules=list(modules(targets)),
        )


class VbloraSettings(Settings):
    """What can be set of VB-LoRA.

    Args:
        rank: of the factors that are put together.
        vectors: of the bank that all layers share.
        length: of each vector; it divides the sizes of every layer.
        chosen: how many vectors are mixed for each piece of a factor.
        dropout: share of the adapter's input that is zeroed while training.
    """

    rank: int = Field(default=4, ge=1, le=1024)
    vectors: int = Field(default=256, ge=2)
    length: int = Field(default=128, ge=1)
    chosen: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)


@kind(
    "vblora.v1",
    title="VB-LoRA",
    settings=VbloraSettings,
    default_sites=("linear",),
    learning_rate=5e-3,
    mergeable=True,
    mergeable_why=ADDS,
    rowwise=True,
    wraps=LINEAR_BOTH,
    divides={"length": "both"},
    start="its bank and choices are random, so that a small random update is there at once",
    paper="Li et al. 2024, VB-LoRA: Extreme Parameter Efficient Fine-Tuning with Vector Banks "
    "(arXiv:2405.15179)",
    summary="LoRA whose factors are put together from a small bank of vectors that layers share.",
)
def vblora(settings: VbloraSettings, targets: Targets, base: PreTrainedConfig) -> VBLoRAConfig:
    """Make VB-LoRA's PEFT config; all choices are saved, so that training can go on."""
    from peft import VBLoRAConfig

    return VBLoRAConfig(
        r=settings.rank,
        num_vectors=settings.vectors,
        vector_length=settings.length,
        topk=settings.chosen,
        vblora_dropout=settings.dropout,
        save_only_topk_weights=False,
        fan_in_fan_out=is_transposed(base),
        target_modules=list(modules(targets)),
    )


class UniloraSettings(Settings):
    """What can be set of Uni-LoRA.

    Args:
        rank: of the factors that are put together.
        length: of the one trained vector of the whole adapter.
        dropout: share of the adapter's input that is zeroed while training.
        projection_seed: of which entry of a factor takes which entry of the vector.
    """

    rank: int = Field(default=4, ge=1, le=1024)
    length: int = Field(default=16_384, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    projection_seed: int = Field(default=42, ge=0)


@kind(
    "unilora.v1",
    title="Uni-LoRA",
    settings=UniloraSettings,
    default_sites=("linear",),
    learning_rate=2e-2,
    mergeable=True,
    mergeable_why=ADDS,
    rowwise=True,
    wraps=LINEAR_BOTH,
    start="its vector is random, so that a small random update is there at once",
    paper="Uni-LoRA: One Vector Is All You Need (arXiv:2506.00799)",
    summary="LoRA whose factors all read from one trained vector, at places drawn once.",
)
def unilora(settings: UniloraSettings, targets: Targets, base: PreTrainedConfig) -> UniLoraConfig:
    """Make Uni-LoRA's PEFT config; the places are saved."""
    from peft import UniLoraConfig

    return UniLoraConfig(
        r=settings.rank,
        theta_d_length=settings.length,
        unilora_dropout=settings.dropout,
        proj_seed=settings.projection_seed,
        save_indices=True,
        fan_in_fan_out=is_transposed(base),
        target_modules=list(modules(targets)),
    )


class TinyloraSettings(Settings):
    """What can be set of TinyLoRA.

    Args:
        rank: of the part of the weight's singular vectors that it turns.
        size: u, trained numbers of a layer.
        projection_seed: of the random directions.
    """

    rank: int = Field(default=2, ge=1, le=256)
    size: int = Field(default=64, ge=1)
    projection_seed: int = Field(default=42, ge=0)


@kind(
    "tinylora.v1",
    title="TinyLoRA",
    settings=TinyloraSettings,
    default_sites=("linear",),
    learning_rate=1e-2,
    mergeable=True,
    mergeable_why=ADDS,
    rowwise=True,
    wraps=LINEAR_BOTH,
    paper="TinyLoRA: Learning to Reason in 13 Parameters (arXiv:2602.04118)",
    summary="Moves each weight within its own leading singular vectors, by a few trained numbers.",
)
def tinylora(
    settings: TinyloraSettings, targets: Targets, base: PreTrainedConfig
) -> TinyLoraConfig:
    """Make TinyLoRA's PEFT config; it starts at 0, as the identity."""
    from peft import TinyLoraConfig

    return TinyLoraConfig(
        r=settings.rank,
        u=settings.size,
        projection_seed=settings.projection_seed,
        save_projection=True,
        fan_in_fan_out=is_transposed(base),
        target_modules=list(modules(targets)),
    )
