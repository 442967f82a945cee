"""TextSettings: how texts become token ids."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tenon.core.settings import Settings


class TextSettings(Settings):
    """The length policy.

    Args:
        max_tokens: most tokens of a row, longer ones are cut; 0 takes what the base and
            `train.micro_batch_tokens` can hold.
        cut: the side on which a row that is too long loses tokens; of a pair, the longer text
            loses them first.
    """

    max_tokens: int = Field(default=0, ge=0)
    cut: Literal["right", "left"] = "right"
