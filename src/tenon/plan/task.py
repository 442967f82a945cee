"""Task: the settings that follow from what is learned, where the user left them out."""

from __future__ import annotations

from typing import Any

from tenon.evaluate.settings import BY_TASK
from tenon.plan.plan import Plan

TOKENS = "tokens"


def by_task(plan: Plan) -> Plan:
    """Fill in scorers, baselines, the dev metric and the pooling that belong to the plan's task."""
    own = BY_TASK[plan.data.task]
    found: dict[str, Any] = {}
    if not plan.evaluate.scorers:
        found["evaluate.scorers"] = own.scorers
    if plan.evaluate.against is None:
        found["evaluate.against"] = own.baselines
    if not plan.train.metric:
        found["train.metric"] = own.dev[0]
    if own.by_token and plan.model.pooling == "auto":
        found["model.pooling"] = TOKENS
    origins = plan.origins
    return plan.decided(found, "default").model_copy(update={"origins": origins})
