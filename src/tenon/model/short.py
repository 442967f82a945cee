"""Short: attention among the tokens of short rows, by products of small matrices.

Each row is laid into a slot of a multiple of sixteen tokens, and slots of one size are computed
together, in float32 with gradients written out. The processor's softmax takes as long for 14
scores as for 150, and a tenth of that for 16; torch's fused kernel takes most of its time for its
own bookkeeping, in halves above all.

What fills a slot is a token of its own row, so that a row whose states are not finite spoils no
other. No real token sees it, and its own output is read by none.

Legend: T tokens, H heads, K key-value heads, D channels of a head, G slots of a size, L tokens of a
slot, S keys that they see, M heads of all slots of a size, X positions of all slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from tenon.adapters.pool import POOL
from tenon.model.rule import Rule

WIDE = 16
"""Slots have a multiple of it."""
States = tuple[Tensor, Tensor, Tensor]
"""Queries, keys and values."""


class Size(NamedTuple):
    """The slots of one size.

    Args:
        start: of them among the positions of all slots.
        lengths_G: tokens of the row in each.
        length: tokens L of each slot.
    """

    start: int
    lengths_G: Tensor
    length: int

    @property
    def part(self) -> slice:
        """Their positions."""
        return slice(self.start, self.start + len(self.lengths_G) * self.length)


@dataclass(frozen=True, eq=False)
class Slots:
    """Where the tokens of short rows lie while they attend.

    Args:
        sizes: of slots.
        token_X: the token that each position holds.
        place_T: the position of each token.
        hidden: by rule, what is added to the scores of each size, once it was asked for.
    """

    sizes: tuple[Size, ...]
    token_X: Tensor
    place_T: Tensor
    hidden: dict[Rule, list[Tensor | None]] = field(
        default_factory=dict[Rule, "list[Tensor | None]"]
    )

    def added(self, rule: Rule) -> list[Tensor | None]:
        """Give what is added to scores, [G, 1, L or 1, L]: 0 where a token is seen, else -inf."""
        if rule not in self.hidden:
            self.hidden[rule] = [_hidden(size, rule, self.token_X.device) for size in self.sizes]
        return self.hidden[rule]


class Held(NamedTuple):
    """What the gradients of attention need.

    Args:
        slots: of the rows.
        scale: of the scores.
        heads: H and K.
        channels: D.
        states: of each size queries, [M, L, D], keys and values, [M, S, D].
        shares: of each size, [M, L, S].
    """

    slots: Slots
    scale: float
    heads: tuple[int, int]
    channels: int
    states: list[States]
    shares: list[Tensor]


def slots_of(lengths: Sequence[int], device: torch.device) -> Slots:
    """Lay rows into slots.

    Args:
        lengths: tokens of each row, one after the other.
        device: of the batch.
    """
    lengths_B = torch.tensor(list(lengths))
    starts_B = lengths_B.cumsum(0) - lengths_B
    slots_B = (lengths_B + WIDE - 1) // WIDE * WIDE
    place_T = torch.empty(int(lengths_B.sum()), dtype=torch.int64)
    sizes: list[Size] = []
    tokens: list[Tensor] = []
    start = 0
    for length in sorted(set(slots_B.tolist())):
        rows_G = (slots_B == length).nonzero()[:, 0]
        lengths_G = lengths_B[rows_G]
        places_L = torch.arange(length)
        real_GL = places_L < lengths_G[:, None]
        token_GL = starts_B[rows_G][:, None] + torch.where(real_GL, places_L, 0)
        place_T[token_GL[real_GL]] = start + real_GL.flatten().nonzero()[:, 0]
        sizes.append(Size(start, lengths_G, length))
        tokens.append(token_GL.flatten())
        start += real_GL.numel()
    return Slots(tuple(sizes), torch.cat(tokens).to(device), place_T.to(device))


def _hidden(size: Size, rule: Rule, device: torch.device) -> Tensor | None:
    """Give what is added to the scores of one size; None where all see all."""
    places_L = torch.arange(size.length)
    real_GL = places_L < size.lengths_G[:, None]
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
        ctx.save_for_backward(*(each for three in held.states for each in three), *held.shares)
        ctx.held, ctx.spent = held._replace(states=[], shares=[]), False
        return made_TI.view(query_THD.shape)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradients of queries, keys and values."""
        if ctx.spent:
            raise RuntimeError("gradients of attention can be asked for once a pass")
        kept, ctx.spent = cast("tuple[Tensor, ...]", ctx.saved_tensors), True
        count = len(kept) // 4
        states = [cast(States, kept[3 * n : 3 * n + 3]) for n in range(count)]
        held = cast(Held, ctx.held)._replace(states=states, shares=list(kept[3 * count :]))
        found = returned(given[0].flatten(1), held)
        return (*(each.view(len(each), -1, held.channels) for each in found), None, None)


