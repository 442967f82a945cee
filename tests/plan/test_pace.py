"""Which passes are timed, and what follows from them for a run."""

from __future__ import annotations

import numpy as np
import torch

from tenon.plan.pace import timed
from tenon.plan.work import Work

WORK = Work(per_token=1.0, per_pair=0.0, padded=False)


def taken(patience: float) -> set[int]:
    """Time micro-batches of as many tokens in few long rows and in many short ones."""
    lengths_R = np.array([100] * 4 + [10] * 40, np.int64)
    parts = [np.arange(4), np.arange(4, 44)]
    seen: set[int] = set()
    timed(parts, lengths_R, WORK, lambda rows: seen.add(len(rows)), torch.device("cpu"), patience)
    return seen


def test_where_one_is_taken_whole_those_of_more_rows_are_as_well():
    """A kind may take longer for every row, however short it is."""
    assert 40 in taken(60.0)


def test_where_a_pass_would_take_too_long_no_more_rows_are_taken_of_any():
    assert max(taken(0.0)) <= 4
