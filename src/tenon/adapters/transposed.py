"""Transposed: the model types whose linear layers are stored as [in, out]; PEFT has to be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

TRANSPOSED = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})
"""Model types whose linear layers are `Conv1D`."""


def is_transposed(base: PreTrainedConfig) -> bool:
    """Whether the linear layers of a base are `Conv1D`."""
    return base.model_type in TRANSPOSED