def attended(states: States, slots: Slots, rule: Rule) -> tuple[Tensor, Held]:
    """Give the attention output, [T, H * D], and what its gradients need.

    Args:
        states: queries, [T, H, D], keys and values, [T, K, D].
        slots: of the rows.
        rule: how the layer attends.
    """
    heads, channels = states[0].shape[1:]
    held = Held(slots, rule.scale(channels), (heads, states[1].shape[1]), channels, [], [])
    laid = [_placed(each.flatten(1), slots.token_X) for each in states]
    made_XI = POOL.take(len(slots.token_X), heads * channels, states[0])
    for size, added in zip(slots.sizes, slots.added(rule), strict=True):
        query, key, value = (_by_head(each[size.part], size, held) for each in laid)
        share_MLS = _scores(query, key, held.scale)
        if added is not None:
            share_MLS.view(-1, heads, *share_MLS.shape[1:]).add_(added)
        torch.softmax(share_MLS, -1, out=share_MLS)
        held.states.append((query, key, value))
        held.shares.append(share_MLS)
        said_MLD = _product(share_MLS, value)
        _by_token(said_MLD, made_XI[size.part], heads)
        POOL.give(said_MLD)
    made_TI = made_XI.index_select(0, slots.place_T)
    POOL.give(made_XI, *laid)
    return made_TI, held


def returned(given_TI: Tensor, held: Held) -> States:
    """Give the gradients of queries, [T, H * D], keys and values, [T, K * D].

    Args:
        given_TI: the gradient of the output, [T, H * D].
        held: what `attended` gave; its memory is given back.
    """
    slots, scale, (heads, kept) = held.slots, held.scale, held.heads
    count, channels = len(slots.token_X), held.channels
    given_XI = POOL.take(count, given_TI.shape[1], given_TI)
    given_XI.zero_().index_copy_(0, slots.place_T, given_TI)
    found = [POOL.take(count, number * channels, given_TI) for number in (heads, kept, kept)]
    parts = zip(slots.sizes, held.states, held.shares, strict=True)
    for size, (query, key, value), share_MLS in parts:
        output = _by_head(given_XI[size.part], size, held)
        score_MLS = _of_scores(_scores(output, value), share_MLS)
        made = (
            _product(score_MLS, key, scale),
            _product(score_MLS.mT, query, scale),
            _product(share_MLS.mT, output),
        )
        for each, into_XI, number in zip(made, found, (heads, kept, kept), strict=True):
            _by_token(_joined(each, size, number), into_XI[size.part], number)
        POOL.give(*made, score_MLS, output, share_MLS, query, key, value)
    made_TI = [each.index_select(0, slots.place_T) for each in found]
    POOL.give(given_XI, *found)
    return made_TI[0], made_TI[1], made_TI[2]


def _placed(states_TI: Tensor, token_X: Tensor) -> Tensor:
    """Give what each position of the slots holds."""
    laid = POOL.take(len(token_X), states_TI.shape[1], states_TI)
    return torch.index_select(states_TI, 0, token_X, out=laid)


def _scores(left: Tensor, right: Tensor, scale: float = 1.0) -> Tensor:
    """Give products of queries and keys, [M, L, S]."""
    heads, length, _ = left.shape
    made = POOL.take(heads * length, length, left).view(heads, length, length)
    return torch.baddbmm(made, left, right.mT, beta=0, alpha=scale, out=made)


def _product(left: Tensor, right: Tensor, scale: float = 1.0) -> Tensor:
    """Give products of shares and states, [M, L, D]."""
    heads, length, channels = right.shape
    made = POOL.take(heads * length, channels, right).view(right.shape)
    return torch.baddbmm(made, left, right, beta=0, alpha=scale, out=made)


def _of_scores(given: Tensor, share_MLS: Tensor) -> Tensor:
    """Give the gradient of scores from that of their softmax, in its place."""
    backward: Any = getattr(torch, "_softmax_backward_data")  # noqa: B009 - it has no stub
    return backward(given, share_MLS, -1, torch.float32, grad_input=given)


def _by_head(states_XI: Tensor, size: Size, held: Held) -> Tensor:
    """Give the states of slots by head, [M, L, D] in float32; few heads are repeated."""
    count, heads, channels = len(size.lengths_G), held.heads[0], held.channels
    kept = states_XI.shape[1] // channels
    made = POOL.take(len(states_XI), heads * channels, states_XI, torch.float32)
    laid_GKRLD = made.view(count, kept, heads // kept, size.length, channels)
    states_GLKD = states_XI.view(count, size.length, kept, channels)
    laid_GKRLD.copy_(states_GLKD.transpose(1, 2)[:, :, None])
    return made.view(-1, size.length, channels)


def _joined(states_MLD: Tensor, size: Size, kept: int) -> Tensor:
    """Add up what the repeats of a head got."""
    count = len(size.lengths_G) * kept
    if len(states_MLD) == count:
        return states_MLD
    return states_MLD.unflatten(0, (count, -1)).sum(1)


def _by_token(states_MLD: Tensor, into_XI: Tensor, heads: int) -> None:
    """Write the states of slots by token, in the number format that is there."""
    _, length, channels = states_MLD.shape
    into_GLHD = into_XI.view(-1, length, heads, channels)
    into_GLHD.copy_(states_MLD.view(-1, heads, length, channels).transpose(1, 2))
