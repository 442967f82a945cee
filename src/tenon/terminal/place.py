"""Place: paths and origins, as short as they can be from the working folder."""

from __future__ import annotations

import os
from pathlib import Path


def short(text: str) -> str:
    """Give `text` with every path below the working folder made relative to it."""
    here = str(Path.cwd())
    return text if here == os.sep else text.replace(here + os.sep, "")
