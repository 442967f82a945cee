"""BottleneckConfig, its layer and tuner: classic bottleneck adapters as a method of PEFT.

A bottleneck computes `delta(h) = s * up(act(down(norm?(h))))`. `down` narrows the hidden size to
the width, `up` widens it again; with `up = 0` at the start a fresh adapter is the identity, bitwise.
Where the delta goes depends on what the wrapped module is and on the config:

    after     y = base(x),       gives y + delta(y)             a linear layer or a norm
    around    y = norm(s),       gives norm(s + delta(y))       the norm that closes a block
    beside    y = base(x),       gives y + delta(x)             an MLP of one input
    residual  y = base(h, x),    gives base(h, x + delta(x))    a block's output with its residual

Importing this module registers the method with PEFT, so that `get_peft_model`,
`PeftModel.from_pretrained` and transformers' `load_adapter` know `BOTTLENECK`.
Legend: D hidden, W width.
"""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, cast

import torch
from peft import PeftConfig
from peft.mapping import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
)
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import nn

from tenon.adapters.sites import features, is_linear
from tenon.core.errors import AdapterError, PlanError

PREFIX = "bottleneck_"
Place = Literal["after", "around", "beside", "residual"]
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "tanh": nn.Tanh,
}
NEAR_STD = 0.01
UNMERGEABLE = (
    "a bottleneck adapter is not linear (its activation stands between two matrices), so no weight "
    "of the base can stand for it; keep it as an adapter, or train lora.v1 for one that merges"
)


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
        original_ln_before: read the output of the base's own norm, which is then the wrapped module.
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
    layers_pattern: list[str] | str | None = field(default=None)

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
                f"bottleneck: width is {self.width} and reduction is {self.reduction}; give exactly one"
            )
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise PlanError(f"bottleneck: activation {self.activation!r} is unknown; one of {known}")
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


