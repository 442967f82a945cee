"""TextSettings: how texts become token ids."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tenon.core.settings import Settings


class TextSettings(Settings):
    """The length policy.

    Args:
        max_tokens: rows longer than this are cut; 0 lets the data and the base decide.
        cut: the side on which a row that is too long loses tokens; of a pair, the longer text.
    """

    max_tokens: int = Field(default=0, ge=0)
    cut: Literal["right", "left"] = "right"
