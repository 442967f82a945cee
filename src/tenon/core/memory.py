"""Memory: what this process holds, and the most that it has held."""

from __future__ import annotations

import ctypes
import re
import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")
KIBIBYTE = 1024
LARGE = 1 << 20
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


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


def give_back_large_blocks() -> bool:
    """Let the C library give every large block back as it is freed; for the rest of the process.

    glibc keeps what it once gave back, up to 32 MiB a block, to be given out again. The states of
    batches of many lengths leave holes there: a step then holds up to three times what it uses.
    Blocks of 1 MiB and more get pages of their own instead. It costs 3 % of a step's CPU time.

    Returns:
        Whether there is such a C library.

    Source: `man mallopt`, M_MMAP_THRESHOLD.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGE) and mallopt(M_TRIM_THRESHOLD, LARGE))
