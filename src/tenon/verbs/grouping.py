"""Grouping: which trials are trained side by side, in one pass over their base."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tenon.core.files import digest_of
from tenon.verbs.trial import Trial


def width(together: int, at_once: int) -> int:
    """Give how many trials are trained side by side where that is left open.

    On a GPU as many as are chosen at once, as a shared pass saves the starting of kernels; on a
    CPU one, where it saves nothing (benchmarks/README.md).

    Args:
        together: as asked for; 0 leaves it open.
        at_once: trials that are chosen at once.
    """
    return together or (at_once if torch.cuda.is_available() else 1)


def grouped(trials: Sequence[Trial], together: int) -> list[list[Trial]]:
    """Put trials that can share a pass over their base into groups, in their order.

    Trials whose bases, or settings of it, differ are in different groups; one that trains with
    the base's own dropout is alone.

    Args:
        trials: to be run.
        together: the most in one group.
    """
    groups: list[list[Trial]] = []
    open_groups: dict[str, list[Trial]] = {}
    for trial in trials:
        plan = trial.plan
        key = digest_of([plan.base, plan.model.model_dump(mode="json")])
        group = open_groups.get(key)
        if group is None or len(group) >= together or plan.model.trunk_dropout:
            group = open_groups[key] = []
            groups.append(group)
        group.append(trial)
    return groups
