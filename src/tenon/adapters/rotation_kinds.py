"""Rotation kinds: the inputs or outputs of a layer are turned, which keeps lengths and angles.

PEFT is imported by the functions that make the configs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tenon.adapters.factor_kinds import LINEAR_ONLY
from tenon.adapters.kind import Targets, kind
from tenon.adapters.names import modules
from tenon.core.settings import Settings

if TYPE_CHECKING:
    from peft import HRAConfig, OFTConfig, PsoftConfig, RoadConfig
    from transformers import PreTrainedConfig

TURNS = "a turned weight is again one weight"


class OftSettings(Settings):
    """What can be set of OFT.

    Args:
        block: size of the blocks in which a layer's input is turned; it divides that input's size.
    """

    block: int = Field(default=32, ge=2)


@kind(
    "oft.v1",
    title="OFT",
    settings=OftSettings,
    default_sites=("linear",),
    learning_rate=5e-3,
    mergeable=True,
    mergeable_why=TURNS,
    rowwise=True,
    wraps=LINEAR_ONLY,
    divides={"block": "in"},
    paper="Qiu et al. 2023, Controlling Text-to-Image Diffusion by Orthogonal Finetuning "
    "(arXiv:2306.07280)",
    summary="Turns the input of each layer, block by block, by trained rotations.",
)
def oft(settings: OftSettings, targets: Targets, base: PreTrainedConfig) -> OFTConfig:  # noqa: ARG001 - as all kinds
    """Make OFT's PEFT config.

    The rotations come from Cayley's transform by an exact solve: its five-term series, PEFT's
    default, is no rotation any more once the angles are large.
    """
    from peft import OFTConfig

    return OFTConfig(
        oft_block_size=settings.block,
        use_cayley_neumann=False,
        target_modules=list(modules(targets)),
    )


class HraSettings(Settings):
    """What can be set of HRA.

    Args:
        rank: how many reflections; an even number starts as no change.
        orthogonal: make the mirrors orthogonal to each other (Gram-Schmidt).
    """

    rank: int = Field(default=8, ge=2, le=1024, multiple_of=2)
    orthogonal: bool = False


@kind(
    "hra.v1",
    title="HRA",
    settings=HraSettings,
    default_sites=("linear",),
    learning_rate=5e-3,
    mergeable=True,
    mergeable_why="a reflected weight is again one weight",
    rowwise=True,
    wraps=LINEAR_ONLY,
    start="its reflections cancel in pairs, but for rounding",
    paper="Yuan et al. 2024, Bridging The Gap between Low-rank and Orthogonal Adaptation via "
    "Householder Reflection Adaptation (arXiv:2405.17484)",
    summary="Reflects the input of each layer at a few trained mirrors.",
)
def hra(settings: HraSettings, targets: Targets, base: PreTrainedConfig) -> HRAConfig:  # noqa: ARG001 - as all kinds
    """Make HRA's PEFT config."""
    from peft import HRAConfig

    return HRAConfig(
        r=settings.rank,
        apply_GS=settings.orthogonal,
        target_modules=list(modules(targets)),
    )


class RoadSettings(Settings):
    """What can be set of RoAd.

    Args:
        variant: how many angles and scales a pair of outputs has: road_1, road_2 or road_4.
        group: outputs among which pairs are formed; it divides the size of a layer's output.
    """

    variant: Literal["road_1", "road_2", "road_4"] = "road_1"
    group: int = Field(default=64, ge=2, multiple_of=2)


@kind(
    "road.v1",
    title="RoAd",
    settings=RoadSettings,
    default_sites=("linear",),
    learning_rate=5e-3,
    rate_source="PEFT's documentation (about 1e-3 for large decoders), raised here",
    mergeable=True,
    mergeable_why=TURNS,
    rowwise=True,
    wraps=LINEAR_ONLY,
    divides={"group": "out"},
    paper="Liao and Monz 2024, 3-in-1: 2D Rotary Adaptation (arXiv:2409.00119)",
    summary="Turns and scales the outputs of each layer in pairs.",
)
def road(settings: RoadSettings, targets: Targets, base: PreTrainedConfig) -> RoadConfig:  # noqa: ARG001 - as all kinds
    """Make RoAd's PEFT config."""
    from peft import RoadConfig

    return RoadConfig(
        variant=settings.variant,
        group_size=settings.group,
        target_modules=list(modules(targets)),
    )


class PsoftSettings(Settings):
    """What can be set of PSOFT.

    Args:
        rank: of the part of each weight that is turned.
        dropout: share of the adapter's input that is zeroed while training.
    """

    rank: int = Field(default=32, ge=2, le=1024)
    dropout: float = Field(default=0.0, ge=0, lt=1)


@kind(
    "psoft.v1",
    title="PSOFT",
    settings=PsoftSettings,
    default_sites=("linear",),
    learning_rate=5e-3,
    mergeable=True,
    mergeable_why=TURNS,
    rowwise=True,
    wraps=LINEAR_ONLY,
    paper="PSOFT: Efficient Orthogonal Fine-Tuning with Principal Subspace Adaptation "
    "(arXiv:2505.11235)",
    summary="Turns each weight within its leading singular vectors, and scales them.",
)
def psoft(settings: PsoftSettings, targets: Targets, base: PreTrainedConfig) -> PsoftConfig:  # noqa: ARG001 - as all kinds
    """Make PSOFT's PEFT config."""
    from peft import PsoftConfig

    return PsoftConfig(
        r=settings.rank,
        psoft_alpha=settings.rank,
        psoft_dropout=settings.dropout,
        target_modules=list(modules(targets)),
    )
