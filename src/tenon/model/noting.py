"""Noting: what the blocks of a base are called with for some rows, and how each layer attends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from tenon.model.attending import attention
from tenon.model.loading import quiet
from tenon.model.packing import Borders, packed_attention
from tenon.model.trunk import Trunk, positions, proof_row
from tenon.text.batch import of_ids

NOTED = "tenon_noted"
LENGTHS = (3, 7, 5, 33, 150)
"""Rows that are computed for the proof: attention takes the last in several tiles."""


@dataclass(frozen=True, eq=False)
class Noting(Borders):
    """Borders that note how each layer attends.

    Args:
        asked: attention module to what it calls attention with.
    """

    asked: dict[nn.Module, dict[str, Any]] = field(default_factory=dict[nn.Module, dict[str, Any]])


def noted_attention(
    module: nn.Module, *states: Tensor | None, borders: Noting, **how: Any
) -> tuple[Tensor, None]:
    """Attend within each row, and note how; transformers calls this for every attention layer."""
    known = ("scaling", "sliding_window", "is_causal", "softcap", "s_aux", "position_bias")
    borders.asked[module] = {name: how[name] for name in known if how.get(name) is not None}
    return packed_attention(module, *cast("Any", states), borders=borders, **how)


AttentionInterface.register(NOTED, noted_attention)


def noted_calls(
    trunk: Trunk, found: list[nn.Module]
) -> tuple[dict[nn.Module, Any], dict[Any, Any]]:
    """Give what each block is called with for some rows, and how each layer attends."""
    most = positions(trunk) or max(LENGTHS)
    batch = of_ids([proof_row(trunk, min(length, most)) for length in LENGTHS]).to(trunk.device)
    noting = Noting(batch.lengths, trunk.device)
    calls: dict[nn.Module, Any] = {}

    def note(block: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        calls[block] = (given, named)

    hooks = [block.register_forward_pre_hook(note, with_kwargs=True) for block in found]
    try:
        with torch.no_grad(), quiet(), attention(trunk.model, NOTED):
            trunk.model(
                input_ids=batch.ids_T[None], position_ids=batch.positions_T[None], borders=noting,
                **({"use_cache": False} if trunk.decoder else {}),
            )  # fmt: skip
    finally:
        for hook in hooks:
            hook.remove()
    return calls, noting.asked


def tried(
    trunk: Trunk,
    found: list[nn.Module],
    change: Callable[[nn.Module, Any, dict[Any, Any]], str],
) -> list[str]:
    """Try to let blocks be computed otherwise; each module gets its own mode back.

    Args:
        trunk: with its adapters.
        found: its blocks.
        change: takes a block, what it is called with, and how each layer attends; says why it is
            left as it is, empty where it is not.
    """
    modes = [(module, module.training) for module in trunk.model.modules()]
    trunk.model.eval()
    try:
        calls, asked = noted_calls(trunk, found)
        return [change(block, calls.get(block), asked) for block in found]
    finally:
        for module, mode in modes:
            module.training = mode


def commonest(whys: list[str]) -> str:
    """Give the reason of most blocks that are left as they are; empty where none is."""
    faults = Counter(why for why in whys if why)
    return faults.most_common(1)[0][0] if faults else ""
