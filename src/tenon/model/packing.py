"""Packing: attention that stays within each row of a packed batch.

Rows are laid end to end, so that linear layers see real tokens only. Attention
is taken row by row: on CUDA by torch's variable-length kernel, elsewhere in
groups of rows of like length, padded inside the group. A base that cannot be
packed (it ignores the borders, or counts positions in its own way) is found out
by proof, not by name: packed and padded hidden states must be equal.

Legend: B rows, T tokens, H heads, K key-value heads, D channels of a head, G rows of
a group, L tokens of a group's longest row.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

from tenon.core.errors import RunError

ATTENTION = "tenon_packed"
SPREAD_TOKENS = 2
SPREAD_SHARE = 0.25


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
    """

    lengths: tuple[int, ...]
    device: torch.device

    @cached_property
    def starts_B1(self) -> Tensor:
        """int32 first token of each row, and the end of the last."""
        ends = torch.tensor((0, *self.lengths)).cumsum(0)
        return ends.to(self.device, torch.int32)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Neighbouring rows of like length, together all rows."""
        runs: list[list[int]] = []
        for length in self.lengths:
            if runs and _alike(runs[-1], length):
                runs[-1].append(length)
            else:
                runs.append([length])
        groups: list[Group] = []
        for run in runs:
            groups.append(_group(groups[-1].stop if groups else 0, run, self.device))
        return tuple(groups)

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(self.lengths)

    @property
    def used(self) -> bool:
        """Whether any attention layer has asked for the borders."""
        return "groups" in self.__dict__ or "starts_B1" in self.__dict__


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
    token_GL = torch.where(real_GL, first_G[:, None] + places_L, 0)
    place_T = real_GL.flatten().nonzero()[:, 0]
    padded = (token_GL.to(device), real_GL.to(device), place_T.to(device))
    return Group(start, start + total, len(run), longest, *padded)


def packed_attention(
    module: nn.Module,
    query_1HTD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 - transformers' interface; the borders replace it
    *,
    borders: Borders,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Attend within each row; transformers calls this for every attention layer.

    Args:
        borders: of the rows; reaches here through the model's forward keyword arguments.
        sliding_window: tokens that a token sees; no row may be longer than it.

    Returns:
        Attention output of shape [1, T, H, D], and no weights.

    Raises:
        RunError: a row is longer than the layer's sliding window.
    """
    if sliding_window is not None and borders.longest > sliding_window:
        raise RunError(
            f"a row of {borders.longest} tokens is longer than the base's sliding window of "
            f'{sliding_window}; set model.batches = "padded" or text.max_tokens = {sliding_window}'
        )
    causal = bool(getattr(module, "is_causal", False)) if is_causal is None else is_causal
    if query_1HTD.is_cuda and query_1HTD.dtype in (torch.bfloat16, torch.float16) and not dropout:
        kernel = _varlen_kernel()
        if kernel is not None:
            return _varlen(kernel, query_1HTD, key_1KTD, value_1KTD, borders, scaling, causal), None
    outputs = [
        _attend(group, query_1HTD, key_1KTD, value_1KTD, scaling, dropout, causal)
        for group in borders.groups
    ]
    return torch.cat(outputs)[None], None


def _attend(
    group: Group,
    query_1HTD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    scaling: float | None,
    dropout: float,
    causal: bool,  # noqa: FBT001
) -> Tensor:
    mask = None if group.real_GL is None or causal else group.real_GL[:, None, None, :]
    output_GHLD = functional.scaled_dot_product_attention(
        _padded(query_1HTD, group),
        _padded(key_1KTD, group),
        _padded(value_1KTD, group),
        attn_mask=mask,
        dropout_p=dropout,
        is_causal=causal,
        scale=scaling,
        enable_gqa=query_1HTD.shape[1] != key_1KTD.shape[1],
    )
    output_XHD = output_GHLD.transpose(1, 2).flatten(0, 1)
    return output_XHD if group.place_T is None else output_XHD[group.place_T]


def _padded(states_1HTD: Tensor, group: Group) -> Tensor:
    states_HTD = states_1HTD[0, :, group.start : group.stop]
    if group.token_GL is not None:
        states_HTD = states_HTD[:, group.token_GL.flatten()]
    return states_HTD.unflatten(1, (group.rows, group.longest)).transpose(0, 1)


@lru_cache(maxsize=1)
def _varlen_kernel() -> Any | None:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


def _varlen(
    kernel: Any,
    query_1HTD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    borders: Borders,
    scaling: float | None,
    causal: bool,  # noqa: FBT001
) -> Tensor:
    """Attend by torch's variable-length kernel, whose signature differs between releases."""
    known = inspect.signature(kernel).parameters
    query_THD, key_TKD, value_TKD = (
        states[0].transpose(0, 1).contiguous() for states in (query_1HTD, key_1KTD, value_1KTD)
    )
    options: dict[str, Any] = {}
    repeats = query_THD.shape[1] // key_TKD.shape[1]
    if repeats > 1 and "enable_gqa" in known:
        options["enable_gqa"] = True
    elif repeats > 1:
        key_TKD, value_TKD = (s.repeat_interleave(repeats, 1) for s in (key_TKD, value_TKD))
    if "is_causal" in known:
        options["is_causal"] = causal
    else:
        options["window_size"] = (-1, 0) if causal else (-1, -1)
    if "scale" in known:
        options["scale"] = scaling
    elif scaling is not None:
        query_THD = query_THD * (scaling * query_THD.shape[-1] ** 0.5)
    starts, longest = borders.starts_B1, borders.longest
    output_THD = kernel(query_THD, key_TKD, value_TKD, starts, starts, longest, longest, **options)
    return output_THD[None]


AttentionInterface.register(ATTENTION, packed_attention)
