"""BottleneckConfig: PEFT's config of a classic bottleneck adapter."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, cast

from peft import PeftConfig
from torch import nn

from tenon.adapters.blocks import choose
from tenon.adapters.bottleneck_faults import faults
from tenon.core.errors import PlanError

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "gelu_new": partial(nn.GELU, approximate="tanh"),
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "tanh": nn.Tanh,
    "leakyrelu": nn.LeakyReLU,
}


class BottleneckType(str, Enum):  # noqa: UP042 - PEFT and transformers ask for `str` and `.value`
    """The name of the method among PEFT's types."""

    BOTTLENECK = "BOTTLENECK"


@dataclass
class BottleneckConfig(PeftConfig):
    """PEFT's config of a bottleneck adapter; its fields are what `adapter_config.json` holds.

    Args:
        target_modules: full names, or dotted ends of names, of the modules to wrap.
        width: W, units of the bottleneck; None to derive it from `reduction`.
        reduction: hidden size / width, rounded down, at least 1 unit; or one for each block, by
            its label (`tenon.adapters.blocks`) or "default"; None where `width` is given.
        activation: a key of `ACTIVATIONS`.
        scale: factor of the delta; or "learned", one that is trained from 1, or "channel", one for
            each hidden unit.
        dropout: share of the delta that is zeroed while training.
        ln_before: normalise the adapter's input by a trained LayerNorm of its own.
        ln_after: normalise the delta by a trained LayerNorm of its own.
        parallel: read the wrapped module's input instead of its output.
        original_ln_before: read the output of the base's own norm, which then is what is wrapped;
            or, where the wrapped module adds the residual itself, its output.
        original_ln_after: pass the sum through the base's own norm afterwards.
        residual_before_ln: add to what the base's norm took in, not to what it gave out.
        init: "identity" makes the delta 0; "near" and "bert" draw both matrices from normals of
            0.01 and 0.02; "mam" is a delta of 0 with a bias of 0.
        leave_out: labels of blocks that get no adapter.
        phm_dim: N, products of which each matrix is the sum; None for dense matrices.
        phm_rank: R, of the factors of each product; 1 where left out.
        phm_shared: whether all layers share the rule of the products; they do where left out.
        invertible: units of half the embeddings / units of the bottlenecks of a coupling that is
            put behind the embeddings, which then are among the targets; None for no coupling.
        modules_to_save: further modules that are trained and saved whole (a head).
        exclude_modules: names that `target_modules` shall not match.
        layers_to_transform, layers_pattern: read by PEFT; restrict names to layers by number.
    """

    target_modules: list[str] | set[str] | str | None = None
    width: int | None = None
    reduction: float | dict[str, float] | None = None
    activation: str = "relu"
    scale: float | str = 1.0
    dropout: float = 0.0
    ln_before: bool = False
    ln_after: bool = False
    parallel: bool = False
    original_ln_before: bool = False
    original_ln_after: bool = True
    residual_before_ln: bool = True
    init: str = "identity"
    leave_out: list[str] | None = None
    phm_dim: int | None = None
    phm_rank: int | None = None
    phm_shared: bool | None = None
    invertible: float | None = None
    modules_to_save: list[str] | None = None
    exclude_modules: list[str] | set[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None

    def __post_init__(self) -> None:
        """Check the values and give the type that PEFT finds the method by.

        Raises:
            PlanError: a value that means nothing or has no effect, or a placement that is not the
                identity at the start; all at once.
        """
        super().__post_init__()
        self.peft_type = cast(Any, BottleneckType.BOTTLENECK)
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)
        if isinstance(self.exclude_modules, list):
            self.exclude_modules = set(self.exclude_modules)
        if self.leave_out is not None:
            self.leave_out = sorted({str(label) for label in self.leave_out}) or None
        if isinstance(self.reduction, dict):
            self.reduction = {str(label): value for label, value in self.reduction.items()}
        if self.phm_dim is not None:
            self.phm_rank = 1 if self.phm_rank is None else self.phm_rank
            self.phm_shared = True if self.phm_shared is None else self.phm_shared
        found = [f"bottleneck: {fault}" for fault in faults(vars(self))]
        if found:
            raise PlanError("\n".join(found))

    def width_for(self, hidden: int, module: str = "") -> int:
        """Give the width W of an adapter on `hidden` units.

        Args:
            hidden: D.
            module: full name of the wrapped module, whose block may have a reduction of its own.

        Raises:
            PlanError: no reduction is given for the block, or D or W cannot be divided into the
                products of a Kronecker matrix.
        """
        width = self.width
        if width is None:
            each = self.reduction
            ratio = choose(module, each) if isinstance(each, dict) else cast(float, each)
            width = max(1, math.floor(hidden / ratio))
            if self.phm_dim:
                width = max(self.phm_dim, width - width % self.phm_dim)
        for name, size in (("hidden size", hidden), ("width", width)):
            if self.phm_dim and size % self.phm_dim:
                raise PlanError(
                    f"phm_dim: {self.phm_dim} does not divide the {name} {size}; choose one that "
                    "divides both hidden size and width"
                )
        return width
