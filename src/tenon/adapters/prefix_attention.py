"""Prefix attention: trained keys and values that queries see beside those of their own row.

transformers' attention modules call the function that their config names, and give it themselves,
queries, keys, values and a mask. While a module with prefixes runs, its config names `prefixed`,
which calls the function that was named before with a prefix laid before the keys and values. So
prefixes are no part of a cache, positions do not count them, and no mask hides them. With Z and Z'
the sums of exp(score) over the row's keys and over the prefix, and l = Z' / (Z + Z'), a query gets

    joint = (1 - l) Attn(q, K, V) + l Attn(q, K', V'),

and of a gated prefix, with a gate g for each head, Attn(q, K, V) + g (joint - Attn(q, K, V)).

Source: Li and Liang 2021 (arXiv:2101.00190); He et al. 2022 (arXiv:2110.04366), equations 5 to 7.
Legend: B rows, T queries, S keys, H heads, K key-value heads, D channels of a head, P vectors of a
prefix, X of prefix and row, R one for all rows, or B.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

from tenon.adapters.transparent import uncompiled
from tenon.core.errors import PlanError, RunError

ATTENTION = "tenon_prefixed"
EAGER = "eager"
KNOWN = ("sdpa", EAGER)
"""Functions that take keys and values as tensors of rows and a mask of four dimensions, or none."""


@dataclass(frozen=True, eq=False)
class Prefix:
    """One prefix of one attention module.

    Args:
        key_KPD, value_KPD: float32; keys are as they are after any rotary embedding.
        gate_H: of each head, how much of what the prefix changes is taken; one number for all
            heads; None for all of it.
    """

    key_KPD: Tensor
    value_KPD: Tensor
    gate_H: Tensor | None = None

    def scaled(self, weight: float) -> Prefix:
        """Give the prefix with what it changes multiplied by `weight`."""
        gate_H = self.key_KPD.new_ones(1) if self.gate_H is None else self.gate_H
        return replace(self, gate_H=weight * gate_H)


@dataclass(frozen=True, eq=False)
class Run:
    """Neighbouring rows that see the same prefixes, each of which changes the attention by itself.

    Args:
        size: tokens of the rows where they are packed, else how many rows; None for all.
        prefixes: of these rows; none for the base as it is.
    """

    size: int | None
    prefixes: tuple[Prefix, ...]


@dataclass(frozen=True, eq=False)
class Seen:
    """What each row sees of one prefix.

    Args:
        key_RKPD, value_RKPD: of the longest; shorter ones are filled up.
        real_RP: bool, where a vector is there; None where all are.
        gate_RH: see `Prefix`; None for all of what it changes.
    """

    key_RKPD: Tensor
    value_RKPD: Tensor
    real_RP: Tensor | None = None
    gate_RH: Tensor | None = None

    def of(self, part: slice | Tensor) -> Seen:
        """Give what some rows see.

        Args:
            part: the places of these rows, int64 if a tensor.
        """
        if len(self.key_RKPD) == 1:
            return self
        real_RP = None if self.real_RP is None else self.real_RP[part]
        return Seen(self.key_RKPD[part], self.value_RKPD[part], real_RP)

    def before(
        self,
        query_BHTD: Tensor,
        key_BKSD: Tensor,
        value_BKSD: Tensor,
        mask: Tensor | None,
        *,
        causal: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Lay the prefix before keys and values, and before what a mask says of them.

        Args:
            mask: bool or added to the scores, [B or 1, H or 1, T, S] or [T, S]; None for none.
            causal: without a mask, whether a query sees no key behind its own place.

        Returns:
            Keys, values and a mask that says all; None where every query sees every key.
        """
        rows = len(query_BHTD)
        key_BKXD, value_BKXD = (
            torch.cat([prefix.to(states.dtype).expand(rows, -1, -1, -1), states], 2)
            for prefix, states in ((self.key_RKPD, key_BKSD), (self.value_RKPD, value_BKSD))
        )
        if mask is None and not causal and self.real_RP is None:
            return key_BKXD, value_BKXD, None
        if mask is None:
            shape = (query_BHTD.shape[2], key_BKSD.shape[2])
            mask = torch.ones(shape, dtype=torch.bool, device=query_BHTD.device)
            mask = mask.tril() if causal else mask
        mask = mask[None, None] if mask.dim() == 2 else mask  # noqa: PLR2004
        front = self._front(mask, rows)
        mask = mask.expand(len(front), -1, -1, -1)
        return key_BKXD, value_BKXD, torch.cat([front, mask], -1)

    def _front(self, mask: Tensor, rows: int) -> Tensor:
        """Give what `mask` says of the prefix."""
        heads, queries = mask.shape[1:3]
        if self.real_RP is None:
            shape = (len(mask), heads, queries, self.key_RKPD.shape[2])
            fill = mask.new_ones if mask.dtype == torch.bool else mask.new_zeros
            return fill(shape)
        real_BHTP = self.real_RP[:, None, None].expand(rows, heads, queries, -1)
        return real_BHTP if mask.dtype == torch.bool else _added(real_BHTP, mask.dtype)


