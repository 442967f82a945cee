"""Pool: memory that passes write to again and again.

Large blocks that are asked for anew have pages of their own, which the system must find and empty:
on some machines that takes longer than to write the numbers. What is taken here is given back
behind a pass, and taken again by the next. What is never given back is freed as any tensor is.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import torch
from torch import Tensor

Sort = tuple[int, torch.dtype, torch.device]
EVEN = 64
"""Rows are rounded up to a multiple of it, so that a batch that is hardly longer finds room."""


@dataclass(eq=False)
class Pool:
    """Matrices that nobody uses.

    Args:
        free: by their columns, number format and device.
    """

    free: defaultdict[Sort, list[Tensor]] = field(
        default_factory=lambda: defaultdict[Sort, list[Tensor]](list)
    )

    def take(
        self, rows: int, columns: int, like: Tensor, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Give a matrix of any content, contiguous.

        Args:
            rows: of it.
            columns: of it.
            like: on whose device.
            dtype: its number format; that of `like` where none is given.
        """
        dtype = dtype or like.dtype
        held = self.free[columns, dtype, like.device]
        while held:
            found = held.pop()
            # One that is too small for a batch is let go: soon all have room for the largest.
            if found.shape[0] >= rows:
                return found.narrow(0, 0, rows)
        room = -(-rows // EVEN) * EVEN
        return torch.empty(room, columns, dtype=dtype, device=like.device).narrow(0, 0, rows)

    def like(self, matrix: Tensor) -> Tensor:
        """Give a matrix of any content, of the shape and the sort of another one."""
        return self.take(matrix.shape[0], matrix.shape[1], matrix)

    def give(self, *matrices: Tensor) -> None:
        """Take matrices back that were given, and that nobody reads any more."""
        for each in matrices:
            whole = each._base  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            if whole is None:  # made elsewhere
                continue
            columns = whole.shape[-1]
            self.free[columns, whole.dtype, whole.device].append(whole)

    def forget(self, device: str = "") -> None:
        """Let go of all matrices, or of those on one sort of device."""
        for sort in [each for each in self.free if device in ("", each[2].type)]:
            del self.free[sort]


POOL = Pool()
"""The memory of all layers of this process."""
