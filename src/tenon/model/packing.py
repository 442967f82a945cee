"""Packing: attention that stays within each row of a packed batch.

Rows are laid end to end, so that linear layers see real tokens only. Attention
is taken row by row: on CUDA by torch's variable-length kernel, elsewhere in
groups of rows of like length, padded inside the group. A base that cannot be
packed (it ignores the borders, or counts positions in its own way) is found out
by proof, not by name: packed and padded hidden states must be equal.

What a padded position of a group holds is a token of its own row, so that a row
whose states are not finite spoils no other.

Legend: B rows, T tokens, H heads, K key-value heads, D channels of a head, G rows of
a group, L tokens of a group's longest row.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

from tenon.adapters.prefix_attention import Seen
from tenon.adapters.transparent import uncompiled
from tenon.core.errors import RunError
from tenon.text.batch import sent

try:
    from torch.nn.attention import varlen
except ImportError:
    varlen = None

ATTENTION = "tenon_packed"
VARLEN: Any = getattr(varlen, "varlen_attn", None)
"""Torch's variable-length kernel; None where this release has none."""
KNOWN = frozenset(inspect.signature(VARLEN).parameters) if VARLEN is not None else frozenset[str]()
"""What torch's variable-length kernel can be told; it differs between releases."""
WHOLE = {"window_size", "scale"} <= KNOWN
"""Whether it can be told all that a layer may ask for."""
SPREAD_TOKENS = 2
SPREAD_SHARE = 0.25
BEYOND = ("position_bias", "softcap", "s_aux")
"""What some bases add to attention and this attention does not know."""


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
    """

    start: int
    stop: int
    rows: int
    longest: int
    token_GL: Tensor | None = None
    real_GL: Tensor | None = None
    place_T: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Borders:
    """Where the rows of a packed batch begin and end.

    Args:
        lengths: tokens of each row, in the order of the batch.
        device: of the batch.
        windows: the sliding windows, in tokens, of the layers that have asked for the borders.
    """

    lengths: tuple[int, ...]
    device: torch.device
    windows: set[int] = field(default_factory=set[int])

    @cached_property
    def starts_B1(self) -> Tensor:
        """int32 first token of each row, and the end of the last."""
        ends = torch.tensor((0, *self.lengths)).cumsum(0)
        return sent(ends.int(), self.device)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Neighbouring rows of like length, together all rows."""
        return groups_of(self.lengths, self.device)

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(self.lengths)

    @property
    def flat(self) -> tuple[Tensor, int]:
        """The borders as a compiled block takes them; of a power of two, lest it be compiled anew.

        The kernel is told a length that no row is longer than.
        """
        return self.starts_B1, 1 << (self.longest - 1).bit_length()

    @property
    def used(self) -> bool:
        """Whether any attention layer has asked for the borders."""
        return "groups" in self.__dict__ or "starts_B1" in self.__dict__


def groups_of(lengths: Sequence[int], device: torch.device) -> tuple[Group, ...]:
    """Give neighbouring rows of like length, together all rows.

    Args:
        lengths: tokens of each row.
        device: of the batch.
    """
    runs: list[list[int]] = []
    for length in lengths:
        if runs and _alike(runs[-1], length):
            runs[-1].append(length)
        else:
            runs.append([length])
    groups: list[Group] = []
    for run in runs:
        groups.append(_group(groups[-1].stop if groups else 0, run, device))
    return tuple(groups)


def _alike(run: list[int], length: int) -> bool:
    low, high = min(*run, length), max(*run, length)
    return high - low <= max(SPREAD_TOKENS, int(SPREAD_SHARE * high))


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


def packed_attention(
    module: nn.Module,
    query_1HTD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    attention_mask: Tensor | None,
    *,
    borders: Borders,
    prefix: Seen | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    flat: tuple[Tensor, int] | None = None,
    **others: object,
) -> tuple[Tensor, None]:
    """Attend within each row; transformers calls this for every attention layer.

    Args:
        borders: of the rows; reaches here through the model's forward keyword arguments.
        prefix: what each row sees beside its own tokens.
        sliding_window: a token sees those less than so many places away.
        flat: the borders where blocks are compiled: `Borders.flat`.
        others: what this attention does not know must be None.

    Returns:
        Attention output of shape [1, T, H, D], and no weights.

    Raises:
        RunError: the base attends in a way that this attention does not know.
    """
    refuse_unknown({"attention_mask": attention_mask, **others})
    if torch.compiler.is_compiling():
        return _in_graph(
            module, query_1HTD, key_1KTD, value_1KTD, borders=borders, prefix=prefix,
            scaling=scaling, dropout=dropout, is_causal=is_causal, sliding_window=sliding_window,
            flat=flat,
        )  # fmt: skip
    if sliding_window is not None:
        borders.windows.add(sliding_window)
    causal = bool(getattr(module, "is_causal", False)) if is_causal is None else is_causal
    window = None if (sliding_window or borders.longest) >= borders.longest else sliding_window
    rule = Rule(scaling, dropout, causal, window)
    # The variable-length kernel counts a causal rule from the end of a row's keys, before which a
    # prefix would have to be copied for every row; groups do that as well, by a mask.
    kernel = _kernel_for(query_1HTD, rule) if prefix is None else None
    if kernel is not None:
        return _varlen(kernel, query_1HTD, key_1KTD, value_1KTD, borders, rule), None
    outputs: list[Tensor] = []
    first = 0
    for group in borders.groups:
        part = None if prefix is None else prefix.of(slice(first, first + group.rows))
        outputs.append(_attend(group, query_1HTD, key_1KTD, value_1KTD, rule, part))
        first += group.rows
    return torch.cat(outputs)[None], None


