"""The C library's allocator, as a process with Tenon in it has it, and as one without has it."""

from __future__ import annotations

import ctypes
import sys

from tenon.core.memory import M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, give_back_large_blocks

MOST = 32 << 20
"""Bytes up to which glibc keeps a block by itself, once blocks of that size were freed."""


def as_with_tenon() -> None:
    """Give large blocks back as they are freed, as Tenon does."""
    give_back_large_blocks()


def as_without() -> None:
    """Keep them, as glibc does by itself: else another library would pay for Tenon's choice.

    Source: `man mallopt`: the thresholds follow what is freed, up to 32 MiB and twice that.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        assert mallopt(M_MMAP_THRESHOLD, MOST) and mallopt(M_TRIM_THRESHOLD, 2 * MOST)
