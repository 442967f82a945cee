"""EngineSettings: how much the engine may hold, queue and compute at once."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tenon.adapters.fingerprint import Quantize
from tenon.core.settings import Settings
from tenon.model.settings import ModelSettings

MIB = 1 << 20


class EngineSettings(Settings):
    """Limits of an engine.

    Args:
        device: where the base computes; "auto" takes CUDA where there is one.
        dtype: number format of the base in memory.
        quantize: how its linear layers are held; adapters must have been trained so.
        slot_bytes: of adapters that are on the device, ready to answer.
        memory_bytes: of further adapters that are kept in memory; those beyond are read from disk
            again when they are asked.
        queue_requests: requests that may wait; more are refused.
        request_rows: most rows of one request.
        batch_tokens: tokens computed at once.
        batch_rows: rows computed at once.
        prompt_tokens: tokens of prompts that are read in a pass beside rows that are being written;
            longer prompts are read in several.
        share_layers: compute the layers below the adapters of equal texts once for all of them.
        cache_tokens: tokens of prompts and answers whose keys and values are held at once.
    """

    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantize: Quantize = "none"
    slot_bytes: int = Field(default=512 * MIB, ge=0)
    memory_bytes: int = Field(default=2048 * MIB, ge=0)
    queue_requests: int = Field(default=1024, ge=1)
    request_rows: int = Field(default=4096, ge=1)
    batch_tokens: int = Field(default=4096, ge=1)
    batch_rows: int = Field(default=64, ge=1)
    prompt_tokens: int = Field(default=512, ge=1)
    share_layers: bool = True
    cache_tokens: int = Field(default=32_768, ge=1)

    @property
    def model(self) -> ModelSettings:
        """How the base is loaded."""
        return ModelSettings(device=self.device, dtype=self.dtype, quantize=self.quantize)
