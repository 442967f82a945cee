"""EvaluateSettings: which numbers, how sure, against what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
        writes: whether the base writes its answers itself, so that no head is trained.
        further: baselines that make sense for some data only, and are compared with if named.
        cuts: whether the text that is asked loses tokens where it is too long, on a side that can
            be chosen.
        more: scorers that can be named besides.
        calibration: scorers of how right the probabilities are, where each unit has one class.
    """

    scorers: tuple[str, ...]
    dev: tuple[str, ...]
    baselines: tuple[str, ...]
    by_token: bool = False
    writes: bool = False
    further: tuple[str, ...] = ()
    cuts: bool = False
    more: tuple[str, ...] = ()
    calibration: tuple[str, ...] = ()


FEWEST_ROWS = 10
"""Below these, resampled rows say nothing: one row alone would give p < 0.001."""

FULL = "full"
"""The baseline that is the same base, trained as a whole."""

BY_TASK = {
    "text-classification": Judging(
        scorers=("accuracy", "macro_f1", "mcc", "log_loss", "calibration_error"),
        dev=("accuracy", "macro_f1", "mcc", "log_loss"),
        baselines=("majority", "linear_probe"),
        further=(FULL,),
        more=("brier",),
        calibration=("calibration_error", "log_loss", "brier"),
    ),
    "multi-label-classification": Judging(
        scorers=(
            "label_micro_f1", "label_macro_f1", "subset_accuracy", "ranking_precision",
            "label_log_loss",
        ),
        dev=("label_micro_f1", "label_macro_f1", "ranking_precision", "label_log_loss"),
        baselines=("label_frequency", "linear_probe"),
        further=(FULL,),
    ),
    "text-regression": Judging(
        scorers=("pearson", "spearman", "mae", "rmse"),
        dev=("pearson", "spearman", "mae", "rmse"),
        baselines=("train_mean", "linear_probe"),
        further=(FULL,),
    ),
    "token-classification": Judging(
        scorers=(
            "entity_f1", "entity_precision", "entity_recall", "entity_macro_f1",
            "entity_lenient_f1", "tag_accuracy", "tag_log_loss",
        ),
        dev=("entity_f1", "tag_accuracy", "tag_log_loss"),
        baselines=("frequent_tag", "linear_probe"),
        further=(FULL,),
        by_token=True,
        more=("tag_brier", "tag_calibration_error"),
        calibration=("tag_calibration_error", "tag_log_loss", "tag_brier"),
    ),
    "question-answering": Judging(
        scorers=("answer_f1", "answer_exact"),
        dev=("answer_f1", "answer_exact"),
        baselines=("question_overlap", "linear_probe", "always_no_answer"),
        further=(FULL,),
        by_token=True,
    ),
    "text-generation": Judging(
        scorers=("bits_per_byte", "perplexity", "exact_match", "rouge_l", "chrf"),
        dev=("bits_per_byte", "perplexity", "token_log_loss"),
        more=("rouge_1", "rouge_2", "bleu"),
        baselines=("zero_shot", "few_shot"),
        further=("copy_source", "lead_3", FULL),
        by_token=True,
        writes=True,
    ),
    "translation": Judging(
        scorers=("bleu", "chrf", "bits_per_byte", "perplexity"),
        dev=("bits_per_byte", "perplexity", "token_log_loss"),
        baselines=("zero_shot", "few_shot", "copy_source"),
        further=(FULL,),
        by_token=True,
        writes=True,
        cuts=True,
        more=("exact_match",),
    ),
    "summarization": Judging(
        scorers=("rouge_l", "rouge_1", "rouge_2", "bits_per_byte", "perplexity"),
        dev=("bits_per_byte", "perplexity", "token_log_loss"),
        baselines=("zero_shot", "few_shot", "lead_3"),
        further=("copy_source", FULL),
        by_token=True,
        writes=True,
        cuts=True,
        more=("bleu", "chrf", "exact_match"),
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
        thresholds: of several labels a row, those are answered whose probability reaches a
            threshold chosen on dev: "one" for all, or one for "each", which rare labels make noisy.
        batch_tokens: real tokens computed at once.
        max_new_tokens: most tokens of an answer that the base writes; 0 takes one and a half
            times the length that 99 of 100 answers of train do not exceed.
        written_rows: how many rows of a part are answered, drawn by chance, where the base writes
            its answers; 0 for all.
        bleu_tokenizer: how sacreBLEU parts answers into words: "13a", "zh" for Chinese, "char" for
            what is written without blanks, "intl", or "none"; "auto" goes by the script of train's
            answers.
        slices: columns of the rows, by whose values the report parts them and says on which the
            adapter is worse; besides length, label, language and file.
        extract: what of an answer is compared by exact_match: strip, last_number, regex:PATTERN, or
            module:function.
        full_learning_rate: peak rate of the base's weights where `against` has "full", full
            fine-tuning; 0 takes the default of the sort of base.
        temperature: divide the head's scores by the temperature that dev asks for, so that the
            adapter's probabilities are as sure as they are right; no answer changes.
        forgetting: texts that the adapter was not trained for, as `path[#member]`, on which the
            base with and without it is compared; or adapters of the same base, whose own rows are
            answered with and without it beside them.
    """

    scorers: tuple[str, ...] = ()
    against: tuple[str, ...] | None = None
    level: float = Field(default=0.95, gt=0.5, lt=1)
    resamples: int = Field(default=2000, ge=200)
    thresholds: Literal["one", "each"] = "one"
    batch_tokens: int = Field(default=16_384, ge=1)
    max_new_tokens: int = Field(default=0, ge=0)
    written_rows: int = Field(default=200, ge=0)
    bleu_tokenizer: Literal["auto", "13a", "zh", "char", "intl", "none"] = "auto"
    slices: tuple[str, ...] = ()
    extract: str = "strip"
    full_learning_rate: float = Field(default=0.0, ge=0, le=1)
    temperature: bool = False
    forgetting: tuple[str, ...] = ()