def _in_graph(
    module: nn.Module, query_1HTD: Tensor, key_1KTD: Tensor, value_1KTD: Tensor, **how: Any
) -> tuple[Tensor, None]:
    """Attend within a compiled block: by CUDA's kernel in its graph, by groups outside of it."""
    flat, causal, window = how.pop("flat"), how["is_causal"], how["sliding_window"]
    causal = bool(getattr(module, "is_causal", False)) if causal is None else causal
    halves = query_1HTD.dtype in (torch.bfloat16, torch.float16)
    plain = how["prefix"] is None and not how["dropout"]
    if flat is None or not (plain and halves and query_1HTD.is_cuda and WHOLE):
        whole = uncompiled(packed_attention)
        return whole(module, query_1HTD, key_1KTD, value_1KTD, None, **how)
    starts, longest = flat
    options = _options(window, how["scaling"], causal=causal)
    states = _laid(query_1HTD, key_1KTD, value_1KTD)
    return VARLEN(*states, starts, starts, longest, longest, **options)[None], None


def refuse_unknown(given: Mapping[str, object]) -> None:
    """Refuse what a base adds to attention and attention over packed rows does not know.

    Args:
        given: what it calls attention with, by name.

    Raises:
        RunError: something of it is not None.
    """
    for name in ("attention_mask", *BEYOND):
        if given.get(name) is not None:
            raise RunError(f"its attention adds {name}, which packed attention lacks")


def _attend(
    group: Group,
    query_1HTD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    rule: Rule,
    prefix: Seen | None,
) -> Tensor:
    mask = _mask(group, rule, query_1HTD.device)
    causal = rule.causal and mask is None
    query_GHLD, key_GKLD, value_GKLD = (
        _padded(states_1HTD, group) for states_1HTD in (query_1HTD, key_1KTD, value_1KTD)
    )
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
        enable_gqa=query_1HTD.shape[1] != key_1KTD.shape[1],
    )
    output_XHD = output_GHLD.transpose(1, 2).flatten(0, 1)
    return output_XHD if group.place_T is None else output_XHD[group.place_T]


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


def _padded(states_1HTD: Tensor, group: Group) -> Tensor:
    states_HTD = states_1HTD[0, :, group.start : group.stop]
    if group.token_GL is not None:
        states_HTD = states_HTD[:, group.token_GL.flatten()]
    return states_HTD.unflatten(1, (group.rows, group.longest)).transpose(0, 1)


def _kernel_for(query_1HTD: Tensor, rule: Rule) -> Any | None:
    """Give torch's variable-length kernel where it can follow the rule."""
    if not query_1HTD.is_cuda or query_1HTD.dtype not in (torch.bfloat16, torch.float16):
        return None
    if VARLEN is None or rule.dropout:
        return None
    return VARLEN if rule.window is None or "window_size" in KNOWN else None


def _options(window: int | None, scaling: float | None, *, causal: bool) -> dict[str, Any]:
    """Give what torch's variable-length kernel is told, whose signature differs by release."""
    around = -1 if window is None else window - 1
    options: dict[str, Any] = {}
    if "window_size" in KNOWN:
        options["window_size"] = (around, 0 if causal else around)
    else:
        options["is_causal"] = causal
    if "enable_gqa" in KNOWN:
        options["enable_gqa"] = True
    if "scale" in KNOWN:
        options["scale"] = scaling
    return options


def _laid(
    query_1HTD: Tensor, key_1KTD: Tensor, value_1KTD: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Give queries, keys and values as torch's variable-length kernel reads them.

    Releases that do not ask whether heads share keys take it from the shapes.
    """
    query_THD, key_TKD, value_TKD = (
        states[0].transpose(0, 1).contiguous() for states in (query_1HTD, key_1KTD, value_1KTD)
    )
    return query_THD, key_TKD, value_TKD


def _varlen(
    kernel: Any,
    query_1HTD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    borders: Borders,
    rule: Rule,
) -> Tensor:
    """Attend by torch's variable-length kernel."""
    query_THD, key_TKD, value_TKD = _laid(query_1HTD, key_1KTD, value_1KTD)
    if "scale" not in KNOWN and rule.scaling is not None:
        query_THD = query_THD * (rule.scaling * query_THD.shape[-1] ** 0.5)
    options = _options(rule.window, rule.scaling, causal=rule.causal)
    starts, longest = borders.starts_B1, borders.longest
    output_THD = kernel(query_THD, key_TKD, value_TKD, starts, starts, longest, longest, **options)
    return output_THD[None]


AttentionInterface.register(ATTENTION, packed_attention)
