"""EvaluateSettings: which numbers, how sure, against what."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from tenon.core.settings import Settings


@dataclass(frozen=True)
class Judging:
    """By what a task is judged.

    Args:
        scorers: of the report; the first one leads the verdict.
        dev: scored on dev at each evaluation; the first one chooses the best step.
        baselines: what an adapter is compared with: what is frequent, and the linear probe.
        by_token: whether class scores belong to tokens, so that nothing is pooled or cut.
    """

    scorers: tuple[str, ...]
    dev: tuple[str, ...]
    baselines: tuple[str, ...]
    by_token: bool = False


BY_TASK = {
    "text-classification": Judging(
        scorers=("accuracy", "macro_f1", "mcc", "log_loss", "calibration_error"),
        dev=("accuracy", "macro_f1", "mcc", "log_loss"),
        baselines=("majority", "linear_probe"),
    ),
    "token-classification": Judging(
        scorers=(
            "entity_f1", "entity_precision", "entity_recall", "entity_macro_f1",
            "entity_lenient_f1", "tag_accuracy", "tag_log_loss",
        ),
        dev=("entity_f1", "tag_accuracy", "tag_log_loss"),
        baselines=("frequent_tag", "linear_probe"),
        by_token=True,
    ),
}  # fmt: skip


class EvaluateSettings(Settings):
    """Scorers, intervals and baselines.

    Args:
        scorers: names of registered scorers, the first one leads the verdict; those of the task
            where left out.
        against: the baselines that are scored and compared; those of the task where left out.
        level: confidence level of every interval.
        resamples: bootstrap resamples.
        batch_tokens: real tokens computed at once.
    """

    scorers: tuple[str, ...] = ()
    against: tuple[str, ...] | None = None
    level: float = Field(default=0.95, gt=0.5, lt=1)
    resamples: int = Field(default=2000, ge=200)
    batch_tokens: int = Field(default=16_384, ge=1)
