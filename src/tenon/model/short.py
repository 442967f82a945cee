"""Short: attention among the tokens of short rows, by products of small matrices.

Each row is laid into a slot of 16 tokens, or of the next multiple of 8, and slots of one size are
computed together, in float32 with gradients written out. The processor's softmax takes as long for
14 scores as for 150, and a tenth of that for 16; torch's fused kernel takes most of its time for
its own bookkeeping, in halves above all.

What fills a slot is a token of its own row, so that a row whose states are not finite spoils no
other. No real token sees it, and its own output is read by none.

Legend: T tokens, H heads, K key-value heads, D channels of a head, G slots of a size, L tokens of a
slot, S keys that they see, M heads of all slots of a size, P positions of all heads, U tokens
whose output is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from tenon.adapters.pool import POOL
from tenon.model.rule import Rule

WIDE, STEP = 16, 8
"""Tokens of the smallest slot, and what the others are a multiple of.

Source: docs/log.md; one thread of an AVX512 CPU, forward and backward of a row with 12 heads of 32
    channels, in microseconds: 60 in 12, 32 in 8, 28 in 16, 45 in 20, 54 in 24, 78 in 32 tokens.
"""
States = tuple[Tensor, Tensor, Tensor]
"""Queries, keys and values."""


class Size(NamedTuple):
    """The slots of one size.

    Args:
        rows_G: the row in each.
        token_GL: the token that each position holds.
        real_GL: bool, whether it is a token of its own, not one that fills.
    """

    rows_G: Tensor
    token_GL: Tensor
    real_GL: Tensor

    @property
    def length(self) -> int:
        """Tokens L of each slot."""
        return self.token_GL.shape[1]


class Lay(NamedTuple):
    """Where states lie by head, size after size, [G, H, L] each.

    Args:
        state_P: which head of which state is at each position.
        place_NH: the position of each head of each state, end to end.
        real_P1: 1 where a position is not one that fills, else 0; None where all are.
    """

    state_P: Tensor
    place_NH: Tensor
    real_P1: Tensor | None


@dataclass(frozen=True, eq=False)
class Slots:
    """Where the tokens of short rows lie while they attend.

    Args:
        sizes: of slots.
        tokens: of all rows.
        device: of the batch.
        hidden: by rule, what is added to the scores of each size, once it was asked for.
        lays: by heads, and by what is asked for, likewise.
    """

    sizes: tuple[Size, ...]
    tokens: int
    device: torch.device
    hidden: dict[Rule, list[Tensor | None]] = field(
        default_factory=dict[Rule, "list[Tensor | None]"]
    )
    lays: dict[tuple[int, ...], Lay] = field(default_factory=dict[tuple[int, ...], Lay])

    def added(self, rule: Rule) -> list[Tensor | None]:
        """Give what is added to scores, [G, 1, L or 1, L]: 0 where a token is seen, else -inf."""
        if rule not in self.hidden:
            self.hidden[rule] = [_hidden(size, rule, self.device) for size in self.sizes]
        return self.hidden[rule]

    def lay(self, heads: int, kept: int) -> Lay:
        """Give where the heads of all tokens lie; few heads are repeated.

        Args:
            heads: H.
            kept: K.
        """
        if (heads, kept) not in self.lays:
            parts = [(size.token_GL, size.real_GL) for size in self.sizes]
            self.lays[heads, kept] = _lay(parts, self.tokens, heads, kept, self.device)
        return self.lays[heads, kept]

    def asked(self, heads: int, count: int, states: int) -> Lay:
        """Give where the heads of one token of each row lie.

        Args:
            heads: H.
            count: rows of which one is asked for, the first ones.
            states: how many there are of them, with any that fill up.
        """
        if (heads, count, states) not in self.lays:
            rows = [size.rows_G[:, None] for size in self.sizes]
            parts = [(row_G1.clamp(max=count - 1), row_G1 < count) for row_G1 in rows]
            self.lays[heads, count, states] = _lay(parts, states, heads, heads, self.device)
        return self.lays[heads, count, states]


class Held(NamedTuple):
    """What the gradients of attention need.

    Args:
        slots: of the rows.
        lays: of queries, and of keys and values.
        scale: of the scores.
        heads: H and K.
        states: queries, keys and values by head, [P, D] in float32.
        shares: of each size, [M, L, S].
    """

    slots: Slots
    lays: tuple[Lay, Lay]
    scale: float
    heads: tuple[int, int]
    states: tuple[Tensor, ...]
    shares: list[Tensor]


def slots_of(lengths: Sequence[int], device: torch.device) -> Slots:
    """Lay rows into slots.

    Args:
        lengths: tokens of each row, one after the other.
        device: of the batch.
    """
    lengths_B = torch.tensor(list(lengths))
    starts_B = lengths_B.cumsum(0) - lengths_B
    slots_B = ((lengths_B + STEP - 1) // STEP * STEP).clamp(min=WIDE)
    sizes: list[Size] = []
    for length in sorted(set(slots_B.tolist())):
        rows_G = (slots_B == length).nonzero()[:, 0]
        places_L = torch.arange(length)
        real_GL = places_L < lengths_B[rows_G][:, None]
        token_GL = starts_B[rows_G][:, None] + torch.where(real_GL, places_L, 0)
        sizes.append(Size(rows_G, token_GL, real_GL))
    return Slots(tuple(sizes), sum(lengths), device)


def _lay(
    parts: Sequence[tuple[Tensor, Tensor]], states: int, heads: int, kept: int, device: torch.device
) -> Lay:
    """Lay states by head.

    Args:
        parts: of each size the state at each position, and whether that is its own, [G, L] each.
        states: how many there are.
        heads: H.
        kept: K.
        device: of the batch.
    """
    heads_H1 = torch.arange(heads)[:, None]
    # What is nowhere, as it fills up, finds anything.
    place_NH = torch.zeros(states, heads, dtype=torch.int64)
    found: list[Tensor] = []
    real: list[Tensor] = []
    start = 0
    for state_GL, real_GL in parts:
        count, length = state_GL.shape
        found.append((state_GL[:, None] * kept + heads_H1 // (heads // kept)).flatten())
        real.append(real_GL[:, None].expand(-1, heads, -1).flatten())
        place_GHL = start + torch.arange(count * heads * length).view(count, heads, length)
        place_NH[state_GL[real_GL]] = place_GHL.transpose(1, 2)[real_GL]
        start += place_GHL.numel()
    real_P = torch.cat(real)
    real_P1 = None if bool(real_P.all()) else real_P.float()[:, None].to(device)
    return Lay(torch.cat(found).to(device), place_NH.flatten().to(device), real_P1)


def _hidden(size: Size, rule: Rule, device: torch.device) -> Tensor | None:
    """Give what is added to the scores of one size; None where all see all."""
    places_L = torch.arange(size.length)
    real_GL = size.real_GL
    seen = real_GL[:, None, :]
    if rule.causal or rule.window is not None:
        back_LL = places_L[:, None] - places_L
        near_LL = back_LL < (rule.window or size.length)
        near_LL &= back_LL > (-1 if rule.causal else -(rule.window or size.length))
        # What fills a slot sees all of it, as a token that sees nothing at all has no softmax.
        seen = (near_LL & seen) | ~real_GL[:, :, None]
    if bool(seen.all()):
        return None
    added = torch.zeros(seen.shape).masked_fill_(~seen, -torch.inf)
    return added[:, None].to(device)


class Short(torch.autograd.Function):
    """Attention among the tokens of short rows, in float32."""

    @staticmethod
    def forward(
        ctx: Any, query_THD: Tensor, key_TKD: Tensor, value_TKD: Tensor, slots: Slots, rule: Rule
    ) -> Tensor:
        """Give the attention output, [T, H, D]."""
        made_TI, held = attended((query_THD, key_TKD, value_TKD), slots, rule)
        # Saved by torch, so that what is computed again later need not be kept.
        ctx.save_for_backward(*held.states, *held.shares)
        ctx.held, ctx.spent = held._replace(states=(), shares=[]), False
        return made_TI.view(query_THD.shape)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradients of queries, keys and values."""
        if ctx.spent:
            raise RuntimeError("gradients of attention can be asked for once a pass")
        kept, ctx.spent = cast("tuple[Tensor, ...]", ctx.saved_tensors), True
        held = cast(Held, ctx.held)._replace(states=kept[:3], shares=list(kept[3:]))
        return (*returned(given[0].flatten(1), held), None, None)