@dataclass(eq=False)
class _Call:
    """A module with prefixes that is running.

    Args:
        name: of the function that its config names otherwise.
        runs: the rows and what they see.
        asked: whether the module has called for attention yet.
    """

    name: str
    runs: Sequence[Run]
    asked: bool = False


_CALL: ContextVar[_Call] = ContextVar("prefixed attention")
"""Set and read within one call of a module, thus in one thread, in a recomputed pass as well."""


def beside(
    module: nn.Module, runs: Sequence[Run], given: Sequence[Any], named: Mapping[str, Any]
) -> Any:
    """Run an attention module whose rows see prefixes.

    Args:
        module: of transformers, which has a config and calls the function that this names.
        runs: together all rows, in order.
        given, named: what the module takes.

    Raises:
        PlanError: the module has not called for attention, or has other sizes than the prefixes.
        RunError: its config names a function that cannot take prefixes.
    """
    # Config and runs change from call to call, which a compiled graph would not see.
    return uncompiled(_beside)(module, runs, given, named)


def _beside(
    module: nn.Module, runs: Sequence[Run], given: Sequence[Any], named: Mapping[str, Any]
) -> Any:
    config = cast(Any, module.config)
    call = _Call(str(config._attn_implementation or EAGER), runs)  # noqa: SLF001
    token = _CALL.set(call)
    before = config._attn_implementation  # noqa: SLF001
    config._attn_implementation = ATTENTION  # noqa: SLF001
    try:
        output = module(*given, **named)
    finally:
        config._attn_implementation = before  # noqa: SLF001
        _CALL.reset(token)
    if not call.asked:
        raise PlanError(
            f"prefix: {type(module).__name__} did not call transformers' attention function, so "
            "that it would answer without its prefix; take lora.v1 on this base"
        )
    return output


def prefixed(
    module: nn.Module,
    query_BHTD: Tensor,
    key_BKSD: Tensor,
    value_BKSD: Tensor,
    attention_mask: Tensor | None,
    **named: Any,
) -> tuple[Tensor, Any]:
    """Attend with the prefixes of the module that is running; transformers calls this."""
    call = _CALL.get()
    call.asked = True
    plain = _plain(call.name, module, attention_mask, named)
    given = (module, query_BHTD, key_BKSD, value_BKSD, attention_mask)
    counts = _rows_of(call.runs, query_BHTD, named)
    slots = seen(call.runs, counts, query_BHTD.shape[1])
    for slot in slots:
        _check_sizes(slot, key_BKSD, value_BKSD)
    if len(slots) == 1 and slots[0].gate_RH is None:
        return _joint(plain, given, named, slots[0], eager=call.name == EAGER), None
    output, weights = plain(*given, **named)
    changed = output
    for place, slot in enumerate(slots):
        rows = _few(call.runs, counts, place, named)
        if rows:
            changed = _of_few(plain, given, named, (slot, rows), (output, changed))
            continue
        joint = _joint(plain, given, named, slot, eager=call.name == EAGER)
        change = (joint - output).float() * _gate(slot, named)
        changed = changed + change.to(output.dtype)
    return changed, weights


