"""Kernels: what a plan lets be computed in kernels and graphs of a device's own."""

from __future__ import annotations

from tenon.plan.plan import Plan


def fuses(plan: Plan) -> bool:
    """Whether blocks of the base are to be computed in few kernels, where that is proved."""
    return plan.model.kernels == "auto" and plan.model.compile is not True


def unrecorded(plan: Plan) -> str:
    """Say why a plan lets no passes be recorded as CUDA graphs; empty where it does."""
    return 'model.kernels = "plain"' if plan.model.kernels == "plain" else ""
