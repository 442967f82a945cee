"""Product kinds: updates that are Hadamard or Kronecker products of small factors.

PEFT is imported by the functions that make the configs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from tenon.adapters.factor_kinds import ADDS, LINEAR_ONLY
from tenon.adapters.kind import Targets, kind
from tenon.adapters.names import modules
from tenon.adapters.transposed import is_transposed
from tenon.core.settings import Settings

if TYPE_CHECKING:
    from peft import HiraConfig, LoHaConfig, LoKrConfig
    from transformers import PreTrainedConfig


class LohaSettings(Settings):
    """What can be set of LoHa.

    Args:
        rank: of each of the two products.
        alpha: the update is scaled by alpha / rank.
    """

    rank: int = Field(default=8, ge=1, le=1024)
    alpha: int = Field(default=16, ge=1)


@kind(
    "loha.v1",
    title="LoHa",
    settings=LohaSettings,
    default_sites=("linear",),
    learning_rate=5e-3,
    mergeable=True,
    mergeable_why=ADDS,
    rowwise=True,
    wraps=LINEAR_ONLY,
    paper="Hyeon-Woo et al. 2022, FedPara: Low-Rank Hadamard Product (arXiv:2108.06098)",
    summary="Adds the elementwise product of two products of thin matrices: rank r squared.",
)
def loha(settings: LohaSettings, targets: Targets, base: PreTrainedConfig) -> LoHaConfig:  # noqa: ARG001 - as all kinds
    """Make LoHa's PEFT config."""
    from peft import LoHaConfig

    return LoHaConfig(r=settings.rank, alpha=settings.alpha, target_modules=list(modules(targets)))


class LokrSettings(Settings):
    """What can be set of LoKr.

    Args:
        rank: of the larger Kronecker factor.
        alpha: the update is scaled by alpha / rank.
        factor: size of the smaller Kronecker factor; -1 for the most even split.
    """

    rank: int = Field(default=8, ge=1, le=1024)
    alpha: int = Field(default=16, ge=1)
    factor: int = Field(default=-1, ge=-1)


@kind(
    "lokr.v1",
    title="LoKr",
    settings=LokrSettings,
    default_sites=("linear",),
    learning_rate=5e-3,
    rate_source="PEFT's method comparison (3e-3 to a 3B decoder); confirmed here",
    mergeable=True,
    mergeable_why=ADDS,
    rowwise=True,
    wraps=LINEAR_ONLY,
    paper="Yeh et al. 2024, Navigating Text-To-Image Customization: LyCORIS (arXiv:2309.14859)",
    summary="Adds the Kronecker product of a small matrix and a product of thin ones.",
)
def lokr(settings: LokrSettings, targets: Targets, base: PreTrainedConfig) -> LoKrConfig:  # noqa: ARG001 - as all kinds
    """Make LoKr's PEFT config."""
    from peft import LoKrConfig

    return LoKrConfig(
        r=settings.rank,
        alpha=settings.alpha,
        decompose_factor=settings.factor,
        target_modules=list(modules(targets)),
    )


class HiraSettings(Settings):
    """What can be set of HiRA.

    Args:
        rank: of the product that the weight is multiplied with.
        dropout: share of the adapter's input that is zeroed while training.
    """

    rank: int = Field(default=8, ge=1, le=1024)
    dropout: float = Field(default=0.0, ge=0, lt=1)


@kind(
    "hira.v1",
    title="HiRA",
    settings=HiraSettings,
    default_sites=("linear",),
    learning_rate=2e-2,
    rate_source="PEFT's method comparison (4.5e-3 to a 3B decoder), raised here",
    mergeable=True,
    mergeable_why="the update is the weight times B A, elementwise, which adds to the weight",
    rowwise=True,
    paper="Huang et al. 2025, HiRA: Hadamard High-Rank Adaptation (ICLR 2025)",
    summary="Adds to each weight itself times an entry of B A, so that the update has full rank.",
)
def hira(settings: HiraSettings, targets: Targets, base: PreTrainedConfig) -> HiraConfig:
    """Make HiRA's PEFT config."""
    from peft import HiraConfig

    return HiraConfig(
        r=settings.rank,
        hira_dropout=settings.dropout,
        fan_in_fan_out=is_transposed(base),
        target_modules=list(modules(targets)),
    )
