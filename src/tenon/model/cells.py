"""Cells: where the keys and values of running rows lie, in blocks that rows take and give back.

Every attention module has a store of its own, made when it first has something to keep; the
places are the same in all of them. A block is emptied when a row takes it, so that what a row
before has left there, be it not finite, is nothing that another row could read.

Legend: N blocks, S cells of a block, T tokens, K key-value heads, D channels of a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tenon.core.errors import RunError

CELLS = 16
"""Of a block. A row wastes half a block; fewer cells make more to gather."""
Blocks = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Store:
    """The cells of one attention module.

    Args:
        key_NSKD, value_NSKD: of all blocks, and of nobody's; the channels of values may be others.
    """

    key_NSKD: Tensor
    value_NSKD: Tensor

    def put(self, cells_T: Tensor, key_1KTD: Tensor, value_1KTD: Tensor) -> None:
        """Keep the keys and values of tokens.

        Args:
            cells_T: int64, where; cells are counted through all blocks.
        """
        self.key_NSKD.flatten(0, 1).index_copy_(0, cells_T, key_1KTD[0].transpose(0, 1))
        self.value_NSKD.flatten(0, 1).index_copy_(0, cells_T, value_1KTD[0].transpose(0, 1))

    def get(self, blocks_X: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """Give keys and values of rows with equally many blocks, [G, K, L, D].

        Args:
            blocks_X: int64, of the first row, then of the next.
            rows: G.
        """
        key_GKLD, value_GKLD = (
            states.index_select(0, blocks_X).view(rows, -1, *states.shape[2:]).transpose(1, 2)
            for states in (self.key_NSKD, self.value_NSKD)
        )
        return key_GKLD, value_GKLD


class Cells:
    """The blocks of all running rows.

    Args:
        tokens: for how many tokens there shall be cells.
        size: cells S of a block.
    """

    def __init__(self, tokens: int, size: int = CELLS) -> None:
        self.size = size
        self.blocks = -(-tokens // size)
        self.stores: dict[nn.Module, Store] = {}
        self._free = list(range(self.blocks))[::-1]

    @property
    def nobody(self) -> int:
        """A block beside all others, which no row ever has."""
        return self.blocks

    @property
    def free(self) -> int:
        """Blocks that no row has."""
        return len(self._free)

    @property
    def nbytes(self) -> int:
        """Bytes of all stores; 0 before the first pass."""
        return sum(s.key_NSKD.nbytes + s.value_NSKD.nbytes for s in self.stores.values())

    def needed(self, tokens: int) -> int:
        """Give how many blocks so many tokens of a row take."""
        return -(-tokens // self.size)

    def take(self, tokens: int) -> Blocks:
        """Give a row empty blocks for so many tokens.

        Raises:
            RunError: there are not enough; none is taken.
        """
        count = self.needed(tokens)
        if count > self.free:
            raise RunError(
                f"cells: {tokens:,} tokens take {count:,} blocks of {self.size} and {self.free:,} "
                "are free; wait until a row has ended"
            )
        taken = [self._free.pop() for _ in range(count)]
        for store in self.stores.values():
            places = torch.tensor(taken, device=store.key_NSKD.device)
            store.key_NSKD.index_fill_(0, places, 0.0)
            store.value_NSKD.index_fill_(0, places, 0.0)
        return np.array(taken, np.int64)

    def give_back(self, blocks: Blocks) -> None:
        """Take back what a row no longer needs."""
        self._free.extend(reversed(blocks.tolist()))

    def store(self, module: nn.Module, key_1KTD: Tensor, value_1KTD: Tensor) -> Store:
        """Give the store of an attention module; made on the first call."""
        found = self.stores.get(module)
        if found is None:
            found = self.stores[module] = Store(self._made(key_1KTD), self._made(value_1KTD))
        return found

    def _made(self, states_1KTD: Tensor) -> Tensor:
        _, heads, _, channels = states_1KTD.shape
        shape = (self.blocks + 1, self.size, heads, channels)
        # Cells made in inference mode could be emptied nowhere else.
        with torch.inference_mode(mode=False):
            return torch.zeros(shape, dtype=states_1KTD.dtype, device=states_1KTD.device)
