"""Memory: what this process holds, and the most that it has held."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")
KIBIBYTE = 1024


def peak_bytes() -> int:
    """Give the most resident memory of this process so far, in bytes.

    Linux's `ru_maxrss` counts the process that started this one, until its program
    was loaded; the high-water mark in `/proc` does not.
    """
    if STATUS.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))
        if found:
            return int(found[1]) * KIBIBYTE
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * KIBIBYTE


def resident_bytes() -> int:
    """Give the resident memory of this process now, in bytes; its peak where that is not told."""
    if STATUS.exists():
        found = re.search(r"VmRSS:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))
        if found:
            return int(found[1]) * KIBIBYTE
    return peak_bytes()
