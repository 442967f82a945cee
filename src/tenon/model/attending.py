"""Attending: the attention function that a model calls, another one for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedModel


@contextlib.contextmanager
def attention(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Let the model attend by `name`, and as before when done."""
    before: Any = model.config._attn_implementation  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    if before != name:
        model.set_attn_implementation(name)
    try:
        yield
    finally:
        if before != name:
            model.set_attn_implementation(before)
