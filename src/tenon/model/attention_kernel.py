"""The kernels of attention within packed rows on CUDA, for training: forward, and back.

A tile is of neighbouring tokens, whatever rows they are of, with all query heads that share a key
head (or as many of them as a power of two divides): keys are read once for these, and their
gradients added within the program. What a tile sees is known by where the rows of its tokens begin
and end, which lies on the device, so that passes can be recorded. Scores of tiles that lie within
one row are not masked but at the diagonal. Gradients of queries are made in one kernel, those of
keys and values in another: none adds to what another writes, and the bits are always the same.
Rows of one tile share its products: one whose states are not finite may spoil its neighbours, in a
step that is refused for it.

Legend: T tokens, H heads, K key heads, D channels of a head, M rows of a tile: tokens times heads.

Source: Dao 2023, FlashAttention-2 (arXiv:2307.08691), for what is kept and computed again.
"""

from __future__ import annotations

# pyright: basic, reportMissingImports=false, reportUntypedFunctionDecorator=false
# ruff: noqa: ANN001, ANN202, FBT003, N803, PLR0913
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from tenon.model.spans import Spans

Tiles = tuple[int, int, int, int]
"""Rows M of queries, keys, warps and stages of a kernel."""
States = tuple[Tensor, Tensor, Tensor]
TILES: dict[int, tuple[Tiles, Tiles, Tiles]] = {
    32: ((64, 64, 4, 2), (64, 64, 4, 3), (32, 64, 4, 2)),
    64: ((64, 64, 4, 3), (64, 32, 4, 3), (32, 64, 4, 2)),
    128: ((64, 32, 4, 3), (64, 64, 4, 3), (32, 64, 4, 3)),
}
"""By channels of a head: of the forward kernel, of that of queries, and of that of keys. Fixed, as
sums are of other bits where tiles are of other sizes."""
TOGETHER = 4
"""Query heads that share a key head and that one program of the kernel of keys takes, at most."""
FEW = 2
"""Of more, those that one program takes, lest there be too few programs: their gradients are added
in the end."""
LOG2E: Any = tl.constexpr(1.4426950408889634)
HIDDEN: Any = tl.constexpr(-1e30)
"""Score of a key that a token does not see: finite, as a tile may hold none that it sees."""


@triton.jit
def _tile(x, first, head, TOKENS: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr):
    """Read heads of neighbouring tokens, [TOKENS * GROUP, D]; 0 where there is no token.

    The card's copy engine reads them, those of a loop ahead.
    """
    return x.load([first, head, 0]).reshape(TOKENS * GROUP, D)


@triton.jit
def _put(x, made, first, head, T, HEADS, TOKENS: tl.constexpr, GROUP: tl.constexpr,
         D: tl.constexpr):  # fmt: skip
    """Write heads of neighbouring tokens."""
    row = tl.arange(0, TOKENS * GROUP)
    token = first + row // GROUP
    place = (token.to(tl.int64) * HEADS + head + row % GROUP)[:, None] * D + tl.arange(0, D)
    tl.store(x + place, made.to(x.dtype.element_ty), mask=(token < T)[:, None])


@triton.jit
def _place(tiles, OWN):
    """Give the first token of a program's tile, which of the programs for that tile it is, how far
    the tile looks, and whether it is all of one row.
    """
    program = tl.program_id(0)
    tile = tiles + program // OWN * 3
    return tl.load(tile), program % OWN, tl.load(tile + 1), tl.load(tile + 2) != 0


