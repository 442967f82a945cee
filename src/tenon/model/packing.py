"""Packing: attention that stays within each row of a packed batch.

Rows are laid end to end, so that linear layers see real tokens only. Attention
is taken row by row: on CUDA by torch's variable-length kernel, elsewhere in
groups of rows of like length (`groups`), padded inside the group. A base that cannot be
packed (it ignores the borders, or counts positions in its own way) is found out
by proof, not by name: packed and padded hidden states must be equal.

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
from transformers import AttentionInterface

from tenon.adapters.prefix_attention import Seen
from tenon.adapters.transparent import uncompiled
from tenon.core.errors import RunError
from tenon.model.groups import Group, attend, groups_of, learned, learned_groups
from tenon.model.rule import Rule
from tenon.model.spans import Spans, spans_of
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
FEWER = 2
"""Groups that sorting must save, as it moves all states twice."""
BEYOND = ("position_bias", "softcap", "s_aux")
"""What some bases add to attention and this attention does not know."""


@dataclass(frozen=True, eq=False)
class Sorted:
    """The rows of a batch, sorted by length.

    Args:
        groups: of them.
        row_B: which row each is.
        token_T: which token of the batch each of theirs is.
        back_T: where the tokens of the batch are among theirs.
    """

    groups: tuple[Group, ...]
    row_B: Tensor
    token_T: Tensor
    back_T: Tensor


@dataclass(frozen=True, eq=False)
class Borders:
    """Where the rows of a packed batch begin and end.

    Args:
        lengths: tokens of each row, in the order of the batch.
        device: of the batch.
        windows: the sliding windows, in tokens, of the layers that have asked for the borders.
        parts: rows that were asked for by themselves.
    """

    lengths: tuple[int, ...]
    device: torch.device
    windows: set[int] = field(default_factory=set[int])
    parts: dict[tuple[int, ...], tuple[Borders, Tensor]] = field(
        default_factory=dict[tuple[int, ...], "tuple[Borders, Tensor]"]
    )

    @cached_property
    def starts_B1(self) -> Tensor:
        """int32 first token of each row, and the end of the last."""
        ends = torch.tensor((0, *self.lengths)).cumsum(0)
        return sent(ends.int(), self.device)

    @cached_property
    def spans(self) -> Spans:
        """Where the row of each token begins and ends."""
        return spans_of(self.starts_B1, sum(self.lengths))

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Neighbouring rows of like length, together all rows."""
        return groups_of(self.lengths, self.device)

    @cached_property
    def learned(self) -> tuple[Group, ...]:
        """The same where gradients are asked for on the CPU."""
        return learned_groups(self.lengths, self.device)

    @cached_property
    def sorted(self) -> Sorted | None:
        """The rows by length, if that makes fewer groups of them: they may lie by adapter."""
        rows = sorted(range(len(self.lengths)), key=self.lengths.__getitem__)
        borders = Borders(tuple(self.lengths[row] for row in rows), self.device)
        if len(borders.groups) + FEWER > len(self.groups):
            return None
        rows_B = torch.tensor(rows)
        ends_B = torch.tensor(self.lengths).cumsum(0)
        tokens = torch.arange(int(ends_B[-1])).split(list(self.lengths))
        token_T = torch.cat([tokens[row] for row in rows])
        placed = (rows_B, token_T, token_T.argsort())
        return Sorted(borders.groups, *(sent(each, self.device) for each in placed))

    def part(self, rows: tuple[int, ...]) -> tuple[Borders, Tensor]:
        """Give the borders of some rows by themselves, and which tokens theirs are."""
        if rows not in self.parts:
            tokens = torch.arange(sum(self.lengths)).split(list(self.lengths))
            token_T = sent(torch.cat([tokens[row] for row in rows]), self.device)
            lengths = tuple(self.lengths[row] for row in rows)
            self.parts[rows] = Borders(lengths, self.device, self.windows), token_T
        return self.parts[rows]

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
        return bool({"groups", "learned", "starts_B1"} & self.__dict__.keys())


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
    states = [each.squeeze(0).transpose(0, 1) for each in (query_1HTD, key_1KTD, value_1KTD)]
    if learned(states, rule, prefix):
        return _grouped(borders.learned, states, rule, None)[None], None
    # What is learned from lies by length already, and is to be computed as it always was.
    laid = None if torch.is_grad_enabled() else borders.sorted
    if laid is None:
        return _grouped(borders.groups, states, rule, prefix)[None], None
    states = [each.index_select(0, laid.token_T) for each in states]
    seen = None if prefix is None else prefix.of(laid.row_B)
    return _grouped(laid.groups, states, rule, seen).index_select(0, laid.back_T)[None], None


def _grouped(
    groups: Sequence[Group], states: Sequence[Tensor], rule: Rule, prefix: Seen | None
) -> Tensor:
    """Attend group by group; queries, keys and values as [T, H, D] each."""
    if len(groups) == 1:
        return attend(groups[0], (states[0], states[1], states[2]), rule, prefix)
    sizes = [group.stop - group.start for group in groups]
    # Split at once, as the gradient of each of many slices would be a tensor of full size.
    query, key, value = (each.split(sizes) for each in states)
    outputs: list[Tensor] = []
    first = 0
    for group, *own in zip(groups, query, key, value, strict=True):
        part = None if prefix is None else prefix.of(slice(first, first + group.rows))
        outputs.append(attend(group, (own[0], own[1], own[2]), rule, part))
        first += group.rows
    return torch.cat(outputs)


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
    # Squeezed, as the gradient of a part of a tensor would be copied into one of full size.
    query_THD, key_TKD, value_TKD = (
        states.squeeze(0).transpose(0, 1).contiguous()
        for states in (query_1HTD, key_1KTD, value_1KTD)
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
