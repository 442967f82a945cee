"""BottleneckConfig: PEFT's config of a classic bottleneck adapter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

from peft import PeftConfig
from torch import nn

from tenon.core.errors import PlanError

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "tanh": nn.Tanh,
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
        reduction: hidden size / width, rounded down, at least 1 unit; None where `width` is given.
        activation: a key of `ACTIVATIONS`.
        scale: factor of the delta; with `learn_scale`, its value at the start.
        learn_scale: train the factor.
        dropout: share of the delta that is zeroed while training.
        norm: normalise the adapter's input by a trained LayerNorm of its own.
        parallel: read the wrapped module's input instead of its output.
        original_ln_before: read the output of the base's own norm, which then is what is wrapped.
        original_ln_after: pass the sum through the base's own norm afterwards.
        residual_before_ln: add to what the base's norm took in, not to what it gave out.
        init: "identity" sets `up` to 0; "near" draws both matrices from a narrow normal.
        modules_to_save: further modules that are trained and saved whole (a head).
        exclude_modules: names that `target_modules` shall not match.
        layers_to_transform, layers_pattern: read by PEFT; restrict names to layers by number.
    """

    target_modules: list[str] | set[str] | str | None = None
    width: int | None = None
    reduction: float | None = None
    activation: str = "relu"
    scale: float = 1.0
    learn_scale: bool = False
    dropout: float = 0.0
    norm: bool = False
    parallel: bool = False
    original_ln_before: bool = False
    original_ln_after: bool = True
    residual_before_ln: bool = True
    init: str = "identity"
    modules_to_save: list[str] | None = None
    exclude_modules: list[str] | set[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None

    def __post_init__(self) -> None:
        """Check the values and give the type that PEFT finds the method by.

        Raises:
            PlanError: a value that means nothing, or a placement that is not the identity at the
                start.
        """
        super().__post_init__()
        self.peft_type = cast(Any, BottleneckType.BOTTLENECK)
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)
        if isinstance(self.exclude_modules, list):
            self.exclude_modules = set(self.exclude_modules)
        if (self.width is None) == (self.reduction is None):
            raise PlanError(
                f"bottleneck: width is {self.width} and reduction is {self.reduction}; give one"
            )
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise PlanError(
                f"bottleneck: activation {self.activation!r} is unknown; there are {known}"
            )
        if self.init not in ("identity", "near"):
            raise PlanError(f'bottleneck: init {self.init!r} is unknown; "identity" or "near"')
        _check_norms(self)

    def width_for(self, hidden: int) -> int:
        """Give the width W of an adapter on `hidden` units."""
        return self.width or max(1, math.floor(hidden / cast(float, self.reduction)))


def _check_norms(config: BottleneckConfig) -> None:
    before, after = config.original_ln_before, config.original_ln_after
    if config.parallel:
        if before:
            raise PlanError(
                "bottleneck: original_ln_before is true with parallel placement, which reads the "
                "block's input; set original_ln_before = false or choose another preset"
            )
        return
    if (before, after, config.residual_before_ln) in {
        (True, True, True),
        (True, False, False),
        (False, True, True),
    }:
        return
    raise PlanError(
        f"bottleneck: original_ln_before = {before}, original_ln_after = {after}, "
        f"residual_before_ln = {config.residual_before_ln} is not the identity at the start: it "
        "drops or doubles the block's residual. What works: (true, true, true) as pfeiffer, "
        "(false, true, true) as houlsby, (true, false, false) after the norm"
    )