@triton.jit
def _seen(first, T, begin, alone, WINDOW: tl.constexpr, TOKENS: tl.constexpr, KEYS: tl.constexpr):
    """Give the first key that a tile of tokens sees, the first that is masked, and the end."""
    end, low = tl.minimum(first + TOKENS, T), begin
    if WINDOW > 0:
        low, alone = tl.maximum(begin, first - WINDOW + 1), alone & (end - begin <= WINDOW)
    masked = low + tl.where(alone, (first - low) // KEYS * KEYS, 0)
    return low, masked, end


@triton.jit
def _scores(
    q, k, token, begin, at, scale, WINDOW: tl.constexpr, KEYS: tl.constexpr, MASKED: tl.constexpr
):
    """Give the scores of queries and keys, to the base of 2, [M, KEYS]."""
    made = tl.dot(q, tl.trans(k)) * scale
    if MASKED:
        key = at + tl.arange(0, KEYS)
        see = (key[None, :] <= token[:, None]) & (key[None, :] >= begin[:, None])
        if WINDOW > 0:
            see = see & (key[None, :] > token[:, None] - WINDOW)
        made = tl.where(see, made, HIDDEN)
    return made


@triton.jit
def _onward(q, k, v, acc, most, total, token, begin, at, pair, scale, WINDOW: tl.constexpr,
            KEYS: tl.constexpr, D: tl.constexpr, MASKED: tl.constexpr):  # fmt: skip
    """Take a tile of keys into the sums of a tile of queries."""
    keys = _tile(k, at, pair, KEYS, 1, D)
    made = _scores(q, keys, token, begin, at, scale, WINDOW, KEYS, MASKED)
    higher = tl.maximum(most, tl.max(made, 1))
    share = tl.exp2(made - higher[:, None])
    less = tl.exp2(most - higher)
    total = total * less + tl.sum(share, 1)
    values = _tile(v, at, pair, KEYS, 1, D)
    acc = tl.dot(share.to(values.dtype), values, acc * less[:, None])
    return acc, higher, total


@triton.jit(do_not_specialize=["T"])
def _forward(q, k, v, tiles, begins, out, whole, scale, T, H, K, WINDOW: tl.constexpr,
             GROUP: tl.constexpr, D: tl.constexpr, TOKENS: tl.constexpr,
             KEYS: tl.constexpr):  # fmt: skip
    """Attend; keep the logarithm of each sum, to the base of 2, [T, H]."""
    first, own, reach, alone = _place(tiles, H // GROUP)
    head = own * GROUP
    pair = head // (H // K)
    row = tl.arange(0, TOKENS * GROUP)
    token = first + row // GROUP
    begin = tl.load(begins + token, mask=token < T, other=0)
    low, masked, end = _seen(first, T, reach, alone, WINDOW, TOKENS, KEYS)
    queries = _tile(q, first, head, TOKENS, GROUP, D)
    acc = tl.zeros((TOKENS * GROUP, D), tl.float32)
    most = tl.full((TOKENS * GROUP,), HIDDEN, tl.float32)
    total = tl.zeros((TOKENS * GROUP,), tl.float32)
    for at in range(low, masked, KEYS):
        acc, most, total = _onward(queries, k, v, acc, most, total, token, begin, at, pair,
                                   scale, WINDOW, KEYS, D, False)  # fmt: skip
    for at in range(masked, end, KEYS):
        acc, most, total = _onward(queries, k, v, acc, most, total, token, begin, at, pair,
                                   scale, WINDOW, KEYS, D, True)  # fmt: skip
    _put(out, acc / total[:, None], first, head, T, H, TOKENS, GROUP, D)
    place = token.to(tl.int64) * H + head + row % GROUP
    tl.store(whole + place, most + tl.log2(total), mask=token < T)


@triton.jit
def _queries_onward(q, g, k, v, acc, sums, delta, token, begin, at, pair, scale,
                    WINDOW: tl.constexpr, KEYS: tl.constexpr, D: tl.constexpr,
                    MASKED: tl.constexpr):  # fmt: skip
    """Take a tile of keys into the gradient of a tile of queries."""
    keys = _tile(k, at, pair, KEYS, 1, D)
    values = _tile(v, at, pair, KEYS, 1, D)
    made = _scores(q, keys, token, begin, at, scale, WINDOW, KEYS, MASKED)
    share = tl.exp2(made - sums[:, None])
    slope = share * (tl.dot(g, tl.trans(values)) - delta[:, None])
    return tl.dot(slope.to(keys.dtype), keys, acc)


@triton.jit(do_not_specialize=["T"])
def _back_queries(q, k, v, out, g, tiles, begins, whole, deltas, to_q, scale, T, H, K,
                  WINDOW: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, TOKENS: tl.constexpr,
                  KEYS: tl.constexpr):  # fmt: skip
    """Give the gradient of queries, and what the other kernel needs of each, [T, H]."""
    first, own, reach, alone = _place(tiles, H // GROUP)
    head = own * GROUP
    pair = head // (H // K)
    row = tl.arange(0, TOKENS * GROUP)
    token = first + row // GROUP
    inside = token < T
    begin = tl.load(begins + token, mask=inside, other=0)
    low, masked, end = _seen(first, T, reach, alone, WINDOW, TOKENS, KEYS)
    place = token.to(tl.int64) * H + head + row % GROUP
    given = _tile(g, first, head, TOKENS, GROUP, D)
    made = _tile(out, first, head, TOKENS, GROUP, D)
    delta = tl.sum(given.to(tl.float32) * made.to(tl.float32), 1)
    tl.store(deltas + place, delta, mask=inside)
    sums = tl.load(whole + place, mask=inside, other=0.0)
    queries = _tile(q, first, head, TOKENS, GROUP, D)
    acc = tl.zeros((TOKENS * GROUP, D), tl.float32)
    for at in range(low, masked, KEYS):
        acc = _queries_onward(queries, given, k, v, acc, sums, delta, token, begin, at, pair,
                              scale, WINDOW, KEYS, D, False)  # fmt: skip
    for at in range(masked, end, KEYS):
        acc = _queries_onward(queries, given, k, v, acc, sums, delta, token, begin, at, pair,
                              scale, WINDOW, KEYS, D, True)  # fmt: skip
    _put(to_q, acc * (scale / LOG2E), first, head, T, H, TOKENS, GROUP, D)


@triton.jit
def _keys_onward(q, g, keys, values, to_k, to_v, begins, whole, deltas, key, at, head, T, H, scale,
                 WINDOW: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, TOKENS: tl.constexpr,
                 MASKED: tl.constexpr):  # fmt: skip
    """Take a tile of queries into the gradients of a tile of keys and values."""
    row = tl.arange(0, TOKENS * GROUP)
    token = at + row // GROUP
    place = token.to(tl.int64) * H + head + row % GROUP
    queries = _tile(q, at, head, TOKENS, GROUP, D)
    given = _tile(g, at, head, TOKENS, GROUP, D)
    inside = (token >= 0) & (token < T)
    sums = tl.load(whole + place, mask=inside, other=0.0)
    delta = tl.load(deltas + place, mask=inside, other=0.0)
    made = tl.dot(keys, tl.trans(queries)) * scale
    if MASKED:
        begin = tl.load(begins + token, mask=inside, other=T)
        see = (key[:, None] <= token[None, :]) & (key[:, None] >= begin[None, :])
        if WINDOW > 0:
            see = see & (key[:, None] > token[None, :] - WINDOW)
        made = tl.where(see, made, HIDDEN)
    share = tl.exp2(made - sums[None, :])
    to_v = tl.dot(share.to(given.dtype), given, to_v)
    slope = share * (tl.dot(values, tl.trans(given)) - delta[None, :])
    to_k = tl.dot(slope.to(queries.dtype), queries, to_k)
    return to_k, to_v


@triton.jit(do_not_specialize=["T"])
def _back_keys(q, k, v, g, tiles, begins, whole, deltas, to_k, to_v, scale, T, H, K,
               WINDOW: tl.constexpr, GROUP: tl.constexpr, PARTS: tl.constexpr,
               SPLITS: tl.constexpr, D: tl.constexpr, TOKENS: tl.constexpr,
               KEYS: tl.constexpr):  # fmt: skip
    """Give the gradients of keys and values, [SPLITS, T, K, D], each by some of the heads."""
    first, own, end, alone = _place(tiles, K * SPLITS)
    pair = own // SPLITS
    key = first + tl.arange(0, KEYS)
    if WINDOW > 0:
        end = tl.minimum(end, tl.minimum(first + KEYS, T) - 1 + WINDOW)
        alone = alone & (end - first <= WINDOW)
    # Tiles of queries end where the row does; what is before the keys is masked with the diagonal.
    low = end - tl.cdiv(end - first, TOKENS) * TOKENS
    masked = tl.minimum(low + tl.cdiv(first + KEYS - low, TOKENS) * TOKENS, end)
    masked = tl.where(alone, masked, end)
    keys = _tile(k, first, pair, KEYS, 1, D)
    values = _tile(v, first, pair, KEYS, 1, D)
    made_k = tl.zeros((KEYS, D), tl.float32)
    made_v = tl.zeros((KEYS, D), tl.float32)
    for part in range(PARTS):
        head = (own * PARTS + part) * GROUP
        for at in range(low, masked, TOKENS):
            made_k, made_v = _keys_onward(q, g, keys, values, made_k, made_v, begins, whole, deltas,
                                          key, at, head, T, H, scale, WINDOW, GROUP, D, TOKENS,
                                          True)  # fmt: skip
        for at in range(masked, end, TOKENS):
            made_k, made_v = _keys_onward(q, g, keys, values, made_k, made_v, begins, whole, deltas,
                                          key, at, head, T, H, scale, WINDOW, GROUP, D, TOKENS,
                                          False)  # fmt: skip
    apart = (own % SPLITS).to(tl.int64) * T * K * D
    _put(to_k + apart, made_k * (scale / LOG2E), first, pair, T, K, KEYS, 1, D)
    _put(to_v + apart, made_v, first, pair, T, K, KEYS, 1, D)


def _laid(states_THD: Tensor, tokens: int, group: int) -> Any:
    """Describe states to the copy engine: it reads so many tokens and heads of them at once."""
    shape = [tokens, group, states_THD.shape[2]]
    return TensorDescriptor(states_THD, list(states_THD.shape), list(states_THD.stride()), shape)


def _group(query_THD: Tensor, key_TKD: Tensor) -> int:
    """Give the query heads of a tile: of those that share a key head, as many as a power of two."""
    shared = query_THD.shape[1] // key_TKD.shape[1]
    return shared & -shared


def attended(
    states: States, spans: Spans, scaling: float, window: int, tiles: Tiles | None = None
) -> tuple[Tensor, Tensor]:
    """As `tenon.model.attention_math.Plain.attended`; by other tiles than the table's, if told."""
    query_THD, key_TKD, value_TKD = states
    tokens, heads, channels = query_THD.shape
    out_THD = torch.empty_like(query_THD)
    whole_TH = torch.empty(tokens, heads, dtype=torch.float32, device=query_THD.device)
    rows, keys, warps, stages = tiles or TILES[channels][0]
    group = _group(query_THD, key_TKD)
    table = spans.tiles(rows // group, back=True)
    kernel: Any = _forward
    kernel[(len(table) * heads // group,)](
        _laid(query_THD, rows // group, group), _laid(key_TKD, keys, 1),
        _laid(value_TKD, keys, 1), table, spans.begins_T, out_THD, whole_TH,
        scaling * LOG2E.value, tokens,
        heads, key_TKD.shape[1], WINDOW=window, GROUP=group, D=channels, TOKENS=rows // group,
        KEYS=keys, num_warps=warps, num_stages=stages,
    )  # fmt: skip
    return out_THD, whole_TH


def attended_back(
    given_THD: Tensor,
    states: States,
    made: tuple[Tensor, Tensor],
    spans: Spans,
    scaling: float,
    window: int,
    tiles: tuple[Tiles, Tiles] | None = None,
) -> States:
    """As `tenon.model.attention_math.Plain.attended_back`; by other tiles, if told."""
    queries, keys = tiles or TILES[states[0].shape[2]][1:]
    how = (spans, scaling * LOG2E.value, window)
    to_query_THD, delta_TH = _to_queries(given_THD, states, made, how, queries)
    return to_query_THD, *_to_keys(given_THD, states, (made[1], delta_TH), how, keys)


def _to_queries(
    given_THD: Tensor,
    states: States,
    made: tuple[Tensor, Tensor],
    how: tuple[Spans, float, int],
    tiles: Tiles,
) -> tuple[Tensor, Tensor]:
    """Give the gradient of queries, and what each made times its gradient, summed."""
    query_THD, key_TKD, value_TKD = states
    (out_THD, whole_TH), (spans, scale, window) = made, how
    tokens, heads, channels = query_THD.shape
    to_query_THD, delta_TH = torch.empty_like(query_THD), torch.empty_like(whole_TH)
    rows, keys, warps, stages = tiles
    group = _group(query_THD, key_TKD)
    query, out, given = (
        _laid(each, rows // group, group) for each in (query_THD, out_THD, given_THD)
    )
    table = spans.tiles(rows // group, back=True)
    kernel: Any = _back_queries
    kernel[(len(table) * heads // group,)](
        query, _laid(key_TKD, keys, 1), _laid(value_TKD, keys, 1), out, given, table,
        spans.begins_T, whole_TH, delta_TH, to_query_THD, scale, tokens, heads,
        key_TKD.shape[1], WINDOW=window, GROUP=group, D=channels, TOKENS=rows // group, KEYS=keys,
        num_warps=warps, num_stages=stages,
    )  # fmt: skip
    return to_query_THD, delta_TH


def _to_keys(
    given_THD: Tensor,
    states: States,
    known: tuple[Tensor, Tensor],
    how: tuple[Spans, float, int],
    tiles: Tiles,
) -> tuple[Tensor, Tensor]:
    """Give the gradients of keys and of values."""
    query_THD, key_TKD, value_TKD = states
    spans, scale, window = how
    (tokens, heads, channels), pairs = query_THD.shape, key_TKD.shape[1]
    shared, group = heads // pairs, _group(query_THD, key_TKD)
    group = group if shared <= TOGETHER else min(group, FEW)
    splits = 1 if shared <= TOGETHER else shared // group
    found_2STKD = key_TKD.new_empty(2, splits, *key_TKD.shape)
    rows, keys, warps, stages = tiles
    query, given = (_laid(each, rows // group, group) for each in (query_THD, given_THD))
    table = spans.tiles(keys, back=False)
    kernel: Any = _back_keys
    kernel[(len(table) * pairs * splits,)](
        query, _laid(key_TKD, keys, 1), _laid(value_TKD, keys, 1), given, table, spans.begins_T,
        *known, *found_2STKD, scale, tokens, heads, pairs, WINDOW=window, GROUP=group,
        PARTS=shared // group // splits, SPLITS=splits, D=channels, TOKENS=rows // group,
        KEYS=keys, num_warps=warps, num_stages=stages,
    )  # fmt: skip
    found_2TKD = found_2STKD.sum(1) if splits > 1 else found_2STKD[:, 0]
    return found_2TKD[0], found_2TKD[1]
