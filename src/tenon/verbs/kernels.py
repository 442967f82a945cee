"""Kernels: what a plan lets be computed in kernels and graphs of a device's own."""

from __future__ import annotations

from tenon.model.encoded import encode
from tenon.model.fused import fuse
from tenon.model.trunk import Trunk
from tenon.plan.plan import Plan


def quicken(plan: Plan, trunk: Trunk) -> None:
    """Let a base's layers be computed in fewer steps where that is proved to give the same.

    Args:
        plan: it lets them, and does not compile them.
        trunk: with its adapter.
    """
    if plan.model.kernels != "auto" or plan.model.compile is True:
        return
    if trunk.device.type != "cpu":
        fuse(trunk)
    elif not plan.model.trunk_dropout:  # what drops is computed as it is
        encode(trunk)


def unrecorded(plan: Plan) -> str:
    """Say why a plan lets no passes be recorded as CUDA graphs; empty where it does."""
    return 'model.kernels = "plain"' if plan.model.kernels == "plain" else ""
