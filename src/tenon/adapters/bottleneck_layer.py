"""BottleneckLayer: one module of the base with the bottleneck adapters that sit on it.

A bottleneck computes `delta(h) = norm?(s * up(act(down(norm?(h)))))`: `down` narrows the hidden
size to the width, `up` widens it again. Where the delta goes depends on what the wrapped module is
and on the config:

    after     y = base(x),       gives y + delta(y)             a linear layer or a norm
    stream    y = base(...),     gives y + delta(y)             a block that adds its residual
    around    y = norm(s),       gives norm(s + delta(y))       the norm that closes a block
    beside    y = base(x),       gives y + delta(x)             an MLP of one input
    residual  y = base(h, x),    gives base(h, x + delta(x))    a block's output with its residual
    across    y = base(h),       gives y + delta(x)             an MLP's last layer; x is read by
                                                                its first
    coupled   y = base(...),     gives coupling(y)              the embeddings

Source: AdapterHub `adapters`, `Adapter.pre_forward` and `post_forward`, of whose settings these are
the placements that start as the identity.
Legend: D hidden, W width, N products; dimensions before them are free.
"""

from __future__ import annotations

from itertools import chain
from typing import Any, cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from torch.utils.hooks import RemovableHandle

from tenon.adapters.bottleneck_config import ACTIVATIONS, BottleneckConfig
from tenon.adapters.bottleneck_faults import LEARNED
from tenon.adapters.bottleneck_placement import Place, hidden_size, place_of
from tenon.adapters.bottleneck_start import start_coupling, start_dense, start_kronecker
from tenon.adapters.coupling import Coupling
from tenon.adapters.kronecker import KroneckerLinear, new_rule, start_rule
from tenon.core.errors import AdapterError

UNMERGEABLE = (
    "a bottleneck adapter is not linear (its activation stands between two matrices), so no weight "
    "of the base can stand for it; keep it as an adapter, or train lora.v1 for one that merges"
)

OPEN = ("stream", "coupled")
"""Places on modules whose parts and attributes the model itself reads."""
FOLLOWING = ("after", *OPEN)
"""Places where a delta reads the wrapped module's output and nothing else."""