def _few(
    runs: Sequence[Run], counts: Sequence[int], place: int, named: Mapping[str, Any]
) -> tuple[int, ...]:
    """Give the rows that have a prefix at a place, if others are computed beside them for nothing.

    What is learned from is computed as it always was, and so is what goes on from cells.
    """
    if not hasattr(named.get("borders"), "part") or len(runs) == 1 or torch.is_grad_enabled():
        return ()
    places = pairwise([0, *accumulate(counts)])
    having = [len(run.prefixes) > place for run in runs]
    rows = [row for has, span in zip(having, places, strict=True) if has for row in range(*span)]
    return tuple(rows) if len(rows) < sum(counts) else ()


def _of_few(
    plain: Callable[..., tuple[Tensor, Any]],
    given: tuple[nn.Module, Tensor, Tensor, Tensor, Tensor | None],
    named: Mapping[str, Any],
    which: tuple[Seen, tuple[int, ...]],
    outputs: tuple[Tensor, Tensor],
) -> Tensor:
    """Change the attention of the rows that have a prefix; of packed rows.

    Args:
        which: what all rows see of one prefix, and those that see any of it.
        outputs: the attention without prefixes, and as far as it is changed.
    """
    (slot, rows), (output, changed) = which, outputs
    borders, token_T = named["borders"].part(rows)
    row_R = torch.tensor(rows, device=token_T.device)
    own = [each.index_select(2, token_T) for each in given[1:4]]
    few, how = slot.of(row_R), {**named, "borders": borders}
    joint = plain(given[0], *own, given[4], prefix=few, **how)[0]
    gated = replace(few, gate_RH=None if slot.gate_RH is None else slot.gate_RH[row_R])
    change = (joint - output.index_select(1, token_T)).float() * _gate(gated, how)
    return changed.index_add(1, token_T, change.to(output.dtype))


def seen(runs: Sequence[Run], counts: Sequence[int], heads: int) -> list[Seen]:
    """Give what each row sees: for each place among a row's prefixes, one for all rows.

    Args:
        counts: rows of each run.
        heads: H.
    """
    if len(runs) == 1:
        return [
            Seen(each.key_KPD[None], each.value_KPD[None], None, _row(each.gate_H))
            for each in runs[0].prefixes
        ]
    depth = max((len(run.prefixes) for run in runs), default=0)
    return [
        _slot([run.prefixes[place : place + 1] for run in runs], counts, heads)
        for place in range(depth)
    ]


def _row(gate_H: Tensor | None) -> Tensor | None:
    return None if gate_H is None else gate_H[None]


def _slot(parts: Sequence[Sequence[Prefix]], counts: Sequence[int], heads: int) -> Seen:
    """Lay prefixes of different lengths side by side, row by row; a run may have none."""
    any_KPD = next(part[0].key_KPD for part in parts if part)
    longest = max(part[0].key_KPD.shape[1] for part in parts if part)
    keys, values, reals, gates = [], [], [], []
    for part, rows in zip(parts, counts, strict=True):
        length = part[0].key_KPD.shape[1] if part else 0
        for found, of in ((keys, "key_KPD"), (values, "value_KPD")):
            states_KPD = getattr(part[0], of) if part else any_KPD[:, :0]
            filled_KPD = functional.pad(states_KPD, (0, 0, 0, longest - length))
            found.append(filled_KPD.expand(rows, -1, -1, -1))
        real_P = torch.arange(longest, device=any_KPD.device) < length
        reals.append(real_P.expand(rows, -1))
        gate = (any_KPD.new_ones(1) if part[0].gate_H is None else part[0].gate_H) if part else None
        gates.append((any_KPD.new_zeros(1) if gate is None else gate).expand(rows, heads))
    return Seen(torch.cat(keys), torch.cat(values), torch.cat(reals), torch.cat(gates))


