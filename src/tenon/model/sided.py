"""Sided: attention of encoder-decoders over sources laid end to end, and answers likewise.

Attention within sources, within answers, and from answers to their sources is taken in runs of
neighbouring rows of like length, padded inside a run.

Legend: T tokens of queries, S of keys, H heads, D channels of a head, R rows of a run, L and K
places of their queries and keys, P tokens of the longest row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

from tenon.adapters.prefix_attention import Seen
from tenon.core.errors import RunError
from tenon.text.batch import sent

SIDED = "tenon_sided"
SPARE = 1.25
"""How many times its real pairs of places a run may have of places, with those of padding."""


@dataclass(frozen=True, eq=False)
class Run:
    """Neighbouring rows that attend together.

    Args:
        queries, keys: tokens of theirs.
        place_RL, place_RK: which of these tokens stands at a place; some token behind a row's end.
        back_T: at which place each query stands, counted through all rows.
        seen_R1LK: which keys a query sees.
    """

    queries: int
    keys: int
    place_RL: Tensor
    place_RK: Tensor
    back_T: Tensor
    seen_R1LK: Tensor


@dataclass(frozen=True, eq=False)
class Sided:
    """The borders of a packed batch of sources and their answers.

    Args:
        source, said: tokens of each row that the encoder and the decoder read.
        device: of the batch.
        decoding: whether the decoder is computed.
        met: sorts of attention that have asked for the borders.
    """

    source: tuple[int, ...]
    said: tuple[int, ...]
    device: torch.device
    decoding: bool
    met: set[str]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each row that is computed."""
        return self.said if self.decoding else self.source

    @cached_property
    def within_sources(self) -> tuple[Run, ...]:
        """Sources among themselves."""
        return runs_of(self.source, self.source, self.device)

    @cached_property
    def within_answers(self) -> tuple[Run, ...]:
        """Answers among themselves, each token what is before it."""
        return runs_of(self.said, self.said, self.device, causal=True)

    @cached_property
    def across(self) -> tuple[Run, ...]:
        """Answers to their sources."""
        return runs_of(self.said, self.source, self.device)

    def runs_for(self, module: nn.Module) -> tuple[Run, ...]:
        """Give the runs of an attention layer: a decoder's layer that is not causal looks across.

        Raises:
            RunError: the layer does not say whether it is causal.
        """
        causal = getattr(module, "is_causal", None)
        if causal is None:
            raise RunError("its attention does not say whether it is causal")
        self.met.add("causal" if causal else "across" if self.decoding else "within")
        if not self.decoding:
            return self.within_sources
        return self.within_answers if causal else self.across


def runs_of(
    queries: Sequence[int], keys: Sequence[int], device: torch.device, *, causal: bool = False
) -> tuple[Run, ...]:
    """Part rows into runs of like length; all of one row where a single one is much longer.

    Args:
        queries, keys: tokens of each row.
        device: where the runs are used.
        causal: whether a query sees those keys alone that do not stand behind it.
    """
    borders = [0]
    pairs = most = longest = 0
    for row, (query, key) in enumerate(zip(queries, keys, strict=True)):
        pairs, most, longest = pairs + query * key, max(most, query), max(longest, key)
        if (row + 1 - borders[-1]) * most * longest > SPARE * pairs:
            borders.append(row)
            pairs, most, longest = query * key, query, key
    return tuple(
        _run(queries[first:last], keys[first:last], device, causal=causal)
        for first, last in pairwise([*borders, len(queries)])
    )


def _run(queries: Sequence[int], keys: Sequence[int], device: torch.device, *, causal: bool) -> Run:
    place_RL, real_RL = _places(queries)
    place_RK, real_RK = _places(keys)
    seen_R1LK = real_RK[:, None, None, :].expand(-1, 1, place_RL.shape[1], -1)
    if causal:
        seen_R1LK = seen_R1LK & torch.ones(seen_R1LK.shape[-2:], dtype=torch.bool).tril()
    tensors = place_RL, place_RK, real_RL.reshape(-1).nonzero()[:, 0], seen_R1LK.contiguous()
    return Run(sum(queries), sum(keys), *(sent(each, device) for each in tensors))


