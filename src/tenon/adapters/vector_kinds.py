"""Vector kinds: a vector a layer that scales or shifts activations, or a norm's own weights.

PEFT is imported by the functions that make the configs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenon.adapters.factor_kinds import LINEAR_ONLY
from tenon.adapters.kind import Targets, kind
from tenon.adapters.names import modules, split
from tenon.adapters.transposed import is_transposed
from tenon.core.settings import Settings

if TYPE_CHECKING:
    from peft import BeftConfig, IA3Config, LNTuningConfig
    from transformers import PreTrainedConfig

INNER = "mlp.out"
"""The site whose input, the inner activations of an MLP, IA3 scales instead of its output."""


class NoSettings(Settings):
    """A kind without settings of its own."""


@kind(
    "ia3.v1",
    title="IA3",
    settings=NoSettings,
    default_sites=("attention.key", "attention.value", "mlp.out"),
    learning_rate=1e-2,
    rate_source="Liu et al. 2022, 3e-3; PEFT's method comparison, 5e-3; raised here",
    mergeable=True,
    mergeable_why="a scaled input or output is a weight with scaled columns or rows",
    rowwise=True,
    wraps=("linear", "transposed"),
    names_modules=("target_modules", "feedforward_modules"),
    paper="Liu et al. 2022, Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than "
    "In-Context Learning (arXiv:2205.05638)",
    summary="Scales keys, values and the inner activations of each MLP by trained vectors.",
)
def ia3(settings: NoSettings, targets: Targets, base: PreTrainedConfig) -> IA3Config:  # noqa: ARG001 - as all kinds
    """Make IA3's PEFT config: at `mlp.out` the input is scaled, elsewhere the output."""
    from peft import IA3Config

    inner = {site: names for site, names in targets.items() if split(site)[1] == INNER}
    return IA3Config(
        target_modules=list(modules(targets)),
        feedforward_modules=list(modules(inner)),
        fan_in_fan_out=is_transposed(base),
    )


@kind(
    "ln_tuning.v1",
    title="LN tuning",
    settings=NoSettings,
    default_sites=("norms",),
    learning_rate=1e-2,
    mergeable=True,
    mergeable_why="the trained norms take the places of the base's",
    rowwise=True,
    wraps=("norm",),
    paper="Zhao et al. 2023, Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM "
    "Finetuning (arXiv:2312.11420)",
    summary="Trains a copy of each norm's weights and biases, in the base's number format.",
)
def ln_tuning(settings: NoSettings, targets: Targets, base: PreTrainedConfig) -> LNTuningConfig:  # noqa: ARG001 - as all kinds
    """Make LN tuning's PEFT config."""
    from peft import LNTuningConfig

    return LNTuningConfig(target_modules=list(modules(targets)))


@kind(
    "beft.v1",
    title="BEFT",
    settings=NoSettings,
    default_sites=("attention.value",),
    learning_rate=1e-2,
    mergeable=False,
    mergeable_why="where a layer has no bias of its own, nothing can take what it adds",
    rowwise=True,
    wraps=LINEAR_ONLY,
    paper="BEFT: Bias-Efficient Fine-Tuning of Language Models in Low-Data Regimes "
    "(arXiv:2509.15974)",
    summary="Adds a trained bias to the values of attention.",
)
def beft(settings: NoSettings, targets: Targets, base: PreTrainedConfig) -> BeftConfig:  # noqa: ARG001 - as all kinds
    """Make BEFT's PEFT config."""
    from peft import BeftConfig

    return BeftConfig(target_modules=list(modules(targets)))
