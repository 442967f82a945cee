"""BottleneckLayer: one module of the base with the bottleneck adapters that sit on it.

A bottleneck computes `delta(h) = s * up(act(down(norm?(h))))`: `down` narrows the hidden size to
the width, `up` widens it again; with `up = 0` at the start a fresh adapter is the identity,
bitwise. Where the delta goes depends on what the wrapped module is and on the config:

    after     y = base(x),       gives y + delta(y)             a linear layer or a norm
    around    y = norm(s),       gives norm(s + delta(y))       the norm that closes a block
    beside    y = base(x),       gives y + delta(x)             an MLP of one input
    residual  y = base(h, x),    gives base(h, x + delta(x))    a block's output with its residual

Source: AdapterHub `adapters`, `Adapter.pre_forward` and `post_forward`, of whose settings these are
the placements that start as the identity.
Legend: D hidden, W width; dimensions before them are free.
"""

from __future__ import annotations

import inspect
from typing import Literal, cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from tenon.adapters.bottleneck_config import ACTIVATIONS, BottleneckConfig
from tenon.adapters.sites import features, is_linear
from tenon.core.errors import AdapterError, PlanError

Place = Literal["after", "around", "beside", "residual"]
NEAR_STD = 0.01
UNMERGEABLE = (
    "a bottleneck adapter is not linear (its activation stands between two matrices), so no weight "
    "of the base can stand for it; keep it as an adapter, or train lora.v1 for one that merges"
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
        self.place: Place = "after"
        self._disable_adapters = False
        self.merged_adapters = []

    def update_layer(self, name: str, config: BottleneckConfig) -> None:
        """Add the bottleneck of adapter `name`.

        Raises:
            PlanError: the wrapped module is of a sort that this placement cannot wrap.
        """
        self.place = place_of(self.get_base_layer(), config)
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

    def delta(self, name: str, hidden_D: torch.Tensor) -> torch.Tensor:
        """Give what adapter `name` adds; float32 [..., D] from [..., D] of any format."""
        down = cast(nn.Linear, self.bottleneck_down[name])
        rest = cast(nn.ModuleDict, self.bottleneck_rest[name])
        hidden_D = self._cast_input_dtype(hidden_D, down.weight.dtype)
        if name in self.bottleneck_norm:
            hidden_D = self.bottleneck_norm[name](hidden_D)
        narrow_W = rest["act"](down(hidden_D))
        wide_D = rest["dropout"](self.bottleneck_up[name](narrow_W))
        learned = name in self.bottleneck_scale
        return wide_D * (self.bottleneck_scale[name] if learned else self.configs[name].scale)

    def forward(
        self, hidden_D: torch.Tensor, input_tensor: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Run the wrapped module with the deltas of the active adapters, one after the other.

        Args:
            hidden_D: the module's input.
            input_tensor: the residual, for a block's output module that adds it itself.
        """
        inputs = (hidden_D,) if input_tensor is None else (hidden_D, input_tensor)
        names = [name for name in self.active_adapters if name in self.configs]
        if self.disable_adapters or not names:
            return self.base_layer(*inputs)
        if self.place == "after":
            return self._after(self.base_layer(*inputs), names)
        if self.place == "around":
            return self._around(hidden_D, names)
        if input_tensor is None:
            return _plus(self.base_layer(hidden_D), self._sum(hidden_D, names))
        return self.base_layer(hidden_D, _plus(input_tensor, self._sum(input_tensor, names)))

    def _after(self, output_D: torch.Tensor, names: list[str]) -> torch.Tensor:
        for name in names:
            output_D = _plus(output_D, self.delta(name, output_D))
        return output_D

    def _around(self, total_D: torch.Tensor, names: list[str]) -> torch.Tensor:
        for name in names:
            total_D = _plus(total_D, self.delta(name, self.base_layer(total_D)))
        return self.base_layer(total_D)

    def _sum(self, hidden_D: torch.Tensor, names: list[str]) -> torch.Tensor:
        sum_D = self.delta(names[0], hidden_D)
        for name in names[1:]:
            sum_D = sum_D + self.delta(name, hidden_D)
        return sum_D

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


def _plus(hidden_D: torch.Tensor, delta_D: torch.Tensor) -> torch.Tensor:
    return (hidden_D + delta_D).to(hidden_D.dtype)


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
                "bottleneck: original_ln_before wraps the norm that closes a block, "
                f"not {_sort(base)}"
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
