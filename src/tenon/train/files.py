"""Files: what the folders of checkpoints in a run are called."""

from __future__ import annotations

import re

STEP = re.compile(r"step-(\d{8})")
