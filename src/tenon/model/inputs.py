"""Inputs: the leading directions of what the modules under a fresh LoRA are given by rows.

Legend: T tokens, I inputs, K directions that are kept, R rank.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor

from tenon.adapters.weights import PEFT_NAME
from tenon.core.errors import PlanError
from tenon.model.model import Model
from tenon.text.batch import batch
from tenon.text.order import Rows, generator
from tenon.text.tokens import Tokens

FROM_ROWS = ("eva",)
"""Starts that are computed from what modules are given by rows of train."""
ROWS = 256
TOKENS = 8192
"""At most so many rows, and no further row once so many tokens were read."""
CHUNK = 256
"""Tokens that are taken in at once."""
SPARE = 2
"""Directions that are kept on the way for each one that is wanted."""
NONE = 1e-6
"""A direction with this share of the first one's length, or less, is rounding."""
STREAM = (1 << 40) + 1


def begin_from_rows(model: Model, peft: PeftModel, tokens: Tokens, seed: int) -> None:
    """Let each A of a fresh LoRA read the leading directions of its layer's inputs; B stays 0.

    As B is 0, what the layers are given is what the base alone gives them. Rows go through one
    by one, so that none is padded.

    Args:
        model: with `peft` in its trunk; it is left in evaluation mode.
        tokens: of train.
        seed: of which rows are taken.

    Raises:
        PlanError: a layer's inputs have fewer directions than the rank, or no row reaches it.

    Source: Paischer et al. 2024, EVA (arXiv:2410.07170), every layer with the same rank.
    """
    layers = {path: m for path, m in peft.named_modules() if isinstance(m, LoraLayer)}
    model.eval()
    seen = Seen(SPARE * max(layer.r[PEFT_NAME] for layer in layers.values()))
    hooks = [
        cast(torch.nn.Module, layer).register_forward_pre_hook(seen.watch(path))
        for path, layer in layers.items()
    ]
    try:
        with torch.no_grad():
            for row in chosen(tokens, seed):
                seen.last = None
                model.nats(batch(tokens, row[None]))
    finally:
        for hook in hooks:
            hook.remove()
    for path, layer in layers.items():
        _put(path, layer, seen)


def chosen(tokens: Tokens, seed: int) -> Iterable[Rows]:
    """Give the rows that are read: a pure function of the seed and the rows' lengths."""
    order_R = generator(seed, STREAM).permutation(len(tokens))[:ROWS]
    read_R = tokens.lengths_R[order_R].cumsum() - tokens.lengths_R[order_R]
    return order_R[read_R < TOKENS]


@torch.no_grad()
def _put(path: str, layer: LoraLayer, seen: Seen) -> None:
    a_RI = cast(Tensor, layer.lora_A[PEFT_NAME].weight)
    found = seen.found.get(seen.leads.get(path, ""))
    most = 0 if found is None else found.directions
    if found is None or most < len(a_RI):
        raise PlanError(
            f"init: eva: the rows of train that were read give {path} {most} directions, and rank "
            f"is {len(a_RI)}; lower rank, or take init kaiming"
        )
    a_RI.copy_(torch.nn.functional.normalize(found.scaled_KI[: len(a_RI)]))


@dataclass
class Spread:
    """How a module's inputs spread around their mean, by the directions of most of it.

    Args:
        scaled_KI: directions, orthogonal, the length of each the root of its sum of squares.
        mean_I: of the inputs.
        count: of the inputs.
    """

    scaled_KI: Tensor
    mean_I: Tensor
    count: int = 0

    @property
    def directions(self) -> int:
        """How many of the directions are more than rounding."""
        lengths_K = self.scaled_KI.norm(dim=1)
        return int((lengths_K > NONE * lengths_K.max()).sum()) if len(lengths_K) else 0

    def add(self, inputs_TI: Tensor, keep: int) -> None:
        """Take in some inputs; of all directions the first `keep` are kept.

        Source: Ross et al. 2008, Incremental Learning for Robust Visual Tracking: the singular
            value decomposition of old directions, new inputs and the step between their means.
        """
        new, total = len(inputs_TI), self.count + len(inputs_TI)
        mean_I = inputs_TI.mean(0)
        step_I = (self.count * new / total) ** 0.5 * (self.mean_I - mean_I)
        rows_NI = torch.cat([self.scaled_KI, inputs_TI - mean_I, step_I[None]])
        _, left_NN = torch.linalg.eigh(rows_NI @ rows_NI.T)
        self.scaled_KI = left_NN.flip(1)[:, :keep].T @ rows_NI
        self.mean_I = self.mean_I + (mean_I - self.mean_I) * (new / total)
        self.count = total


@dataclass
class Seen:
    """What the modules have been given so far.

    Args:
        keep: directions of each.
        found: module to the spread of its inputs.
        leads: module to the one that is given the same and is asked in its stead.
        last: the module that was asked last, and what it was given; None between rows.
    """

    keep: int
    found: dict[str, Spread] = field(default_factory=dict[str, Spread])
    leads: dict[str, str] = field(default_factory=dict[str, str])
    last: tuple[str, Tensor] | None = None

    def watch(self, path: str) -> Any:
        """Give the hook of a module: neighbours that are given one tensor are read once."""

        def hook(_: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
            same = self.last is not None and self.last[1] is given[0]
            lead = self.leads.setdefault(path, self.last[0] if same and self.last else path)
            self.last = (lead, given[0])
            if lead == path:
                self._add(path, given[0].detach().flatten(0, -2).double())

        return hook

    def _add(self, path: str, inputs_TI: Tensor) -> None:
        none_0I = inputs_TI[:0]
        spread = self.found.setdefault(path, Spread(none_0I, none_0I.sum(0)))
        for part_TI in inputs_TI.split(CHUNK):
            spread.add(part_TI, self.keep)
