"""Groups: rows of like length, padded together, and attention among them.

Short rows attend by products of small matrices where gradients are asked for (`short`); all others
by torch's fused kernel, on the CPU in float32 as well.

What a padded position of a group holds is a token of its own row, so that a row
whose states are not finite spoils no other. No real token sees it, and its own output is read by
none: so its gradient is 0, and none is added to that of the token.

Legend: T tokens, H heads, K key-value heads, D channels of a head, G rows of a group, L tokens of a
group's longest row, X padded positions of a group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from tenon.adapters.prefix_attention import Seen
from tenon.model.rule import Rule
from tenon.model.short import Short, Slots, slots_of

SPREAD_TOKENS = 2
SPREAD_SHARE = 0.25
SHORT = 64
"""Rows of up to so many tokens attend by small products where gradients are asked for. Which way a
group takes is fixed by its shape: each rounds in its own way, and a run that is resumed must not.

Source: docs/performance.md; one thread of an AVX512 CPU, 12 heads of 32 channels: 0.5 of the fused
    kernel's time at 14 tokens and 0.2 in bfloat16, 1.2 at 130 tokens, 2 at 500.
"""

ON = {"cpu"}
"""Types of devices on which short rows do; "meta" as well while a CPU is computed on shapes."""


@dataclass(frozen=True)
class Group:
    """Neighbouring rows of like length.

    Args:
        start, stop: the tokens of the group within the batch.
        rows: rows G of the group.
        longest: tokens L of its longest row.
        token_GL: place in the group of each padded position; None where all rows are equal.
        real_GL: bool, whether a padded position holds a token; None where all rows are equal.
        place_T: place in the padded group of each token; None where all rows are equal.
        slots: where the tokens of short rows lie; None where rows attend by torch's kernel.
    """

    start: int
    stop: int
    rows: int
    longest: int
    token_GL: Tensor | None = None
    real_GL: Tensor | None = None
    place_T: Tensor | None = None
    slots: Slots | None = None


def groups_of(
    lengths: Sequence[int], device: torch.device, spread: int = SPREAD_TOKENS
) -> tuple[Group, ...]:
    """Give neighbouring rows of like length, together all rows.

    Args:
        lengths: tokens of each row.
        device: of the batch.
        spread: tokens by which rows may differ, however short they are.
    """
    return _laid(lengths, lambda run, length: _alike(run, length, spread), device)


def learned_groups(lengths: Sequence[int], device: torch.device) -> tuple[Group, ...]:
    """Give the same for what gradients are asked of: neighbours that are short are one group.

    Args:
        lengths, device: as of `groups_of`.
    """

    def alike(run: list[int], length: int) -> bool:
        short = [each <= SHORT for each in (run[0], length)]
        return all(short) or (not any(short) and _alike(run, length, SPREAD_TOKENS))

    return _laid(lengths, alike, device, short=SHORT)


def _laid(
    lengths: Sequence[int],
    alike: Callable[[list[int], int], bool],
    device: torch.device,
    short: int = 0,
) -> tuple[Group, ...]:
    """Put neighbours that are alike into groups; those of short rows have slots."""
    runs: list[list[int]] = []
    for length in lengths:
        if runs and alike(runs[-1], length):
            runs[-1].append(length)
        else:
            runs.append([length])
    groups: list[Group] = []
    for run in runs:
        start, longest = groups[-1].stop if groups else 0, max(run)
        if longest <= short:
            slots = slots_of(run, device)
            groups.append(Group(start, start + sum(run), len(run), longest, slots=slots))
        else:
            groups.append(_group(start, run, device))
    return tuple(groups)


def _alike(run: list[int], length: int, spread: int) -> bool:
    low, high = min(*run, length), max(*run, length)
    return high - low <= max(spread, int(SPREAD_SHARE * high))


def _group(start: int, run: list[int], device: torch.device) -> Group:
    total, longest = sum(run), max(run)
    if min(run) == longest:
        return Group(start, start + total, len(run), longest)
    lengths_G = torch.tensor(run)
    places_L = torch.arange(longest)
    real_GL = places_L < lengths_G[:, None]
    first_G = lengths_G.cumsum(0) - lengths_G
    token_GL = first_G[:, None] + torch.where(real_GL, places_L, 0)
    place_T = real_GL.flatten().nonzero()[:, 0]
    padded = (token_GL.to(device), real_GL.to(device), place_T.to(device))
    return Group(start, start + total, len(run), longest, *padded)


def attend(
    group: Group,
    states: tuple[Tensor, Tensor, Tensor],
    rule: Rule,
    prefix: Seen | None = None,
) -> Tensor:
    """Give the attention output of a group's tokens, [T, H, D].

    Args:
        states: queries [T, H, D], keys and values [T, K, D] of the group alone, row after row.
        prefix: what each of its rows sees beside its own tokens.
    """
    if group.slots is not None:
        return cast(Tensor, Short.apply(*states, group.slots, rule))  # pyright: ignore[reportUnknownMemberType]
    return _fused(group, states, rule, prefix)


def learned(states: Sequence[Tensor], rule: Rule, prefix: Seen | None) -> bool:
    """Whether short rows attend by small products: gradients are asked for, on the CPU."""
    graded = torch.is_grad_enabled() and any(each.requires_grad for each in states)
    return graded and prefix is None and not rule.dropout and states[0].device.type in ON


def _fused(
    group: Group, states: tuple[Tensor, Tensor, Tensor], rule: Rule, prefix: Seen | None
) -> Tensor:
    """Attend by torch's own function."""
    dtype, device = states[0].dtype, states[0].device
    mask = _mask(group, rule, device)
    causal = rule.causal and mask is None
    if device.type in ON and any(each.requires_grad for each in states):
        states = cast(Any, tuple(each.float() for each in states))
    query_GHLD, key_GKLD, value_GKLD = (_padded(each, group) for each in states)
    if prefix is not None:
        key_GKLD, value_GKLD, mask = prefix.before(
            query_GHLD, key_GKLD, value_GKLD, mask, causal=causal
        )
    output_GHLD = functional.scaled_dot_product_attention(
        query_GHLD,
        key_GKLD,
        value_GKLD,
        attn_mask=mask,
        dropout_p=rule.dropout,
        is_causal=causal and prefix is None,
        scale=rule.scaling,
        enable_gqa=query_GHLD.shape[1] != key_GKLD.shape[1],
    )
    output_XHD = output_GHLD.transpose(1, 2).flatten(0, 1).to(dtype)
    if group.place_T is None:
        return output_XHD
    return cast(Tensor, Unpadded.apply(output_XHD, group.place_T))  # pyright: ignore[reportUnknownMemberType]