class BottleneckLayer(nn.Module, BaseTunerLayer):
    """One wrapped module with the bottlenecks of every adapter that sits on it.

    Adapters stay in float32 whatever the base's format; inputs are cast to it and results cast
    back. All of it is pointwise over leading dimensions: [B, T, D], [1, T, D] and [T, D] are the
    same to it.

    Args:
        base_layer: the module to wrap; frozen elsewhere.
        module: its full name in the model.
    """

    adapter_layer_names = (
        "bottleneck_down",
        "bottleneck_up",
        "bottleneck_norm",
        "bottleneck_norm_after",
        "bottleneck_scale",
        "bottleneck_rule",
        "bottleneck_coupling",
    )
    other_param_names = ("bottleneck_rest", "configs", "rule_holders")

    def __init__(self, base_layer: nn.Module, module: str = "") -> None:
        super().__init__()
        self.base_layer = base_layer
        self.module = module
        self.bottleneck_down = nn.ModuleDict()
        self.bottleneck_up = nn.ModuleDict()
        self.bottleneck_norm = nn.ModuleDict()
        self.bottleneck_norm_after = nn.ModuleDict()
        self.bottleneck_scale = nn.ParameterDict()
        self.bottleneck_rule = nn.ParameterDict()
        self.bottleneck_coupling = nn.ModuleDict()
        self.bottleneck_rest = nn.ModuleDict()
        self.configs: dict[str, BottleneckConfig] = {}
        self.rule_holders: dict[str, BottleneckLayer] = {}
        self.place: Place = "after"
        self.input_D: torch.Tensor | None = None
        self.hook: RemovableHandle | None = None
        self._disable_adapters = False
        self.merged_adapters = []

    def __getattr__(self, name: str) -> Any:
        """Give what a block or the embeddings have: models ask them for more than their output."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_layer" or self.__dict__.get("place") not in OPEN:
                raise
            return getattr(self.base_layer, name)

    def update_layer(
        self,
        name: str,
        config: BottleneckConfig,
        *,
        holder: BottleneckLayer | None = None,
        table: nn.Module | None = None,
    ) -> None:
        """Add the bottleneck of adapter `name`.

        Args:
            holder: the layer that holds the adapter's shared rule; None where this one shall.
            table: the base's word embeddings, whose size and device a coupling takes.

        Raises:
            PlanError: the wrapped module is of a sort that this placement cannot wrap.
        """
        self.place = place_of(self.get_base_layer(), config, self.module)
        self.configs[name] = config
        if self.place == "coupled":
            self._couple(name, config, table)
        else:
            self._build(name, config, holder)
        self.reset(name)
        self._place_on_device(name, table or self.get_base_layer())
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def _couple(self, name: str, config: BottleneckConfig, table: nn.Module | None) -> None:
        hidden = hidden_size(table or self.get_base_layer())
        reduction = cast(float, config.invertible)
        self.bottleneck_coupling[name] = Coupling(hidden, reduction, ACTIVATIONS[config.activation])

    def _build(self, name: str, config: BottleneckConfig, holder: BottleneckLayer | None) -> None:
        hidden = hidden_size(self.get_base_layer())
        width = config.width_for(hidden, self.module)
        self.bottleneck_down[name] = _matrix(hidden, width, config)
        self.bottleneck_up[name] = _matrix(width, hidden, config)
        self.bottleneck_rest[name] = nn.ModuleDict(
            {"act": ACTIVATIONS[config.activation](), "dropout": nn.Dropout(config.dropout)}
        )
        if config.ln_before:
            self.bottleneck_norm[name] = nn.LayerNorm(hidden, dtype=torch.float32)
        if config.ln_after:
            self.bottleneck_norm_after[name] = nn.LayerNorm(hidden, dtype=torch.float32)
        if config.scale in LEARNED:
            size = (hidden,) if config.scale == "channel" else ()
            self.bottleneck_scale[name] = nn.Parameter(torch.ones(size))
        if config.phm_dim and config.phm_shared:
            self.rule_holders[name] = holder or self
            if holder is None:
                self.bottleneck_rule[name] = new_rule(config.phm_dim)

    def reset(self, name: str) -> None:
        """Give adapter `name` its first weights, by its config's `init`."""
        config = self.configs[name]
        if name in self.bottleneck_coupling:
            start_coupling(cast(Coupling, self.bottleneck_coupling[name]), config.init)
            return
        down, up = self.bottleneck_down[name], self.bottleneck_up[name]
        if isinstance(down, KroneckerLinear) and isinstance(up, KroneckerLinear):
            start_kronecker(down, up, config.init, gated=config.ln_after)
        else:
            layers = (cast(nn.Linear, down), cast(nn.Linear, up))
            first, last = ((layer.weight, layer.bias) for layer in layers)
            start_dense(first, last, config.init, gated=config.ln_after)
        if name in self.bottleneck_rule:
            start_rule(self.bottleneck_rule[name], near=config.init == "near")
        if config.ln_after:
            nn.init.zeros_(cast(nn.LayerNorm, self.bottleneck_norm_after[name]).weight)

    def _place_on_device(self, name: str, beside: nn.Module) -> None:
        device = next(chain(beside.parameters(), beside.buffers())).device
        for attribute in self.adapter_layer_names:
            held = getattr(self, attribute)
            if name in held and "meta" not in (device.type, _device(held[name]).type):
                held[name] = held[name].to(device)

    def rule(self, name: str) -> torch.Tensor | None:
        """Give the rule [N, N, N] that adapter `name` shares between its layers, if it does."""
        holder = self.rule_holders.get(name)
        return None if holder is None else holder.bottleneck_rule[name]

    def delta(self, name: str, hidden_D: torch.Tensor) -> torch.Tensor:
        """Give what adapter `name` adds; float32 [..., D] from [..., D] of any format."""
        up, config = self.bottleneck_up[name], self.configs[name]
        rest = cast(nn.ModuleDict, self.bottleneck_rest[name])
        rule = () if (shared := self.rule(name)) is None else (shared,)
        hidden_D = self._cast_input_dtype(hidden_D, cast(torch.Tensor, up.bias).dtype)
        if name in self.bottleneck_norm:
            hidden_D = self.bottleneck_norm[name](hidden_D)
        narrow_W = rest["act"](self.bottleneck_down[name](hidden_D, *rule))
        wide_D = rest["dropout"](up(narrow_W, *rule))
        learned = name in self.bottleneck_scale
        wide_D = wide_D * (self.bottleneck_scale[name] if learned else config.scale)
        if name in self.bottleneck_norm_after:
            wide_D = self.bottleneck_norm_after[name](wide_D)
        return wide_D

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the wrapped module with the deltas of the active adapters, one after the other.

        Args:
            args, kwargs: what the module takes; where a delta reads its input, that is the first.
        """
        names = [name for name in self.active_adapters if name in self.configs]
        if self.disable_adapters or not names:
            self.input_D = None
            return self.base_layer(*args, **kwargs)
        if self.place == "around":
            return self._around(_first(args, kwargs), names)
        if self.place == "residual":
            return self._residual(names, *args, **kwargs)
        output = self.base_layer(*args, **kwargs)
        if self.place == "beside":
            return _plus(output, self._sum(_first(args, kwargs), names))
        return self.changed(output)

    @property
    def follows(self) -> bool:
        """Whether `changed` is all that the adapters do here."""
        return self.place in FOLLOWING

    def changed(self, output: Any) -> Any:
        """Give what the wrapped module gave, a tensor or a tuple, as the active adapters change it.

        Args:
            output: of any rows; what the adapters do to one row depends on no other.
        """
        names = [name for name in self.active_adapters if name in self.configs]
        if isinstance(output, tuple):
            return (self._changed(output[0], names), *output[1:])
        return self._changed(output, names)

    def _changed(self, output_D: torch.Tensor, names: list[str]) -> torch.Tensor:
        """Give the output of the wrapped module as the adapters change it."""
        if self.place == "coupled":
            for name in names:
                output_D = self._through(name, output_D, inverse=False)
            return output_D
        if self.place == "across":
            input_D, self.input_D = cast(torch.Tensor, self.input_D), None
            return _plus(output_D, self._sum(input_D, names))
        for name in names:
            output_D = _plus(output_D, self.delta(name, output_D))
        return output_D

    def _residual(
        self, names: list[str], hidden_D: torch.Tensor, input_tensor: torch.Tensor
    ) -> torch.Tensor:
        return self.base_layer(hidden_D, _plus(input_tensor, self._sum(input_tensor, names)))

    def _around(self, total_D: torch.Tensor, names: list[str]) -> torch.Tensor:
        for name in names:
            total_D = _plus(total_D, self.delta(name, self.base_layer(total_D)))
        return self.base_layer(total_D)

    def _sum(self, hidden_D: torch.Tensor, names: list[str]) -> torch.Tensor:
        sum_D = self.delta(names[0], hidden_D)
        for name in names[1:]:
            sum_D = sum_D + self.delta(name, hidden_D)
        return sum_D

    def _through(self, name: str, hidden_D: torch.Tensor, *, inverse: bool) -> torch.Tensor:
        coupling = cast(Coupling, self.bottleneck_coupling[name])
        dtype = coupling.linear("first", "down")[0].dtype
        way = coupling.inverse if inverse else coupling
        return way(self._cast_input_dtype(hidden_D, dtype)).to(hidden_D.dtype)

    def uncoupled(self, hidden_D: torch.Tensor) -> torch.Tensor:
        """Take hidden states back through the couplings of the active adapters, last one first."""
        names = [] if self.disable_adapters else [*reversed(self.active_adapters)]
        for name in names:
            if name in self.bottleneck_coupling:
                hidden_D = self._through(name, hidden_D, inverse=True)
        return hidden_D

    def read_at(self, first: nn.Module) -> None:
        """Read the input of `first`, an MLP's first layer, for a delta that is added behind it."""
        if self.place == "across" and self.hook is None:
            self.hook = first.register_forward_pre_hook(self._remember)

    def _remember(self, _: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        self.input_D = args[0]

    def remove(self, name: str) -> None:
        """Take adapter `name` off this module alone; which adapter is active stays as it is."""
        for attribute in (*self.adapter_layer_names, *self.other_param_names):
            held = getattr(self, attribute)
            if name in held:
                del held[name]

    def release(self) -> None:
        """Let go of what `read_at` took hold of, before the module is unwrapped."""
        if self.hook is not None:
            self.hook.remove()
        self.hook = self.input_D = None

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


def _matrix(inputs: int, outputs: int, config: BottleneckConfig) -> nn.Module:
    if config.phm_dim is None:
        return nn.Linear(inputs, outputs, dtype=torch.float32)
    return KroneckerLinear(
        inputs,
        outputs,
        products=config.phm_dim,
        rank=cast(int, config.phm_rank),
        owns_rule=not config.phm_shared,
    )


def _device(held: nn.Module | nn.Parameter) -> torch.device:
    return held.device if isinstance(held, nn.Parameter) else next(held.parameters()).device


def _first(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    return args[0] if args else next(iter(kwargs.values()))


def _plus(hidden_D: torch.Tensor, delta_D: torch.Tensor) -> torch.Tensor:
    return (hidden_D + delta_D).to(hidden_D.dtype)
