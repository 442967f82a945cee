"""EvaluateSettings: which numbers, how sure, against what."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tenon.core.settings import Settings


class EvaluateSettings(Settings):
    """Scorers, intervals and baselines.

    Args:
        scorers: names of registered scorers, the first one leads the verdict.
        against: the baselines that are fitted, scored and compared.
        level: confidence level of every interval.
        resamples: bootstrap resamples.
        batch_tokens: real tokens computed at once.
    """

    scorers: tuple[str, ...] = ("accuracy", "macro_f1", "mcc", "log_loss", "calibration_error")
    against: tuple[Literal["majority", "linear_probe"], ...] = ("majority", "linear_probe")
    level: float = Field(default=0.95, gt=0.5, lt=1)
    resamples: int = Field(default=2000, ge=200)
    batch_tokens: int = Field(default=16_384, ge=1)
