"""A disk that is full, a umask, and what lies in a folder."""

from __future__ import annotations

import os
import resource
import signal
import stat
from contextlib import contextmanager


@contextmanager
def small_disk(size: int):
    """Let no file grow beyond `size` bytes: what a full disk says, the system says too."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


@contextmanager
def umask(mask: int):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}
