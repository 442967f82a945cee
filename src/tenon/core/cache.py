"""Cache: the folder for what can be made again, such as token files."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "TENON_CACHE"


def folder() -> Path:
    """Give `$TENON_CACHE`, else `$XDG_CACHE_HOME/tenon`, else `~/.cache/tenon`."""
    stated = os.environ.get(VARIABLE)
    if stated:
        return Path(stated).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "tenon"
