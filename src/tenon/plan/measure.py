"""Measure: the settings that the data and the base decide, where the user left them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tenon.adapters.kind import KINDS
from tenon.core.errors import PlanError
from tenon.evaluate.settings import FULL
from tenon.model.settings import Pooling
from tenon.plan.plan import Plan

ROWS_PER_STEP = 32
HEAD_LEARNING_RATE = 1e-2
FULL_LEARNING_RATES = {"encoder": 5e-5, "decoder": 2e-5, "encoder-decoder": 1e-4}
"""Of full fine-tuning, by the sort of base.

Source: the ranges of Devlin et al. 2019 (BERT) for encoders; what Llama and Qwen are tuned with for
decoders; transformers' T5 documentation for AdamW on encoder-decoders.
"""


@dataclass(frozen=True)
class Measured:
    """What was found out about the data and the base.

    Args:
        pooling: how the base was pooled when it was trained.
        dtype: number format in which the base was loaded.
        limit: most tokens that a row may have on this base.
        rows: of the train part.
        tokens: of the train part.
        feature_norm: mean length of the vectors that the head reads on the base without adapter;
            None where no head is trained.
        template: how prompts are written; "" where there are none.
        answer_tokens: of a long answer that is learned; 0 where the base writes none.
        found_tokens: most tokens of an answer that stands in a context; 0 where none does.
        instruction: what is asked around each prompt.
        bleu_tokenizer: how answers are parted into words.
        sort: of base: encoder, decoder or encoder-decoder.
    """

    pooling: Pooling
    dtype: str
    limit: int
    rows: int
    tokens: int
    feature_norm: float | None
    template: str = ""
    answer_tokens: int = 0
    found_tokens: int = 0
    instruction: str = ""
    bleu_tokenizer: str = "13a"
    sort: str = "encoder"


def limit(plan: Plan, base_limit: int) -> int:
    """Give the most tokens of a row: what was set, else what the base and a micro-batch can hold.

    Raises:
        PlanError: more is set than the base can hold.
    """
    wanted = plan.text.max_tokens
    if wanted > base_limit:
        raise PlanError(
            f"text.max_tokens: is {wanted}; this base holds at most {base_limit} tokens a row; "
            f"set at most {base_limit}, or leave it out"
        )
    if wanted:
        return wanted
    return min(base_limit, plan.train.micro_batch_tokens)


def _longest_answer(measured: Measured) -> int:
    """Give half as many tokens again as a long answer has, if that leaves room for a prompt."""
    longest = measured.answer_tokens
    return min(longest + -(-longest // 2), max(longest, measured.limit // 2))


def settle(plan: Plan, measured: Measured) -> Plan:
    """Fill in what was left to the data and the base; the filled settings say "measured".

    What memory and time decide is as it is where there is enough of both; `tenon.plan.ways` and
    `tenon.plan.compiling` decide it.

    A step is as large as 32 rows of mean length. The adapter's learning rate is its kind's. The
    head's is 1e-2 for vectors of length 1 and falls with their length, since what a step adds to a
    logit grows with it.
    """
    kind = KINDS.get(plan.adapter.kind)
    mean = measured.tokens / max(1, measured.rows)
    found: dict[str, Any] = {
        "text.max_tokens": measured.limit,
        "model.pooling": measured.pooling,
        "model.dtype": measured.dtype,
        "train.tokens_per_step": round(ROWS_PER_STEP * mean),
        "train.learning_rate": kind.learning_rate,
        "train.recompute": False,
        "model.compile": False,
    }
    if measured.feature_norm is not None:
        rate = HEAD_LEARNING_RATE / measured.feature_norm
        found["train.head_learning_rate"] = float(f"{rate:.2g}")
    if FULL in (plan.evaluate.against or ()):
        found["evaluate.full_learning_rate"] = FULL_LEARNING_RATES[measured.sort]
    if measured.found_tokens:
        found["text.answer_tokens"] = measured.found_tokens
    if measured.answer_tokens:
        found["text.template"] = measured.template
        found["text.instruction"] = measured.instruction
        found["evaluate.bleu_tokenizer"] = measured.bleu_tokenizer
        found["evaluate.max_new_tokens"] = _longest_answer(measured)
    tables: dict[str, dict[str, Any]] = {}
    origins = dict(plan.origins)
    for name, value in found.items():
        table, field = name.split(".")
        asked = getattr(getattr(plan, table), field)
        if asked is not False and asked in (0, "auto"):
            tables.setdefault(table, {})[field] = value
            origins[name] = "measured"
    settled = {
        table: getattr(plan, table).model_copy(update=fields) for table, fields in tables.items()
    }
    return plan.model_copy(update={**settled, "origins": origins})
