"""Sparse kinds: some of the base's own numbers are changed, chosen once before training.

PEFT is imported by the functions that make the configs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from tenon.adapters.factor_kinds import ADDS, LINEAR_ONLY
from tenon.adapters.kind import Targets, kind
from tenon.adapters.names import modules
from tenon.core.settings import Settings

if TYPE_CHECKING:
    from peft import AdamssConfig, ShiraConfig, SupertuningConfig
    from transformers import PreTrainedConfig


class ShiraSettings(Settings):
    """What can be set of SHiRA.

    Args:
        rank: as many numbers of a weight are trained as LoRA of this rank has.
        mask_seed: of which numbers they are.
    """

    rank: int = Field(default=8, ge=1, le=1024)
    mask_seed: int = Field(default=0, ge=0)


@kind(
    "shira.v1",
    title="SHiRA",
    settings=ShiraSettings,
    default_sites=("linear",),
    learning_rate=1e-3,
    rate_source="PEFT's method comparison (3e-4 to a 3B decoder), raised here",
    mergeable=True,
    mergeable_why=ADDS,
    rowwise=True,
    wraps=LINEAR_ONLY,
    reads_weights=True,
    paper="Bhardwaj et al. 2024, Sparse High Rank Adapters (arXiv:2406.13175)",
    summary="Trains some numbers of each weight, drawn at random; the rest stays.",
)
def shira(settings: ShiraSettings, targets: Targets, base: PreTrainedConfig) -> ShiraConfig:  # noqa: ARG001 - as all kinds
    """Make SHiRA's PEFT config; its places are saved with the adapter."""
    from peft import ShiraConfig

    return ShiraConfig(
        r=settings.rank,
        random_seed=settings.mask_seed,
        target_modules=list(modules(targets)),
    )


class SuperSettings(Settings):
    """What can be set of Super-Tuning.

    Args:
        sparsity: share of each weight that stays.
        largest: train the numbers that are largest in size, else the smallest.
    """

    sparsity: float = Field(default=0.98, gt=0, lt=1)
    largest: bool = True


@kind(
    "supertuning.v1",
    title="Super-Tuning",
    settings=SuperSettings,
    default_sites=("linear",),
    learning_rate=1e-3,
    mergeable=True,
    mergeable_why=ADDS,
    rowwise=True,
    wraps=LINEAR_ONLY,
    paper="Super-Tuning (arXiv:2607.09287)",
    summary="Trains the largest numbers of each weight; the rest stays.",
)
def supertuning(
    settings: SuperSettings,
    targets: Targets,
    base: PreTrainedConfig,  # noqa: ARG001 - as all kinds
) -> SupertuningConfig:
    """Make Super-Tuning's PEFT config; its places are saved with the adapter."""
    from peft import SupertuningConfig

    return SupertuningConfig(
        sparsity=settings.sparsity,
        select_top=settings.largest,
        save_precomputed_indices=True,
        target_modules=list(modules(targets)),
    )


class AdamssSettings(Settings):
    """What can be set of AdaMSS.

    Args:
        rank: singular vectors of a weight that are grouped into subspaces.
        subspaces: how many groups.
        subspace_rank: trained rank of each group.
        cluster_seed: of the grouping.
    """

    rank: int = Field(default=64, ge=1, le=1024)
    subspaces: int = Field(default=5, ge=1)
    subspace_rank: int = Field(default=1, ge=1)
    cluster_seed: int = Field(default=0, ge=0)


@kind(
    "adamss.v1",
    title="AdaMSS",
    settings=AdamssSettings,
    default_sites=("linear",),
    learning_rate=5e-3,
    mergeable=True,
    mergeable_why=ADDS,
    rowwise=True,
    wraps=LINEAR_ONLY,
    reads_weights=True,
    paper="AdaMSS: Adaptive Multi-Subspace Approach for Parameter-Efficient Fine-Tuning "
    "(NeurIPS 2025)",
    summary="Groups each weight's singular vectors and trains a small update in every group.",
)
def adamss(settings: AdamssSettings, targets: Targets, base: PreTrainedConfig) -> AdamssConfig:  # noqa: ARG001 - as all kinds
    """Make AdaMSS's PEFT config; its pruning while training (ASA) is off."""
    from peft import AdamssConfig

    return AdamssConfig(
        r=settings.rank,
        num_subspaces=settings.subspaces,
        subspace_rank=settings.subspace_rank,
        random_seed=settings.cluster_seed,
        use_asa=False,
        target_modules=list(modules(targets)),
    )