def _mask(group: Group, rule: Rule, device: torch.device) -> Tensor | None:
    """Say which tokens (last dimension) each token (the one before) sees; None: by `causal` alone.

    Padding stands behind the tokens of a row, where a causal rule hides it.
    """
    if rule.window is None or group.longest <= rule.window:
        return None if rule.causal or group.real_GL is None else group.real_GL[:, None, None, :]
    places_L = torch.arange(group.longest, device=device)
    back_LL = places_L[:, None] - places_L
    near_LL = (back_LL < rule.window) & (back_LL > (-1 if rule.causal else -rule.window))
    if rule.causal or group.real_GL is None:
        return near_LL
    # Padding may see padding, as a token that sees nothing at all has no softmax.
    seen_GLL = group.real_GL[:, None, :] | ~group.real_GL[:, :, None]
    return (near_LL & seen_GLL)[:, None]


def _padded(states_THD: Tensor, group: Group) -> Tensor:
    """Give the states of a group as [G, H, L, D]."""
    if group.token_GL is not None:
        token_X = group.token_GL.flatten()
        states_THD = cast(Tensor, Padded.apply(states_THD, token_X, group.place_T))  # pyright: ignore[reportUnknownMemberType]
    return states_THD.unflatten(0, (group.rows, group.longest)).transpose(1, 2)


class Padded(torch.autograd.Function):
    """Tokens to padded positions; gradients come back from the real ones alone."""

    @staticmethod
    def forward(ctx: Any, states_THD: Tensor, token_X: Tensor, place_T: Tensor) -> Tensor:
        """Give the states of padded positions."""
        ctx.place_T = place_T
        return states_THD.index_select(0, token_X)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradient of the tokens."""
        return given[0].index_select(0, ctx.place_T), None, None


class Unpadded(torch.autograd.Function):
    """Padded positions to tokens."""

    @staticmethod
    def forward(ctx: Any, states_XHD: Tensor, place_T: Tensor) -> Tensor:
        """Give the states of the real tokens."""
        ctx.place_T, ctx.positions = place_T, len(states_XHD)
        return states_XHD.index_select(0, place_T)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradient of the padded positions."""
        return _spread(given[0], ctx.place_T, ctx.positions), None


def _spread(states_THD: Tensor, place_T: Tensor, positions: int) -> Tensor:
    """Put the states of tokens into padded positions; the others are 0."""
    return states_THD.new_zeros(positions, *states_THD.shape[1:]).index_copy_(
        0, place_T, states_THD
    )
