"""Chosen: the step that did best on dev, as the log of a run tells."""

from __future__ import annotations

from pathlib import Path

from tenon.train import steplog
from tenon.train.checkpoint import Best
from tenon.train.loop import LOWER_IS_BETTER


def chosen(run: Path, metric: str) -> Best | None:
    """Give the first step that no other one is better than; None where dev was never scored.

    Args:
        run: folder of the run.
        metric: of dev, by which steps are chosen.
    """
    best: Best | None = None
    for entry in steplog.read(run):
        value = entry.get("dev", {}).get(metric)
        if value is not None and (best is None or better(metric, value, best.value)):
            best = Best(entry["step"] + 1, value)
    return best


def better(metric: str, value: float, other: float) -> bool:
    """Whether a value of a dev metric is better than another."""
    return value < other if metric in LOWER_IS_BETTER else value > other
