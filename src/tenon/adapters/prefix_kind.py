"""Prefix kind: trained keys and values inside of attention.

PEFT is imported by the function that makes the config.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tenon.adapters.kind import Targets, kind
from tenon.adapters.names import modules
from tenon.core.settings import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from tenon.adapters.prefix_config import PrefixConfig


class PrefixSettings(Settings):
    """What can be set of a prefix.

    Args:
        length: trained key and value vectors that each head sees beside those of a row.
        dropout: share of their numbers that is zeroed while training.
        start: "identity" gives each head a trained gate that begins at 0, so that a fresh prefix
            changes nothing; "published" has none, so that random keys and values are seen at once.
    """

    length: int = Field(default=16, ge=1, le=1024)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    start: Literal["identity", "published"] = "identity"


@kind(
    "prefix.v1",
    title="Prefix tuning",
    settings=PrefixSettings,
    default_sites=("core",),
    learning_rate=3e-2,
    mergeable=False,
    mergeable_why="it takes part in the softmax of attention, so no weight can stand for it",
    rowwise=True,
    wraps=("attention",),
    paper="Li and Liang 2021, Prefix-Tuning: Optimizing Continuous Prompts for Generation "
    "(arXiv:2101.00190); Liu et al. 2022, P-Tuning v2 (arXiv:2110.07602); He et al. 2022, Towards "
    "a Unified View of Parameter-Efficient Transfer Learning (arXiv:2110.04366)",
    summary="Lets attention see trained keys and values beside those of each row.",
)
def prefix(settings: PrefixSettings, targets: Targets, base: PreTrainedConfig) -> PrefixConfig:  # noqa: ARG001 - as all kinds
    """Make the PEFT config."""
    from tenon.adapters.prefix import PrefixConfig

    return PrefixConfig(
        length=settings.length,
        dropout=settings.dropout,
        start=settings.start,
        target_modules=list(modules(targets)),
    )