def _places(lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Give which token stands at each place of each row, and whether one does."""
    lengths_R = torch.tensor(lengths)
    starts_R = lengths_R.cumsum(0) - lengths_R
    places_P = torch.arange(int(lengths_R.max()))
    place_RP = starts_R[:, None] + places_P
    return place_RP.clamp(max=int(lengths_R.sum()) - 1), places_P < lengths_R[:, None]


def sided_attention(
    module: nn.Module,
    query_1HTD: Tensor,
    key_1HSD: Tensor,
    value_1HSD: Tensor,
    attention_mask: Tensor | None,
    *,
    borders: Sided,
    prefix: Seen | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    position_bias: Tensor | None = None,
    **others: object,
) -> tuple[Tensor, None]:
    """Attend within rows and across to their sources; transformers calls it for every layer.

    Args:
        borders: of the rows; they reach here through the model's forward keyword arguments.
        prefix: what each row sees beside its own keys.
        position_bias: [1, H, P or more, P or more], what is added to scores at places of a row.
        others: what this attention does not know must be None or False.

    Returns:
        Attention output of shape [1, T, H, D], and no weights.

    Raises:
        RunError: the base attends in a way that this attention does not know.
    """
    if attention_mask is not None:
        raise RunError("its attention adds attention_mask, which packed attention lacks")
    for name in ("softcap", "s_aux", "sliding_window"):
        if others.get(name) is not None:
            raise RunError(f"its attention adds {name}, which packed attention lacks")
    runs = borders.runs_for(module)
    query, key, value = (
        each.squeeze(0).transpose(0, 1).split(sizes)
        for each, sizes in (
            (query_1HTD, [run.queries for run in runs]),
            (key_1HSD, [run.keys for run in runs]),
            (value_1HSD, [run.keys for run in runs]),
        )
    )
    how = {"dropout_p": dropout, "scale": scaling}
    made: list[Tensor] = []
    first = 0
    for run, *states in zip(runs, query, key, value, strict=True):
        own = None if prefix is None else prefix.of(slice(first, first + len(run.place_RL)))
        made.append(_attended(run, (states[0], states[1], states[2]), position_bias, own, **how))
        first += len(run.place_RL)
    return torch.cat(made)[None], None


def _attended(
    run: Run,
    states: tuple[Tensor, Tensor, Tensor],
    bias_1HPP: Tensor | None,
    prefix: Seen | None,
    **how: Any,
) -> Tensor:
    """Give what the queries of a run see, [T, H, D].

    Args:
        states: queries, [T, H, D], keys and values, [S, H, D].
        how: what torch's attention is told besides.
    """
    query_RHLD = _laid(states[0], run.place_RL)
    key_RHKD, value_RHKD = (_laid(each, run.place_RK) for each in states[1:])
    seen: Tensor | None = run.seen_R1LK
    if bias_1HPP is not None:
        bias_1HLK = bias_1HPP[:, :, : seen.shape[2], : seen.shape[3]].to(query_RHLD.dtype)
        seen = torch.where(seen, bias_1HLK, torch.finfo(query_RHLD.dtype).min)
    if prefix is not None:
        key_RHKD, value_RHKD, seen = prefix.before(
            query_RHLD, key_RHKD, value_RHKD, seen, causal=False
        )
    made_RHLD = functional.scaled_dot_product_attention(
        query_RHLD, key_RHKD, value_RHKD, attn_mask=seen, **how
    )
    return made_RHLD.transpose(1, 2).flatten(0, 1).index_select(0, run.back_T)


def _laid(states_THD: Tensor, place_RL: Tensor) -> Tensor:
    """Give states at the places of rows, [R, H, L, D]."""
    laid = states_THD.index_select(0, place_RL.reshape(-1))
    return laid.view(*place_RL.shape, *states_THD.shape[1:]).transpose(1, 2)


AttentionInterface.register(SIDED, sided_attention)
