"""Stacked: what of an adapter can be computed in one product with others of its form.

Most change the output of a module by `up act(down x + b) + c`: a LoRA without an activation and
biases, a bottleneck with them; a DoRA by a gain of the output as well. What else scales a delta is
folded into its second matrix, and ranks are filled up with zeros, which changes no more than the
last bits. An IA3 has gains alone, of what a module gives or of what it reads.

Legend: W rank or width, I inputs, O outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from peft import IA3Config
from torch import Tensor, nn
from torch.nn.functional import pad

from tenon.adapters.bottleneck_config import BottleneckConfig
from tenon.adapters.bottleneck_placement import Place, place_of
from tenon.adapters.delta import PAIRS, deltas, why_not
from tenon.adapters.layers import is_linear
from tenon.adapters.pack import PEFT_PREFIX, Adapter
from tenon.adapters.wrapped import bare

LEAST_WIDTH = 4
STACKABLE: tuple[Place, ...] = ("after", "stream", "around", "beside", "residual")
READ: Literal["read"] = "read"
"""Where a gain is of what the module reads."""
Where = Place | Literal["read"]
PARTS = ("down.weight", "down.bias", "up.weight", "up.bias")
SCALE = "scale"
SIZES = ".lora_magnitude_vector"
GAIN = ".ia3_l"


@dataclass(frozen=True)
class Spot:
    """Where adapters of a form change a module.

    Args:
        path: name of the module.
        place: what the delta reads and where it goes, as `tenon.adapters.bottleneck_layer` says; or
            `READ`.
        inputs, outputs: I and O; where there are gains alone, both are as many as they are.
    """

    path: str
    place: Where
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Form:
    """What adapters must have in common to be stacked.

    Args:
        spots: all that they change.
        width: W that theirs is filled up to; 0 where they have gains alone.
        activation: between both matrices; empty for none, and then there are no biases.
        gained: whether they multiply what a module gives before its bias, as DoRA does.
    """

    spots: tuple[Spot, ...]
    width: int
    activation: str
    gained: bool = False

    @property
    def bytes(self) -> int:
        """What one adapter takes, in float32."""
        numbers = 0
        for spot in self.spots:
            numbers += self.width * (spot.inputs + spot.outputs)
            numbers += self.width + spot.outputs if self.activation else 0
            numbers += spot.outputs if self.gained else 0
        return 4 * numbers


@dataclass(frozen=True)
class Delta:
    """What an adapter adds at one module, in float32.

    Args:
        down_WI, up_OW: its matrices.
        bias_W, bias_O: its biases, or None.
        gain_O: what multiplies the module's output without its bias, beside 1; or None.
    """

    down_WI: Tensor
    up_OW: Tensor
    bias_W: Tensor | None = None
    bias_O: Tensor | None = None
    gain_O: Tensor | None = None

    def widened(self, width: int) -> Delta:
        """Give the same with a larger W, the rest of it 0."""
        more = width - len(self.down_WI)
        bias_W = None if self.bias_W is None else pad(self.bias_W, (0, more))
        down_WI, up_OW = pad(self.down_WI, (0, 0, 0, more)), pad(self.up_OW, (0, more))
        return Delta(down_WI, up_OW, bias_W, self.bias_O, self.gain_O)


@dataclass(frozen=True)
class Stacked:
    """An adapter in the form in which it is stacked.

    Args:
        form: of it.
        deltas: path to what is added there.
    """

    form: Form
    deltas: dict[str, Delta]


def stacked(model: nn.Module, adapter: Adapter) -> Stacked | None:
    """Give an adapter as it is stacked with others; None where it cannot be.

    Args:
        model: the base; adapters may be in it.
    """
    if isinstance(adapter.config, BottleneckConfig):
        found = _bottleneck(model, adapter, adapter.config)
    elif isinstance(adapter.config, IA3Config):
        found = _gains(model, adapter)
    else:
        found = _product(model, adapter)
    if found is None:
        return None
    places, parts, activation = found
    widest = max(len(delta.down_WI) for delta in parts.values())
    width = max(LEAST_WIDTH, 1 << (widest - 1).bit_length()) if widest else 0
    spots = tuple(
        Spot(path, places[path], delta.down_WI.shape[1], len(delta.up_OW))
        for path, delta in sorted(parts.items())
    )
    wide = {path: delta.widened(width) for path, delta in parts.items()}
    gained = any(delta.gain_O is not None for delta in parts.values())
    return Stacked(Form(spots, width, activation, gained), wide)


Found = tuple[Mapping[str, Where], dict[str, Delta], str]


def _gains(model: nn.Module, adapter: Adapter) -> Found | None:
    """Give an IA3 on linear layers.

    Source: PEFT's `IA3Layer`: a row of gains is of what a layer reads, a column of what it gives.
    """
    parts: dict[str, Delta] = {}
    places: dict[str, Where] = {}
    for name, gain in adapter.weights.items():
        path = name.removeprefix(PEFT_PREFIX).removesuffix(GAIN)
        if not name.endswith(GAIN) or not is_linear(bare(model.get_submodule(path))):
            return None
        gain_O = gain.float().flatten() - 1
        nothing = gain_O.new_zeros(0, len(gain_O))
        parts[path] = Delta(nothing, nothing.mT, gain_O=gain_O)
        places[path] = READ if len(gain) == 1 else "stream"
    return (places, parts, "") if parts else None


def _product(model: nn.Module, adapter: Adapter) -> Found | None:
    """Give a LoRA or DoRA on linear layers; what reads an embedding's ids reads no states."""
    plain, sizes = _without_sizes(adapter)
    if why_not(plain):
        return None
    held = deltas(plain)
    parts: dict[str, Delta] = {}
    places: dict[str, Where] = {}
    for name, part in held.items():
        path = name.removeprefix(PEFT_PREFIX)
        module = bare(model.get_submodule(path))
        if part.pair != PAIRS[0] or not is_linear(module):
            return None
        delta = Delta(part.down_RI.float(), part.up_OR.float())
        if sizes and type(module) is not nn.Linear:
            return None
        parts[path] = _gained(delta, cast(nn.Linear, module), sizes[name]) if sizes else delta
        places[path] = "beside"
    return places, parts, ""


