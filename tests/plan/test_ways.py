"""Which way a step finds room: it fits, and with more memory it is never a slower one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables import plan_of
from tenon.plan.devices import CPU, DEVICES, OTHER, device_like
from tenon.plan.footprint import Footprint
from tenon.plan.memory import Ground, memory_of
from tenon.plan.ways import (
    MICRO,
    RECOMPUTE,
    at_once,
    first_that_fits,
    is_open,
    kept_whole,
    told,
    ways,
)
from tenon.plan.work import Work, passes_of, steps_of
from tenon.text.tokens import Tokens

LAYERS = 28
NUMBER = 1_000_000
WORK = Work(per_token=1.0, per_pair=0.0, padded=False)


def rows_of(lengths) -> Tokens:
    sizes = np.array(lengths, np.int64)
    ids = np.zeros(int(sizes.sum()), np.int32)
    return Tokens(
        ids, np.concatenate([[0], np.cumsum(sizes)]), [f"r:{n}" for n in range(len(sizes))], 0, 0
    )


def settled(step: int, **settings):
    plan = plan_of()
    return plan.decided({"train.tokens_per_step": step, RECOMPUTE: False, **settings})