def attended(
    states: States, slots: Slots, rule: Rule, asked: int | None = None
) -> tuple[Tensor, Held]:
    """Give the attention output, [T, H * D], and what its gradients need.

    Args:
        states: queries, [T, H, D], keys and values, [T, K, D].
        slots: of the rows.
        rule: how the layer attends.
        asked: queries are [U, H, D] of one token of so many rows, the first ones, and then of any
            that fill up; the rule is that all see all. None for all tokens.
    """
    heads, kept, channels = states[0].shape[1], states[1].shape[1], states[0].shape[2]
    lay = slots.lay(heads, kept)
    of_queries = slots.lay(heads, heads)
    if asked is not None:
        of_queries = slots.asked(heads, asked, len(states[0]))
    lays = (of_queries, lay, lay)
    laid = tuple(_laid(each, where) for each, where in zip(states, lays, strict=True))
    held = Held(slots, (of_queries, lay), rule.scale(channels), (heads, kept), laid, [])
    said_PD = POOL.like(laid[0])
    for added, own in zip(slots.added(rule), _parts((*laid, said_PD), held), strict=True):
        query, key, value, said = own
        share_MLS = _scores(query, key, held.scale)
        if added is not None:
            share_MLS.view(-1, heads, *share_MLS.shape[1:]).add_(added)
        torch.softmax(share_MLS, -1, out=share_MLS)
        held.shares.append(share_MLS)
        torch.bmm(share_MLS, value, out=said)
    return _taken_up(said_PD, of_queries, states[0], heads).flatten(1), held


