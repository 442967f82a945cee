"""Order: which rows make which step, a pure function of (seed, epoch).

A step takes rows in shuffled order until it holds its share of real tokens. All
steps of an epoch, the last one as well, have the same share, and no step prefers
short or long rows. Within a step the rows are sorted by length: the sum over a step does not
depend on their order, and neighbours of like length waste least in attention.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Order:
    """The steps of a run over R rows.

    Args:
        lengths_R: tokens of each row, all at least 1.
        seed: of the run.
        tokens_per_step: real tokens of a step; at least the longest row.
    """

    lengths_R: npt.NDArray[np.int64]
    seed: int
    tokens_per_step: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every row is seen once; the same in each epoch.

        They are as many as `tokens_per_step` asks for, unless a step's share would then be less
        than the longest row: a share that is no less leaves no step without a row.
        """
        total, longest = int(self.lengths_R.sum()), int(self.lengths_R.max())
        return min(-(-total // self.budget), max(1, total // longest))

    @property
    def budget(self) -> int:
        """Tokens of a step, never less than the longest row."""
        return max(self.tokens_per_step, int(self.lengths_R.max()))

    def epoch(self, epoch: int) -> list[Rows]:
        """Give the rows of each step of an epoch, every row once, sorted by length in a step."""
        shuffled = generator(self.seed, epoch).permutation(len(self.lengths_R))
        lengths = self.lengths_R[shuffled]
        ends_R = np.cumsum(lengths)
        step_R = (ends_R - 1) * self.steps_per_epoch // ends_R[-1]
        ordered = shuffled[np.lexsort((lengths, step_R))]
        borders = np.searchsorted(step_R, np.arange(1, self.steps_per_epoch))
        return np.split(ordered, borders)


def generator(seed: int, stream: int) -> np.random.Generator:
    """Give the random generator of one stream of a seed; streams do not overlap."""
    return np.random.Generator(np.random.Philox(key=[seed, stream]))


def micro_batches(rows: Rows, lengths_R: npt.NDArray[np.int64], tokens: int) -> list[Rows]:
    """Cut the rows of a step, in their order, into batches of at most `tokens` tokens.

    A single row longer than `tokens` is a batch of its own.
    """
    batches: list[Rows] = []
    start = held = 0
    for place, length in enumerate(lengths_R[rows].tolist()):
        if held and held + length > tokens:
            batches.append(rows[start:place])
            start, held = place, 0
        held += length
    return [*batches, rows[start:]]
