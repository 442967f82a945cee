"""Threads: as many as this process has cores, where torch would take more.

torch counts the cores of the machine, or those that the process may run on. A container that may
use two of sixty-four by its quota of time would compute with sixty-four threads, most of which wait
for each other. How many cores are idle at a moment is not looked at: sums are rounded by the number
of threads, and a run that is resumed must round as before.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds that the process may compute in a period, and of the period (cgroups, version 2)."""
CHOSEN = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Who sets one of these has decided."""


def fit(quota: Path = QUOTA) -> int:
    """Let torch compute with no more threads than the process has cores; give how many it has.

    Args:
        quota: where the system tells what share of the cores the process may use.
    """
    most = cores(quota)
    if most < torch.get_num_threads() and not any(os.environ.get(name) for name in CHOSEN):
        torch.set_num_threads(most)
    return torch.get_num_threads()


def cores(quota: Path = QUOTA) -> int:
    """Give how many cores the process may use: by where it may run, and by its quota of time."""
    here = getattr(os, "sched_getaffinity", None)
    most = len(here(0)) if here else os.cpu_count() or 1
    try:
        share, period = quota.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return most
    if not (share.isdigit() and period.isdigit() and int(period)):
        return most
    return max(1, min(most, int(share) // int(period)))