def returned(given_TI: Tensor, held: Held) -> States:
    """Give the gradients of queries, [T, H, D], keys and values, [T, K, D].

    Args:
        given_TI: the gradient of the output, [T, H * D].
        held: what `attended` gave; its memory is given back.
    """
    heads, kept = held.heads
    of_queries, lay = held.lays
    given_THD = given_TI.view(len(given_TI), heads, -1)
    given_PD = _laid(given_THD, of_queries)
    if of_queries.real_P1 is not None:
        given_PD.mul_(of_queries.real_P1)
    found = [POOL.like(each) for each in held.states]
    every = (*held.states, given_PD, *found)
    for share_MLS, own in zip(held.shares, _parts(every, held), strict=True):
        query, key, value, given, of_query, of_key, of_value = own
        score_MLS = _of_scores(_scores(given, value), share_MLS)
        _product(score_MLS, key, of_query, held.scale)
        _product(score_MLS.mT, query, of_key, held.scale)
        torch.bmm(share_MLS.mT, given, out=of_value)
        POOL.give(score_MLS, share_MLS)
    POOL.give(given_PD, *held.states)
    return (
        _taken_up(found[0], of_queries, given_THD, heads),
        _taken_up(found[1], lay, given_THD, kept),
        _taken_up(found[2], lay, given_THD, kept),
    )


def _laid(states_NKD: Tensor, lay: Lay) -> Tensor:
    """Lay states by head, [P, D] in float32."""
    flat = states_NKD.reshape(-1, states_NKD.shape[-1])
    laid_PD = POOL.take(len(lay.state_P), flat.shape[1], flat, torch.float32)
    if flat.dtype == torch.float32:
        return torch.index_select(flat, 0, lay.state_P, out=laid_PD)
    half_PD = POOL.take(len(lay.state_P), flat.shape[1], flat)
    laid_PD.copy_(torch.index_select(flat, 0, lay.state_P, out=half_PD))
    POOL.give(half_PD)
    return laid_PD


def _taken_up(made_PD: Tensor, lay: Lay, like: Tensor, kept: int) -> Tensor:
    """Give states by token, [N, K, D]; what the repeats of a head got is added up."""
    half_PD = made_PD
    if like.dtype != made_PD.dtype:
        half_PD = POOL.take(len(made_PD), made_PD.shape[1], like)
        half_PD.copy_(made_PD)
        POOL.give(made_PD)
    states = half_PD.index_select(0, lay.place_NH)
    POOL.give(half_PD)
    heads = like.shape[1]
    states_NKD = states.view(-1, heads, states.shape[1])
    return states_NKD if kept == heads else states_NKD.unflatten(1, (kept, -1)).sum(2)


def _parts(every: Sequence[Tensor], held: Held) -> Iterator[list[Tensor]]:
    """Give the part of each size of some states by head, [M, L, D] each."""
    sizes, heads = held.slots.sizes, held.heads[0]
    counts = [(len(size.rows_G), size.length) for size in sizes]
    starts = [0] * len(every)
    # There are fewer queries than keys where one of each row is asked for.
    positions = sum(count * length for count, length in counts) * heads
    for count, length in counts:
        own: list[Tensor] = []
        for number, each in enumerate(every):
            size = length if len(each) == positions else 1
            part = each.narrow(0, starts[number], count * heads * size)
            own.append(part.view(count * heads, size, -1))
            starts[number] += len(part)
        yield own


def _scores(left: Tensor, right: Tensor, scale: float = 1.0) -> Tensor:
    """Give products of queries and keys, [M, L, S]."""
    heads, length, _ = left.shape
    seen = right.shape[1]
    made = POOL.take(heads * length, seen, left).view(heads, length, seen)
    return torch.baddbmm(made, left, right.mT, beta=0, alpha=scale, out=made)


def _product(left: Tensor, right: Tensor, into: Tensor, scale: float) -> None:
    """Write products of scores and states, [M, L, D]."""
    torch.baddbmm(into, left, right, beta=0, alpha=scale, out=into)


def _of_scores(given: Tensor, share_MLS: Tensor) -> Tensor:
    """Give the gradient of scores from that of their softmax, in its place."""
    backward: Any = getattr(torch, "_softmax_backward_data")  # noqa: B009 - it has no stub
    return backward(given, share_MLS, -1, torch.float32, grad_input=given)