def _rows_of(runs: Sequence[Run], query_BHTD: Tensor, named: Mapping[str, Any]) -> list[int]:
    """Give how many rows each run has.

    Raises:
        RunError: the runs are not those of this batch.
    """
    lengths = named["borders"].lengths if "borders" in named else [1] * len(query_BHTD)
    ends = list(accumulate(lengths))
    sizes = [ends[-1] if run.size is None else run.size for run in runs]
    borders = [0, *accumulate(sizes)]
    if borders[-1] != ends[-1] or not set(borders) <= {0, *ends}:
        raise RunError(f"a batch of {len(lengths)} rows is not the one that was routed")
    places = [bisect_right(ends, border) for border in borders]
    return [last - first for first, last in pairwise(places)]


def _plain(
    name: str, module: nn.Module, mask: Tensor | None, named: Mapping[str, Any]
) -> Callable[..., tuple[Tensor, Any]]:
    """Give the function that the module would call without a prefix."""
    known = "borders" in named or name in KNOWN
    # GPT-2 has a second eager attention, in float32, which it runs by itself under that name
    upcast = name == EAGER and bool(getattr(module, "reorder_and_upcast_attn", False))
    if not known or upcast or (mask is not None and mask.dim() != 4):  # noqa: PLR2004
        raise RunError(
            f"attention {name}: cannot take a prefix; load the base with "
            'attn_implementation = "sdpa"'
        )
    if name == EAGER:
        return sys.modules[type(module).__module__].eager_attention_forward
    return AttentionInterface()[name]


def _joint(
    plain: Callable[..., tuple[Tensor, Any]],
    given: tuple[nn.Module, Tensor, Tensor, Tensor, Tensor | None],
    named: Mapping[str, Any],
    slot: Seen,
    *,
    eager: bool,
) -> Tensor:
    """Give the attention over the prefix and the row's own keys."""
    if "borders" in named:
        return plain(*given, prefix=slot, **named)[0]
    module, query_BHTD, key_BKSD, value_BKSD, mask = given
    stated = named.get("is_causal")
    causal = getattr(module, "is_causal", True) if stated is None else stated
    # as transformers' own functions have it: eager knows masks alone, and one query sees all keys
    causal = bool(causal) and not eager and query_BHTD.shape[2] > 1
    key_BKXD, value_BKXD, mask = slot.before(query_BHTD, key_BKSD, value_BKSD, mask, causal=causal)
    if eager and mask is not None and mask.dtype == torch.bool:
        mask = _added(mask, query_BHTD.dtype)
    others = {**named, "is_causal": False}
    if (bias_BHTS := named.get("position_bias")) is not None:
        others["position_bias"] = functional.pad(bias_BHTS, (slot.key_RKPD.shape[2], 0))
    return plain(module, query_BHTD, key_BKXD, value_BKXD, mask, **others)[0]


def _gate(slot: Seen, named: Mapping[str, Any]) -> Tensor | float:
    """Give the gates over an output of [B, T, H, D], or of [1, T, H, D] where rows are packed."""
    gate_RH = slot.gate_RH
    if gate_RH is None:
        return 1.0
    if "borders" in named and len(gate_RH) > 1:
        lengths = torch.tensor(named["borders"].lengths, device=gate_RH.device)
        return gate_RH.repeat_interleave(lengths, 0)[None, :, :, None]
    return gate_RH[:, None, :, None]


def _added(real: Tensor, dtype: torch.dtype) -> Tensor:
    """Give a mask of truths as one that is added to scores."""
    return torch.zeros_like(real, dtype=dtype).masked_fill(~real, torch.finfo(dtype).min)


def _check_sizes(slot: Seen, key_BKSD: Tensor, value_BKSD: Tensor) -> None:
    wanted = [(states.shape[1], states.shape[3]) for states in (key_BKSD, value_BKSD)]
    found = [(states.shape[1], states.shape[3]) for states in (slot.key_RKPD, slot.value_RKPD)]
    if wanted != found:
        raise PlanError(
            f"prefix: has keys and values of (heads, channels) {found}, and attention here asks "
            f"for {wanted}; take lora.v1 on this base"
        )


AttentionInterface.register(ATTENTION, prefixed)