class BottleneckLayer(nn.Module, BaseTunerLayer):
    """One wrapped module with the bottlenecks of every adapter that sits on it.

    Adapters stay in float32 whatever the base's format; inputs are cast to it and results cast
    back. All of it is pointwise over leading dimensions: [B, T, D], [1, T, D] and [T, D] are the
    same to it.

    Args:
        base_layer: the module to wrap; frozen elsewhere.
    """

    adapter_layer_names = (
        "bottleneck_down",
        "bottleneck_up",
        "bottleneck_norm",
        "bottleneck_scale",
    )
    other_param_names = ("bottleneck_rest", "configs")

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.bottleneck_down = nn.ModuleDict()
        self.bottleneck_up = nn.ModuleDict()
        self.bottleneck_norm = nn.ModuleDict()
        self.bottleneck_scale = nn.ParameterDict()
        self.bottleneck_rest = nn.ModuleDict()
        self.configs: dict[str, BottleneckConfig] = {}
        self._disable_adapters = False
        self.merged_adapters = []

    def update_layer(self, name: str, config: BottleneckConfig) -> None:
        """Add the bottleneck of adapter `name`.

        Raises:
            PlanError: the wrapped module is of a sort that this placement cannot wrap.
        """
        place_of(self.get_base_layer(), config)
        hidden = _hidden_size(self.get_base_layer(), config)
        width = config.width_for(hidden)
        self.configs[name] = config
        self.bottleneck_down[name] = nn.Linear(hidden, width, dtype=torch.float32)
        self.bottleneck_up[name] = nn.Linear(width, hidden, dtype=torch.float32)
        self.bottleneck_rest[name] = nn.ModuleDict(
            {"act": ACTIVATIONS[config.activation](), "dropout": nn.Dropout(config.dropout)}
        )
        if config.norm:
            self.bottleneck_norm[name] = nn.LayerNorm(hidden, dtype=torch.float32)
        if config.learn_scale:
            self.bottleneck_scale[name] = nn.Parameter(torch.tensor(float(config.scale)))
        self.reset(name)
        self._place_on_device(name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def reset(self, name: str) -> None:
        """Give adapter `name` its first weights: the identity, or near it.

        Source: Houlsby et al. 2019, section 3.6 (normal of standard deviation 1e-2, truncated to
            two of them) for "near"; `nn.Linear`'s own for `down` under "identity".
        """
        down = cast(nn.Linear, self.bottleneck_down[name])
        up = cast(nn.Linear, self.bottleneck_up[name])
        if self.configs[name].init == "identity":
            nn.init.zeros_(up.weight)
        else:
            for linear in (down, up):
                nn.init.trunc_normal_(linear.weight, std=NEAR_STD, a=-2 * NEAR_STD, b=2 * NEAR_STD)
            nn.init.zeros_(down.bias)
        nn.init.zeros_(up.bias)

    def _place_on_device(self, name: str) -> None:
        device = next(self.get_base_layer().parameters()).device
        if "meta" in (device.type, cast(nn.Linear, self.bottleneck_down[name]).weight.device.type):
            return
        for attribute in self.adapter_layer_names:
            held = getattr(self, attribute)
            if name in held:
                held[name] = held[name].to(device)

    def delta(self, name: str, hidden: torch.Tensor) -> torch.Tensor:
        """Give what adapter `name` adds; float32 [..., D] from [..., D] of any format."""
        down = cast(nn.Linear, self.bottleneck_down[name])
        rest = cast(nn.ModuleDict, self.bottleneck_rest[name])
        hidden = self._cast_input_dtype(hidden, down.weight.dtype)
        if name in self.bottleneck_norm:
            hidden = self.bottleneck_norm[name](hidden)
        narrow = rest["act"](down(hidden))
        wide = rest["dropout"](self.bottleneck_up[name](narrow))
        scale = self.bottleneck_scale[name] if name in self.bottleneck_scale else None
        return wide * (self.configs[name].scale if scale is None else scale)

    def forward(
        self, hidden: torch.Tensor, input_tensor: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Run the wrapped module with the deltas of the active adapters, one after the other.

        Args:
            hidden: the module's input.
            input_tensor: the residual, for a block's output module that adds it itself.
        """
        inputs = (hidden,) if input_tensor is None else (hidden, input_tensor)
        names = [name for name in self.active_adapters if name in self.configs]
        if self.disable_adapters or not names:
            return self.base_layer(*inputs)
        place = place_of(self.get_base_layer(), self.configs[names[0]])
        if place == "after":
            return self._after(self.base_layer(*inputs), names)
        if place == "around":
            return self._around(hidden, names)
        if input_tensor is None:
            return _plus(self.base_layer(hidden), self._sum(hidden, names))
        return self.base_layer(hidden, _plus(input_tensor, self._sum(input_tensor, names)))

    def _after(self, output: torch.Tensor, names: list[str]) -> torch.Tensor:
        for name in names:
            output = _plus(output, self.delta(name, output))
        return output

    def _around(self, total: torch.Tensor, names: list[str]) -> torch.Tensor:
        for name in names:
            total = _plus(total, self.delta(name, self.base_layer(total)))
        return self.base_layer(total)

    def _sum(self, hidden: torch.Tensor, names: list[str]) -> torch.Tensor:
        return torch.stack([self.delta(name, hidden) for name in names]).sum(0)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:  # noqa: ARG002, FBT001, FBT002 - PEFT's signature
        """Refuse: see `UNMERGEABLE`.

        Raises:
            AdapterError: always; nothing has been changed.
        """
        raise AdapterError(UNMERGEABLE)

    def unmerge(self) -> None:
        """Refuse, as nothing can have been merged.

        Raises:
            AdapterError: always; nothing has been changed.
        """
        raise AdapterError(UNMERGEABLE)


def _plus(hidden: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    return (hidden + delta).to(hidden.dtype)


def is_norm(module: nn.Module) -> bool:
    """Whether `module` is a LayerNorm or an RMS norm of any library."""
    return isinstance(module, nn.LayerNorm) or type(module).__name__.endswith("Norm")


def place_of(base: nn.Module, config: BottleneckConfig) -> Place:
    """Say where the delta goes on `base`.

    Raises:
        PlanError: `base` is of a sort that this placement cannot wrap.
    """
    if config.parallel:
        if is_linear(base) or is_norm(base):
            raise PlanError(f"bottleneck: parallel placement wraps a whole MLP, not {_sort(base)}")
        takes_residual = "input_tensor" in inspect.signature(base.forward).parameters
        return "residual" if takes_residual else "beside"
    if config.original_ln_before:
        if not is_norm(base):
            raise PlanError(
                f"bottleneck: original_ln_before wraps the norm that closes a block, not {_sort(base)}"
            )
        return "around" if config.original_ln_after else "after"
    if not (is_linear(base) or isinstance(base, nn.Embedding)):
        raise PlanError(
            f"bottleneck: wraps linear layers and embeddings, not {_sort(base)}; choose other sites"
        )
    return "after"


def _sort(base: nn.Module) -> str:
    return f"a {type(base).__name__}"


def _hidden_size(base: nn.Module, config: BottleneckConfig) -> int:
    if is_linear(base):
        return features(base)[1]
    if isinstance(base, nn.Embedding):
        return base.embedding_dim
    if is_norm(base):
        return int(cast(torch.Tensor, base.weight).shape[0])
    linears = [module for module in base.modules() if is_linear(module)]
    if not linears or not config.parallel:
        raise PlanError(f"bottleneck: cannot tell the hidden size of {_sort(base)}")
    # an MLP's last linear layer gives the hidden size back
    return features(linears[-1])[1]


class BottleneckModel(BaseTuner):
    """PEFT's tuner of bottleneck adapters: wraps the modules that a config names."""

    prefix = PREFIX
    tuner_layer_cls = BottleneckLayer
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012 - PEFT reads it from the class

    def _create_and_replace(
        self,
        peft_config: PeftConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,  # noqa: ARG002 - PEFT passes it
        parameter_name: str | None = None,  # noqa: ARG002 - PEFT passes it
    ) -> None:
        config = cast(BottleneckConfig, peft_config)
        if isinstance(target, BottleneckLayer):
            target.update_layer(adapter_name, config)
            return
        layer = BottleneckLayer(target)
        layer.update_layer(adapter_name, config)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)

    def _check_new_adapter_config(self, config: PeftConfig) -> None:
        super()._check_new_adapter_config(config)
        new = cast(BottleneckConfig, config)
        for name, held in self.peft_config.items():
            other = cast(BottleneckConfig, held)
            if other.parallel != new.parallel or (
                other.original_ln_before == new.original_ln_before
                and other.original_ln_after != new.original_ln_after
            ):
                raise PlanError(
                    f"bottleneck: adapter {name} on this model has another placement (parallel = "
                    f"{other.parallel}, original_ln_before = {other.original_ln_before}, "
                    f"original_ln_after = {other.original_ln_after}), and one would wrap modules "
                    "inside of the other; load each into a model of its own"
                )

    def _check_merge_allowed(self) -> None:
        raise AdapterError(UNMERGEABLE)

    @contextlib.contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:  # noqa: ARG002 - PEFT's signature
        if kwargs.get("adapter_names") is not None:
            raise AdapterError(
                "adapter_names: bottleneck.v1 has no adapter per row; without this error every row "
                "would get the active adapter. Run the rows of each adapter as a batch of their own"
            )
        yield


def register() -> None:
    """Enter the method into PEFT's mappings; a second call changes nothing.

    Source: `peft.utils.peft_types.register_peft_method`, which accepts PEFT's own names only.
    """
    member = cast(Any, BottleneckType.BOTTLENECK)
    PEFT_TYPE_TO_CONFIG_MAPPING[member] = BottleneckConfig
    PEFT_TYPE_TO_TUNER_MAPPING[member] = BottleneckModel
    PEFT_TYPE_TO_PREFIX_MAPPING[member] = PREFIX


register()
