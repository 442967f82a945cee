"""Spectrum kinds: a few trained coefficients of a transform give the update of a whole weight.

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
    from peft import C3AConfig, FourierFTConfig, WaveFTConfig
    from transformers import PreTrainedConfig

LINEAR_BOTH = ("linear", "transposed")


class FourierSettings(Settings):
    """What can be set of FourierFT.

    Args:
        frequencies: trained coefficients of a layer.
        scale: factor of the update.
        places_seed: of which frequencies are trained.
    """

    frequencies: int = Field(default=1000, ge=1)
    scale: float = Field(default=150.0, gt=0)
    places_seed: int = Field(default=777, ge=0)


@kind(
    "fourierft.v1",
    title="FourierFT",
    settings=FourierSettings,
    default_sites=("linear",),
    learning_rate=5e-2,
    rate_source="Gao et al. 2024, 5e-2 on RoBERTa; confirmed here",
    mergeable=True,
    mergeable_why=ADDS,
    rowwise=True,
    wraps=LINEAR_BOTH,
    paper="Gao et al. 2024, Parameter-Efficient Fine-Tuning with Discrete Fourier Transform "
    "(arXiv:2405.03003)",
    summary="Trains a few coefficients of the Fourier transform of each layer's update.",
)
def fourierft(
    settings: FourierSettings, targets: Targets, base: PreTrainedConfig
) -> FourierFTConfig:
    """Make FourierFT's PEFT config.

    All coefficients start at 0, so that a fresh adapter changes nothing; the paper draws them from
    a normal, which moves the base before the first step.
    """
    from peft import FourierFTConfig

    return FourierFTConfig(
        n_frequency=settings.frequencies,
        scaling=settings.scale,
        random_loc_seed=settings.places_seed,
        init_weights=True,
        fan_in_fan_out=is_transposed(base),
        target_modules=list(modules(targets)),
    )


class WaveSettings(Settings):
    """What can be set of WaveFT.

    Args:
        coefficients: trained ones of a layer.
        scale: factor of the update.
        places_seed: of which coefficients are trained.
    """

    coefficients: int = Field(default=2592, ge=1)
    scale: float = Field(default=25.0, gt=0)
    places_seed: int = Field(default=777, ge=0)


@kind(
    "waveft.v1",
    title="WaveFT",
    settings=WaveSettings,
    default_sites=("linear",),
    learning_rate=1e-3,
    mergeable=True,
    mergeable_why=ADDS,
    rowwise=True,
    wraps=LINEAR_BOTH,
    paper="Bilican et al. 2025, WaveFT: Exploring Sparsity for Parameter Efficient Fine Tuning "
    "Using Wavelets (arXiv:2505.12532)",
    summary="Trains a few coefficients of the wavelet transform of each layer's update.",
)
def waveft(settings: WaveSettings, targets: Targets, base: PreTrainedConfig) -> WaveFTConfig:
    """Make WaveFT's PEFT config, with PEFT's default wavelet."""
    from peft import WaveFTConfig

    return WaveFTConfig(
        n_frequency=settings.coefficients,
        scaling=settings.scale,
        random_loc_seed=settings.places_seed,
        fan_in_fan_out=is_transposed(base),
        target_modules=list(modules(targets)),
    )


class C3aSettings(Settings):
    """What can be set of C3A.

    Args:
        block: size of the circulant blocks; it divides the sizes of every layer.
    """

    block: int = Field(default=128, ge=2)


@kind(
    "c3a.v1",
    title="C3A",
    settings=C3aSettings,
    default_sites=("linear",),
    learning_rate=1e-1,
    rate_source="PEFT's documentation (1e-1); confirmed here",
    mergeable=True,
    mergeable_why=ADDS,
    rowwise=True,
    wraps=LINEAR_ONLY,
    divides={"block": "both"},
    paper="Chen et al. 2024, Parameter-Efficient Fine-Tuning via Circular Convolution "
    "(arXiv:2407.19342)",
    summary="Adds a matrix of circulant blocks, each given by one trained row.",
)
def c3a(settings: C3aSettings, targets: Targets, base: PreTrainedConfig) -> C3AConfig:  # noqa: ARG001 - as all kinds
    """Make C3A's PEFT config; the rows start at 0."""
    from peft import C3AConfig

    return C3AConfig(
        block_size=settings.block,
        init_weights=True,
        target_modules=list(modules(targets)),
    )
