"""Sized: a micro-batch of a decoder laid out in one of few sizes, as a recorded pass needs it.

Behind the batch's own rows stand rows of filling, of which nothing is learned, and behind these
rows of no tokens at all. Rows do not see each other, and filling is weighed by 0, so that loss and
gradients are the batch's.

Legend: B rows, T tokens with filling, U learned tokens with filling, D hidden.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from tenon.model.packing import Borders
from tenon.model.trunk import Trunk
from tenon.model.writer import chunked_nats_U
from tenon.text.batch import Batch

STEPS = 16
"""Sizes of tokens between a number and its double: at most a 16th of a batch is filling."""
SHARES = 8
"""Sizes of learned tokens: eighths of all tokens."""
GROWING = 8
"""Sizes of tokens between a number and its double, of batches that exceed all others."""
FEWEST = 64
"""Tokens and rows of the smallest size."""
LONGEST = 1024
"""What the kernel is told of the longest row, at the least: it costs next to nothing."""


@dataclass(frozen=True)
class Size:
    """Room for a micro-batch.

    Args:
        tokens: of all rows; one at least is filling.
        learned: tokens that are learned.
        rows: those of filling and the empty ones among them.
        longest: tokens that no row has more of.
    """

    tokens: int
    learned: int
    rows: int
    longest: int

    @property
    def eighths(self) -> int:
        """Of the tokens, for which there is room for learned ones."""
        return self.learned // -(-self.tokens // SHARES)


def size_of(batch: Batch, eighths: int = 1, least: int = 1) -> Size:
    """Give the size for a batch: its tokens, its learned tokens and its rows, rounded up.

    Args:
        batch: what is laid out.
        eighths: of its tokens, for which there is room for learned ones at the least.
        least: tokens for which there is room in any case.
    """
    tokens = rounded(max(batch.tokens + 1, least), STEPS)
    share = -(-tokens // SHARES)
    learned = max(int((batch.targets_X != 0).sum()), share * (eighths - 1) + 1)
    longest = max(LONGEST, 1 << (max(batch.lengths) - 1).bit_length())
    # No row of filling is longer than those of the batch, as a base may count no further.
    rows = len(batch) + -(-(tokens - batch.tokens) // max(batch.lengths))
    fours = FEWEST
    while fours < rows:
        fours *= 4
    return Size(tokens, share * -(-max(1, learned) // share), fours, longest)


def grown_size_of(batch: Batch, eighths: int = 1) -> Size:
    """Give the size for a batch of more tokens than all before: it has room for a few more.

    The largest of many steps is exceeded often, and by little.

    Args:
        batch: what is laid out.
        eighths: as of `size_of`.
    """
    return size_of(batch, eighths, rounded(size_of(batch, eighths).tokens + 1, GROWING))


def filling_of(size: Size, batch: Batch) -> list[int]:
    """Give the lengths of the rows of filling behind a batch; none is longer than its own."""
    spare, longest = size.tokens - batch.tokens, max(batch.lengths)
    rest = [spare % longest] if spare % longest else []
    return [longest] * (spare // longest) + rest


def rounded(count: int, steps: int) -> int:
    """Round a count up to one of so many sizes between a power of two and the next."""
    unit = max(FEWEST, (1 << (count - 1).bit_length()) // (2 * steps))
    return unit * -(-count // unit)


def sorts_of(counts: Iterable[int]) -> int:
    """Give in how many sizes of tokens micro-batches of so many tokens are laid out."""
    return len({rounded(count + 1, STEPS) for count in counts})


@dataclass(frozen=True, eq=False)
class Fixed(Borders):
    """Borders that lie in memory of their own and can be written over.

    Args:
        starts: int32, [B + 1].
        most: tokens that no row has more of.
    """

    starts: Tensor = torch.empty(0)
    most: int = 0

    def __post_init__(self) -> None:
        """Let them be asked for as those of other borders, which are made when they are."""
        vars(self)["starts_B1"] = self.starts

    @property
    def longest(self) -> int:
        """Tokens that no row has more of."""
        return self.most if self.starts.is_cuda else max(self.lengths)


def fixed(lengths: tuple[int, ...], starts: Tensor, size: Size) -> Fixed:
    """Give the borders of rows that are laid out in a size.

    Args:
        lengths: of the rows, those of filling among them.
        starts: int64, [B + 1], in memory that is written over.
        size: the room.
    """
    return Fixed(lengths, starts.device, starts=starts.int(), most=size.longest)


class Laid:
    """Memory for micro-batches of one size.

    Args:
        size: the room.
        device: where it is.
    """

    def __init__(self, size: Size, device: torch.device) -> None:
        self.size = size
        parts = [size.tokens, size.tokens, size.learned, size.learned, size.rows + 1]
        self.numbers = torch.zeros(sum(parts), dtype=torch.int64, device=device)
        self.ids_T, self.positions_T, self.before_U, self.said_U, self.starts = self.numbers.split(
            parts
        )
        self.weights = torch.zeros(size.learned + 1, device=device)
        self.lengths: tuple[int, ...] = ()

    def fill(self, batch: Batch, divisor: float) -> None:
        """Lay a batch out.

        Args:
            batch: on the host, of this size.
            divisor: of its loss.
        """
        size, (numbers, weights) = self.size, self._host()
        self.lengths = (*batch.lengths, *filling_of(size, batch))
        ids_T, positions_T, before_U, said_U, starts = np.split(numbers, self._borders)
        ids_T[: batch.tokens] = batch.ids_T.numpy()
        # A token that the batch has: one that no row has might be no number.
        ids_T[batch.tokens :] = ids_T[0]
        ends = np.cumsum((0, *self.lengths))
        positions_T[:] = np.arange(size.tokens) - np.repeat(ends[:-1], self.lengths)
        starts[: len(ends)], starts[len(ends) :] = ends, size.tokens
        places = batch.targets_X.numpy().nonzero()[0]
        before_U[: len(places)], before_U[len(places) :] = places - 1, size.tokens - 1
        said_U[: len(places)], said_U[len(places) :] = ids_T[places], ids_T[0]
        weights[: len(places)], weights[len(places) : -1] = batch.targets_X.numpy()[places], 0.0
        weights[-1] = divisor
        self._send(numbers, weights)

    @property
    def _borders(self) -> list[int]:
        size = self.size
        return np.cumsum([size.tokens, size.tokens, size.learned, size.learned]).tolist()

    def _host(self) -> tuple[Any, Any]:
        return np.empty(self.numbers.shape, np.int64), np.empty(self.weights.shape, np.float32)

    def _send(self, numbers: Any, weights: Any) -> None:
        for there, here in ((self.numbers, numbers), (self.weights, weights)):
            host = torch.from_numpy(here)
            there.copy_(host.pin_memory() if there.is_cuda else host, non_blocking=True)

    def borders(self) -> Fixed:
        """Give the borders of what is laid out."""
        return fixed(self.lengths, self.starts, self.size)


class Picked(torch.autograd.Function):
    """Rows of states at places that differ, but for the last one of all, which may come again."""

    @staticmethod
    def forward(ctx: Any, hidden_TD: Tensor, places_U: Tensor) -> Tensor:
        """Give the states at those places.

        Args:
            ctx: keeps the places.
            hidden_TD: of all tokens.
            places_U: which.
        """
        ctx.save_for_backward(places_U)
        ctx.tokens = len(hidden_TD)
        return hidden_TD.index_select(0, places_U)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Put the gradients back to their places; that of the last is 0 each time."""
        (places_U,) = cast("tuple[Tensor]", ctx.saved_tensors)
        back_TD = given[0].new_zeros(ctx.tokens, given[0].shape[1])
        return back_TD.index_copy_(0, places_U, given[0]), None


def sized_nats(trunk: Trunk, laid: Laid) -> Tensor:
    """Give the cross-entropy of what is laid out, weighed, summed and divided.

    Args:
        trunk: of a decoder, with its adapter.
        laid: filled.
    """
    return sized_nats_U(trunk, laid).sum() / laid.weights[-1]


def sized_nats_U(trunk: Trunk, laid: Laid) -> Tensor:
    """Give the cross-entropy of each learned token of what is laid out, weighed.

    Args:
        trunk: of a decoder, with its adapter.
        laid: filled.
    """
    hidden_TD = trunk.placed_TD(laid.ids_T, laid.positions_T, None, laid.borders())
    hidden_UD = Picked.apply(hidden_TD, laid.before_U)
    nats_U = chunked_nats_U(trunk, cast(Tensor, hidden_UD), laid.said_U)
    return nats_U * laid.weights[:-1]


def unfit(trunk: Trunk) -> str:
    """Say why batches of a decoder cannot be laid out in sizes; empty where they can."""
    if not trunk.packed or not trunk.decoder or trunk.seq2seq:
        return "rows are padded" if trunk.decoder else "it is no decoder"
    if trunk.offset or trunk.types > 1:
        return "it counts positions or token types in a way of its own"
    return ""
