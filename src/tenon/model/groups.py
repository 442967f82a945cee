"""Groups: rows of like length, padded together, and attention among them.

Short rows attend by products of small matrices in float32 with gradients written out, as torch's
fused kernel for the CPU takes most of its time there for its own bookkeeping, in halves above all;
longer ones by the fused kernel, on the CPU in float32 as well.

What a padded position of a group holds is a token of its own row, so that a row
whose states are not finite spoils no other. No real token sees it, and its own output is read by
none: so its gradient is 0, and none is added to that of the token.

Legend: T tokens, H heads, K key-value heads, D channels of a head, G rows of a group, L tokens of a
group's longest row, S keys that they see, X padded positions of a group, M heads of all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from tenon.adapters.prefix_attention import Seen

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
class Rule:
    """How a layer attends.

    Args:
        scaling: of the scores; None for one over the root of D.
        dropout: share of the scores that are dropped.
        causal: whether a token sees none that come after it.
        window: a token sees those less than so many places away; None for all.
    """

    scaling: float | None
    dropout: float
    causal: bool
    window: int | None


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
        hidden: by rule, what is hidden from whom among short rows, once it was asked for.
    """

    start: int
    stop: int
    rows: int
    longest: int
    token_GL: Tensor | None = None
    real_GL: Tensor | None = None
    place_T: Tensor | None = None
    hidden: dict[Rule, Tensor | None] = field(
        default_factory=dict[Rule, "Tensor | None"], compare=False
    )


def groups_of(
    lengths: Sequence[int], device: torch.device, spread: int = SPREAD_TOKENS
) -> tuple[Group, ...]:
    """Give neighbouring rows of like length, together all rows.

    Args:
        lengths: tokens of each row.
        device: of the batch.
        spread: tokens by which rows may differ, however short they are.
    """
    runs: list[list[int]] = []
    for length in lengths:
        if runs and _alike(runs[-1], length, spread):
            runs[-1].append(length)
        else:
            runs.append([length])
    groups: list[Group] = []
    for run in runs:
        groups.append(_group(groups[-1].stop if groups else 0, run, device))
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
    graded = torch.is_grad_enabled() and any(each.requires_grad for each in states)
    plain = prefix is None and not rule.dropout and states[0].device.type in ON
    if plain and graded and group.longest <= SHORT:
        return cast(Tensor, Short.apply(*states, group, rule))  # pyright: ignore[reportUnknownMemberType]
    return _fused(group, states, rule, prefix)


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


class Short(torch.autograd.Function):
    """Attention among the rows of a group by products of small matrices, in float32."""

    @staticmethod
    def forward(
        ctx: Any, query_THD: Tensor, key_TKD: Tensor, value_TKD: Tensor, group: Group, rule: Rule
    ) -> Tensor:
        """Give the attention output, [T, H, D]."""
        heads = query_THD.shape[1]
        scale = rule.scaling if rule.scaling is not None else query_THD.shape[2] ** -0.5
        query_MLD, key_MSD, value_MSD = (
            _by_head(each, group, heads) for each in (query_THD, key_TKD, value_TKD)
        )
        share_MLS = _product(query_MLD, key_MSD.mT, scale)
        hidden = _hidden(group, rule, query_THD.device)
        if hidden is not None:
            share_MLS.unflatten(0, (group.rows, heads)).masked_fill_(hidden, -torch.inf)
        share_MLS = torch.softmax(share_MLS, -1)
        ctx.save_for_backward(query_MLD, key_MSD, value_MSD, share_MLS)
        ctx.group, ctx.scale, ctx.kept = group, scale, key_TKD.shape[1]
        return _by_token(share_MLS @ value_MSD, group, heads, query_THD.dtype)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradients of queries, keys and values."""
        query_MLD, key_MSD, value_MSD, share_MLS = cast("tuple[Tensor, ...]", ctx.saved_tensors)
        output_THD, group, scale, kept = given[0], cast(Group, ctx.group), ctx.scale, ctx.kept
        heads, dtype = output_THD.shape[1], output_THD.dtype
        if group.place_T is not None:
            positions = group.rows * group.longest
            output_THD = _spread(output_THD, group.place_T, positions)
        output_MLD = _as_heads(output_THD, group, heads)
        value = share_MLS.mT @ output_MLD
        score_MLS = _scores(output_MLD @ value_MSD.mT, share_MLS)
        query = _product(score_MLS, key_MSD, scale)
        key = _product(score_MLS.mT, query_MLD, scale)
        return (
            _by_token(query, group, heads, dtype),
            _by_token(_joined(key, group, kept), group, kept, dtype),
            _by_token(_joined(value, group, kept), group, kept, dtype),
            None,
            None,
        )


def _scores(share: Tensor, share_MLS: Tensor) -> Tensor:
    """Give the gradient of scores from that of their softmax."""
    backward: Any = getattr(torch, "_softmax_backward_data")  # noqa: B009 - it has no stub
    return backward(share, share_MLS, -1, torch.float32)


def _product(left: Tensor, right: Tensor, scale: float) -> Tensor:
    return torch.baddbmm(left.new_empty(()), left, right, beta=0, alpha=scale)


def _by_head(states_THD: Tensor, group: Group, heads: int) -> Tensor:
    """Give padded states of every row and head, [M, L, D] in float32; few heads are repeated."""
    if group.token_GL is not None:
        states_THD = states_THD.index_select(0, group.token_GL.flatten())
    return _as_heads(states_THD, group, heads)


def _as_heads(states_XHD: Tensor, group: Group, heads: int) -> Tensor:
    states_GHLD = states_XHD.unflatten(0, (group.rows, group.longest)).transpose(1, 2).float()
    if states_GHLD.shape[1] != heads:
        states_GHLD = states_GHLD.repeat_interleave(heads // states_GHLD.shape[1], 1)
    return states_GHLD.reshape(-1, *states_GHLD.shape[2:])


def _joined(states_MLD: Tensor, group: Group, kept: int) -> Tensor:
    """Add up what the repeats of a head got."""
    if len(states_MLD) == group.rows * kept:
        return states_MLD
    return states_MLD.unflatten(0, (group.rows * kept, -1)).sum(1)


def _by_token(states_MLD: Tensor, group: Group, heads: int, dtype: torch.dtype) -> Tensor:
    """Give the states of the real tokens, [T, H, D]."""
    states_GLHD = states_MLD.unflatten(0, (group.rows, heads)).transpose(1, 2)
    states_XHD = states_GLHD.to(dtype).reshape(-1, heads, states_MLD.shape[2])
    return states_XHD if group.place_T is None else states_XHD.index_select(0, group.place_T)


def _hidden(group: Group, rule: Rule, device: torch.device) -> Tensor | None:
    """Say which tokens are hidden from which, of shape [G or 1, 1, L or 1, L]; None for none."""
    if rule not in group.hidden:
        seen = _mask(group, rule, device)
        if seen is None and rule.causal:
            places_L = torch.arange(group.longest, device=device)
            seen = places_L[:, None] >= places_L
        group.hidden[rule] = None if seen is None else ~seen
    return group.hidden[rule]
