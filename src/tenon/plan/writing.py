"""Writing: in how many passes answers are written, and over how many rows at once.

Where rows are gone on from together (`tenon.evaluate.decoding`), one that ends gives its place to
the next, so that passes are as many as all answers have tokens, parted by the rows at once. Where
they are written in padded batches, a batch goes on until the last of its rows has ended.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tenon.evaluate.together import limits
from tenon.model.cells import CELLS
from tenon.plan.plan import Plan
from tenon.text.text_generation_render import runs
from tenon.text.tokens import Tokens

SEEN = 500
"""Rows whose answers are measured at most, spread over the part."""
EARLIER = 0.8
"""Share of the longest answer's tokens after which a padded batch has ended, as it is ended by its
last row."""


@dataclass(frozen=True)
class Writing:
    """How the answers of a part are written.

    Args:
        asked: rows that are answered.
        rows: that are written at once.
        held: tokens of prompts and answers whose keys and values are held.
        passes: for a token of each row, where answers are as long as those that the part has.
        most: the same where every answer is as long as it may be.
    """

    asked: int
    rows: int
    held: int
    passes: float
    most: float


def writing(plan: Plan, part: Tokens, device: str, *, together: bool) -> Writing:
    """Give how the answers of a part are written.

    Args:
        plan: settled.
        part: of at least one row.
        device: "cpu" or "cuda".
        together: whether rows are gone on from together.
    """
    asked = min(len(part), plan.evaluate.written_rows or len(part))
    new, size = plan.evaluate.max_new_tokens, plan.evaluate.batch_tokens
    prompts_S, answers_S = _lengths(part, new)
    if not together:
        rows = max(1, min(asked, int(size // (float(prompts_S.mean()) + new))))
        batches = -(-asked // rows)
        held = min(max(size, int(prompts_S.max()) + new), rows * (int(prompts_S.max()) + new))
        return Writing(asked, rows, held, EARLIER * batches * new, float(batches * new))
    at_once = limits(device, int(prompts_S.max()) + new, size)
    each = float(np.mean(-(-(prompts_S + new - 1) // CELLS) * CELLS))
    rows = max(1.0, min(asked, at_once.batch_rows, at_once.cache_tokens / each))
    passes = max(float(answers_S.max()), float(answers_S.mean()) * asked / rows)
    return Writing(asked, int(rows), at_once.cache_tokens, passes, max(new, new * asked / rows))


def _lengths(part: Tokens, new: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Give tokens of the prompt and of the last answer of some rows, which is no longer than new.

    Args:
        new: most tokens of an answer.
    """
    count = min(len(part), SEEN)
    rows = np.unique(np.linspace(0, len(part) - 1, count).astype(np.int64)).tolist()
    last = np.array([(runs(part.targets(row)) or [0])[-1] for row in rows], np.int64)
    prompts_S = np.maximum(1, part.lengths_R[rows] - last)
    return prompts_S, np.clip(last, 1, new)
