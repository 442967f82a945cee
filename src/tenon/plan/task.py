"""Task: the settings that follow from what is learned, where the user left them out."""

from __future__ import annotations

from typing import Any

from tenon.data.settings import Columns
from tenon.data.task import TASKS
from tenon.evaluate.settings import BY_TASK
from tenon.plan.plan import Plan

TOKENS = "tokens"
OPTIONS = {"scheme": "tags", "without_spans": "spans", "answers": "turns", "several": "answer"}
"""What of the columns says how another one is read, and which."""


WRITING = frozenset(
    {
        "text.template",
        "text.instruction",
        "text.source_language",
        "text.target_language",
        "evaluate.max_new_tokens",
        "evaluate.written_rows",
        "evaluate.bleu_tokenizer",
        "evaluate.extract",
    }
)
"""Settings of tasks whose answers the base writes itself."""
READING = "question-answering"
"""The task whose answers stand in a context."""
HEADS = frozenset({"train.head_start", "train.head_scale", "train.head_learning_rate"})
"""Settings of tasks that train a head."""


def by_task(plan: Plan) -> Plan:
    """Fill in scorers, baselines, the dev metric and the pooling that belong to the plan's task."""
    own = BY_TASK[plan.data.task]
    found: dict[str, Any] = {}
    left = {name for name, _, origin in plan.settings() if origin == "default"}
    if "evaluate.scorers" in left:
        found["evaluate.scorers"] = own.scorers
    if plan.evaluate.against is None:
        found["evaluate.against"] = own.baselines
    if "train.metric" in left:
        found["train.metric"] = own.dev[0]
    if own.by_token and plan.model.pooling == "auto":
        found["model.pooling"] = TOKENS
    origins = plan.origins
    return plan.decided(found, "default").model_copy(update={"origins": origins})


def of_other_tasks(task: str) -> set[str]:
    """Give the dotted names of the settings that have no effect in a task."""
    read = TASKS.get(task).columns
    foreign = {name for name in Columns.model_fields if OPTIONS.get(name, name) not in read}
    found = {f"data.columns.{name}" for name in foreign}
    found |= HEADS if BY_TASK[task].writes else WRITING
    found |= set() if task == "multi-label-classification" else {"evaluate.thresholds"}
    found |= set() if BY_TASK[task].calibration else {"evaluate.temperature"}
    found |= set() if task == READING else {"text.answer_tokens"}
    found |= set() if BY_TASK[task].cuts or not BY_TASK[task].by_token else {"text.cut"}
    return found | {"model.pooling"} if BY_TASK[task].by_token else found