def _without_sizes(adapter: Adapter) -> tuple[Adapter, dict[str, Tensor]]:
    """Part a DoRA into a LoRA and the sizes that it gives the rows of each weight."""
    if not getattr(adapter.config, "use_dora", False):
        return adapter, {}
    config: Any = copy.copy(adapter.config)
    config.use_dora = False
    sizes = {
        name.removesuffix(SIZES): tensor
        for name, tensor in adapter.weights.items()
        if name.endswith(SIZES)
    }
    weights = {name: t for name, t in adapter.weights.items() if not name.endswith(SIZES)}
    return replace(adapter, config=config, weights=weights), sizes


def _gained(delta: Delta, module: nn.Linear, size_O: Tensor) -> Delta:
    """Give what DoRA adds: the weight with the product, its rows brought to a size of their own.

    Source: Liu et al. 2024, DoRA (arXiv:2402.09353), equation 5.
    """
    device = module.weight.device
    weight_OI = module.weight.detach().float() + delta.up_OW.to(device) @ delta.down_WI.to(device)
    factor_O = size_O.float().flatten().to(device) / weight_OI.norm(dim=1)
    up_OW = delta.up_OW.to(device) * factor_O[:, None]
    return Delta(delta.down_WI, up_OW, gain_O=factor_O - 1)


def _bottleneck(model: nn.Module, adapter: Adapter, config: BottleneckConfig) -> Found | None:
    """Give a bottleneck without norms of its own whose matrices are dense."""
    held: dict[str, dict[str, Tensor]] = {}
    for name, tensor in adapter.weights.items():
        path, _, part = name.removeprefix(PEFT_PREFIX).partition(".bottleneck_")
        held.setdefault(path, {})[part] = tensor
    known = {*PARTS, SCALE}
    if not all(set(PARTS) <= set(tensors) <= known for tensors in held.values()):
        return None
    places: dict[str, Where] = {}
    for path in held:
        place = place_of(bare(model.get_submodule(path)), config, path)
        if place not in STACKABLE:
            return None
        places[path] = place
    parts = {path: _scaled(tensors, config) for path, tensors in held.items()}
    return places, parts, config.activation


def _scaled(tensors: Mapping[str, Tensor], config: BottleneckConfig) -> Delta:
    down_WI, bias_W, up_OW, bias_O = (tensors[part].float() for part in PARTS)
    scale = tensors.get(SCALE)
    factor = torch.tensor(cast(float, config.scale)) if scale is None else scale.float()
    scaled_OW = up_OW * (factor[:, None] if factor.dim() else factor)
    return Delta(down_WI, scaled_OW, bias_W, bias_O * factor)
