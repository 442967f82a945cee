"""Attention maths: attention within packed rows, with gradients of its own, for training.

On CUDA it is the kernels of `tenon.model.attention_kernel`, in half precision and for heads of some
numbers of channels, where Triton is installed; elsewhere it is what stands here, which holds all
scores and is there to be compared with. A token sees its own row up to itself.

Legend: T tokens, H heads, K key heads, S query heads that share a key head, D channels of a head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from tenon.model.kernels import kernels_of
from tenon.model.packing import Borders
from tenon.model.spans import Spans

CHANNELS = (32, 64, 128)
"""Channels of a head that there are kernels for."""
HALVES = (torch.bfloat16, torch.float16)
KNOWN = {"scaling", "sliding_window", "is_causal"}
"""What a layer may attend with."""
LOG2E = 1.4426950408889634
States = tuple[Tensor, Tensor, Tensor]


class Attended(torch.autograd.Function):
    """What queries find among the keys and values of their own rows, up to themselves."""

    @staticmethod
    def forward(
        ctx: Any, query_THD: Tensor, key_TKD: Tensor, value_TKD: Tensor, spans: Spans,
        scaling: float, window: int,
    ) -> Tensor:  # fmt: skip
        """Give the output, [T, H, D].

        Args:
            ctx: keeps what the gradients need.
            query_THD, key_TKD, value_TKD: dense.
            spans: where the row of each token begins and ends.
            scaling: of the scores.
            window: a token sees those less than so many places away; 0 for all.
        """
        states = (query_THD, key_TKD, value_TKD)
        made = _on(query_THD).attended(states, spans, scaling, window)
        ctx.save_for_backward(*states, *made)
        ctx.how = spans, scaling, window
        return made[0]

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradients of queries, keys and values."""
        query, key, value, *made = cast("tuple[Tensor, ...]", ctx.saved_tensors)
        back = _on(query).attended_back
        found = back(given[0].contiguous(), (query, key, value), tuple(made), *ctx.how)
        return (*found, None, None, None)


def attended(states: States, borders: Borders, how: Mapping[str, Any]) -> Tensor:
    """Give what a layer's queries find, [T, H, D].

    Args:
        states: queries, keys and values of all tokens, [T, heads, D].
        borders: of the rows.
        how: what the layer attends with.
    """
    window = how.get("sliding_window")
    if window is not None:
        borders.windows.add(window)
    scaling = how.get("scaling", states[0].shape[2] ** -0.5)
    found = Attended.apply(*(each.contiguous() for each in states), borders.spans,
                           float(scaling), window or 0)  # fmt: skip
    return cast(Tensor, found)


def known(layer: nn.Module, how: Mapping[str, Any], states: Tensor) -> bool:
    """Whether a layer attends in a way that there is a function for.

    Args:
        layer: of attention.
        how: what it attends with.
        states: a tensor where its states are, in their number format.
    """
    causal = how.get("is_causal", getattr(layer, "is_causal", False))
    if not causal or not set(how) <= KNOWN:
        return False
    if not states.is_cuda:
        return True
    fits = states.dtype in HALVES and getattr(layer, "head_dim", 0) in CHANNELS
    return fits and kernels() is not None


class Plain:
    """The functions in plain torch."""

    @staticmethod
    def attended(
        states: States, spans: Spans, scaling: float, window: int
    ) -> tuple[Tensor, Tensor]:
        """Give the output, and the logarithm to the base of 2 of each sum of scores, [T, H]."""
        scores_KSTT = _scores(states[0], states[1], spans, scaling, window)
        whole_KST = scores_KSTT.logsumexp(3)
        shares_KSTT = (scores_KSTT - whole_KST[..., None]).exp()
        out_KSTD = shares_KSTT @ _wide(states[2])
        return _heads(out_KSTD, states[0]), LOG2E * whole_KST.flatten(0, 1).t().contiguous()

    @staticmethod
    def attended_back(
        given_THD: Tensor,
        states: States,
        made: tuple[Tensor, Tensor],
        spans: Spans,
        scaling: float,
        window: int,
    ) -> States:
        """Give the gradients of queries, keys and values.

        Args:
            given_THD: of the output.
            states: as they were given.
            made: what `attended` gave.
            spans, scaling, window: as they were given.
        """
        query_THD, key_TKD, value_TKD = states
        query_KSTD, given_KSTD, out_KSTD = (
            _split(each, key_TKD.shape[1]) for each in (query_THD, given_THD, made[0])
        )
        whole_KST = made[1].t().reshape(query_KSTD.shape[:3]) / LOG2E
        scores_KSTT = _scores(query_THD, key_TKD, spans, scaling, window)
        shares_KSTT = (scores_KSTT - whole_KST[..., None]).exp()
        slopes_KSTT = given_KSTD @ _wide(value_TKD).mT
        slopes_KSTT -= (given_KSTD * out_KSTD).sum(3, keepdim=True)
        slopes_KSTT *= shares_KSTT * scaling
        to_value_TKD = (shares_KSTT.mT @ given_KSTD).sum(1).transpose(0, 1)
        to_key_TKD = (slopes_KSTT.mT @ query_KSTD).sum(1).transpose(0, 1)
        to_query_THD = _heads(slopes_KSTT @ _wide(key_TKD), query_THD)
        return to_query_THD, to_key_TKD.to(key_TKD.dtype), to_value_TKD.to(value_TKD.dtype)


def _scores(
    query_THD: Tensor, key_TKD: Tensor, spans: Spans, scaling: float, window: int
) -> Tensor:
    """Give the scores of all queries and keys, [K, S, T, T]; -inf where a key is not seen."""
    place_T = torch.arange(len(query_THD), device=query_THD.device)
    see_TT = (place_T <= place_T[:, None]) & (place_T >= spans.begins_T[:, None])
    if window:
        see_TT &= place_T > place_T[:, None] - window
    scores_KSTT = _split(query_THD, key_TKD.shape[1]) @ _wide(key_TKD).mT * scaling
    return scores_KSTT.masked_fill(~see_TT, -torch.inf)


def _split(states_THD: Tensor, pairs: int) -> Tensor:
    """Give heads by the key head that they share, exact, [K, S, T, D]."""
    return _exact(states_THD).transpose(0, 1).unflatten(0, (pairs, -1))


def _wide(states_TKD: Tensor) -> Tensor:
    """Give keys or values for all heads that share them, exact, [K, 1, T, D]."""
    return _exact(states_TKD).transpose(0, 1)[:, None]


def _exact(states: Tensor) -> Tensor:
    return states if states.dtype == torch.float64 else states.float()


def _heads(states_KSTD: Tensor, like_THD: Tensor) -> Tensor:
    """Give heads as they were given, [T, H, D]."""
    return states_KSTD.flatten(0, 1).transpose(0, 1).to(like_THD.dtype).contiguous()


def _on(states: Tensor) -> Any:
    """Give the functions for states where they are."""
    return (kernels() or Plain) if states.is_cuda else Plain


def kernels() -> Any | None:
    """Give the module with the kernels of CUDA, where a Triton is installed that has all of it."""
    return kernels_of("attention_kernel")
