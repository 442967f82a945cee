"""Linears: frozen layers that read the same states, with what adapters put beside or behind them.

They are computed, and their gradients, for a function that has its own way back: nothing is
recorded, and what is written is memory that is used again. Adapters are those that need little
more than thin products: LoRA beside a layer, and a plain bottleneck behind one.

Legend: N positions, I inputs, O outputs, R rank, S ranks of all layers, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from tenon.adapters.bottleneck_layer import BottleneckLayer
from tenon.adapters.lean import Lean, watched
from tenon.adapters.pool import POOL


class Low(NamedTuple):
    """LoRA beside a layer.

    Args:
        down_RI, up_OR: trained.
        scale: of their product.
    """

    down_RI: Tensor
    up_OR: Tensor
    scale: float


class Behind(NamedTuple):
    """A bottleneck behind a layer.

    Args:
        trained: weight, [W, O], and bias of the way down, weight, [O, W], and bias of the way up.
        act: between them.
        scale: of the delta.
    """

    trained: tuple[Tensor, Tensor, Tensor, Tensor]
    act: nn.Module
    scale: float


@dataclass(eq=False)
class Kept:
    """What the gradients of layers need.

    Args:
        down_SI: first thin matrices, one below the other, in the base's number format.
        up_RO: second ones, turned and scaled, likewise.
        narrow_NR: what lies between them.
        made_NO: the layer's own output, before a bottleneck.
        act: what a bottleneck's activation was given and what it gave, in float32.
    """

    down_SI: Tensor | None = None
    up_RO: list[Tensor | None] = field(default_factory=list["Tensor | None"])
    narrow_NR: list[Tensor | None] = field(default_factory=list["Tensor | None"])
    made_NO: Tensor | None = None
    act: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True, eq=False)
class Linears:
    """Layers that read the same states.

    Args:
        layers: weight, [O, I], and bias of each, frozen, in the base's number format.
        low: what is beside each.
        behind: what is behind them; there is one layer then.
    """

    layers: tuple[tuple[Tensor, Tensor | None], ...]
    low: tuple[Low | None, ...]
    behind: Behind | None = None

    @property
    def trained(self) -> list[Tensor]:
        """What is trained, in the order of its gradients."""
        found = [each for low in self.low if low is not None for each in low[:2]]
        return [*found, *(self.behind.trained if self.behind else ())]

    @property
    def reads(self) -> bool:
        """Whether gradients need the states that were read."""
        return any(self.low)

    def compute(self, input_NI: Tensor) -> tuple[list[Tensor], Kept]:
        """Give each layer's output, [N, O], and what the gradients need."""
        kept, made = Kept(), list[Tensor]()
        narrow = self._narrowed(input_NI, kept)
        for (weight_OI, bias_O), low in zip(self.layers, self.low, strict=True):
            output_NO = POOL.take(len(input_NI), len(weight_OI), input_NI)
            if bias_O is None:
                torch.mm(input_NI, weight_OI.mT, out=output_NO)
            else:
                torch.addmm(bias_O, input_NI, weight_OI.mT, out=output_NO)
            kept.narrow_NR.append(None if low is None else narrow.pop(0))
            kept.up_RO.append(None if low is None else _turned(low.up_OR, low.scale, output_NO))
            if low is not None:
                output_NO.addmm_(cast(Tensor, kept.narrow_NR[-1]), cast(Tensor, kept.up_RO[-1]))
            made.append(output_NO)
        if self.behind is not None:
            made = [_through(self.behind, made[0], kept)]
        return made, kept

    def _narrowed(self, input_NI: Tensor, kept: Kept) -> list[Tensor]:
        """Give what lies between the thin matrices of each layer that has some."""
        downs = [low.down_RI for low in self.low if low is not None]
        if not downs:
            return []
        joined = torch.cat(downs) if len(downs) > 1 else downs[0]
        kept.down_SI = joined.to(input_NI.dtype)
        narrow_NS = functional.linear(input_NI, kept.down_SI)
        return list(narrow_NS.split([len(down) for down in downs], 1))

    def returned(
        self,
        given: Sequence[Tensor],
        input_NI: Tensor | None,
        kept: Kept,
        into_NI: Tensor | None,
        *,
        adds: bool = True,
    ) -> tuple[Tensor | None, list[Tensor]]:
        """Give the gradient of the states and those of what is trained.

        Args:
            given: gradient of each output, [N, O]; left as they are.
            input_NI: the states; None where `reads` is false.
            kept: of `compute`; its memory is given back.
            into_NI: where the gradient of the states is written; None where it is not wanted.
            adds: whether it is added to what is there.
        """
        behind: list[Tensor] = []
        own: list[Tensor] = []
        if self.behind is not None:
            own = [POOL.like(given[0])]
            behind = _back(self.behind, given[0], kept, own[0])
            POOL.give(cast(Tensor, kept.made_NO))
            given = own
        middle, ups = self._middle(given, kept)
        if into_NI is not None:
            for output_NO, (weight_OI, _) in zip(given, self.layers, strict=True):
                into_NI.addmm_(output_NO, weight_OI, beta=int(adds))
                adds = True
        POOL.give(*own)
        if not middle:
            return into_NI, behind
        middle_NS = torch.cat(middle, 1) if len(middle) > 1 else middle[0]
        if into_NI is not None:
            into_NI.addmm_(middle_NS, cast(Tensor, kept.down_SI))
        wide = next(low for low in self.low if low is not None).down_RI.dtype
        down_SI = (middle_NS.mT @ cast(Tensor, input_NI)).to(wide)
        downs = down_SI.split([each.shape[1] for each in middle])
        return into_NI, [*(each for pair in zip(downs, ups, strict=True) for each in pair), *behind]

    def _middle(self, given: Sequence[Tensor], kept: Kept) -> tuple[list[Tensor], list[Tensor]]:
        """Give the gradients between thin matrices, and of the second ones."""
        middle: list[Tensor] = []
        ups: list[Tensor] = []
        parts = zip(self.low, given, kept.narrow_NR, kept.up_RO, strict=True)
        for low, output_NO, narrow_NR, up_RO in parts:
            if low is None or up_RO is None or narrow_NR is None:
                continue
            middle.append(functional.linear(output_NO, up_RO))
            # Thin from the left: a product with many rows and few columns takes six times as long.
            ups.append((narrow_NR.mT @ output_NO).to(low.up_OR.dtype).mul_(low.scale).mT)
        return middle, ups


def _turned(up_OR: Tensor, scale: float, like: Tensor) -> Tensor:
    """Give a matrix turned and scaled, in another one's number format."""
    return (up_OR.mT * scale).to(like.dtype).contiguous()


def _through(behind: Behind, made_NO: Tensor, kept: Kept) -> Tensor:
    """Give the output of a layer with its bottleneck's delta."""
    down_WO, down_W, up_OW, up_O = behind.trained
    dtype = made_NO.dtype
    kept.made_NO, kept.down_SI = made_NO, down_WO.to(dtype)
    narrow_NW = functional.linear(made_NO, kept.down_SI, down_W.to(dtype)).float()
    with torch.enable_grad():
        narrow_NW.requires_grad_()
        acted_NW = behind.act(narrow_NW)
    # With a column of ones the bias is a row of the matrix, and part of the product.
    ones_N1 = acted_NW.new_ones(len(acted_NW), 1)
    kept.act = narrow_NW, acted_NW
    kept.narrow_NR = [torch.cat([acted_NW.detach(), ones_N1], 1).to(dtype)]
    raised_OR = torch.cat([up_OW, up_O[:, None]], 1)
    kept.up_RO = [_turned(raised_OR, behind.scale, made_NO)]
    output_NO = POOL.like(made_NO)
    both = cast(Tensor, kept.narrow_NR[0]), cast(Tensor, kept.up_RO[0])
    return torch.addmm(made_NO, *both, out=output_NO)


def _back(behind: Behind, given_NO: Tensor, kept: Kept, into_NO: Tensor) -> list[Tensor]:
    """Write the gradient of a layer's own output; give those of its bottleneck."""
    narrow_NW, acted_NW = cast("tuple[Tensor, Tensor]", kept.act)
    ones_NR, raised_RO = cast(Tensor, kept.narrow_NR[0]), cast(Tensor, kept.up_RO[0])
    down_WO, made_NO = cast(Tensor, kept.down_SI), cast(Tensor, kept.made_NO)
    wide = behind.trained[0].dtype
    middle_NW = functional.linear(given_NO, raised_RO[:-1])
    (own_NW,) = torch.autograd.grad(acted_NW, narrow_NW, middle_NW.float())
    half_NW = own_NW.to(given_NO.dtype)
    torch.addmm(given_NO, half_NW, down_WO, out=into_NO)
    up_RO = (ones_NR.mT @ given_NO).to(wide).mul_(behind.scale)
    down = (half_NW.mT @ made_NO).to(wide)
    return [down, own_NW.sum(0).to(wide), up_RO[:-1].mT, up_RO[-1]]


def linears(layers: Sequence[nn.Module], states: Tensor) -> Linears | None:
    """Give layers that read the same states; None where one is computed in another way.

    Args:
        layers: at least one.
        states: what they are given; no more of it is read than its number format.
    """
    if len(layers) == 1 and isinstance(layers[0], BottleneckLayer):
        return _behind(layers[0], states)
    found = [_beside(each, states) for each in layers]
    if None in found:
        return None
    both = cast("list[tuple[tuple[Tensor, Tensor | None], Low | None]]", found)
    return Linears(tuple(each[0] for each in both), tuple(each[1] for each in both))


def _beside(layer: nn.Module, states: Tensor) -> Any:
    """Give a layer and the LoRA beside it, if any; None where it is computed in another way."""
    if isinstance(layer, Lean):
        name = layer.plain(states)
        if name is None or watched(layer):
            return None
        base = cast(nn.Linear, layer.base_layer)
        down, up = (held[name].weight for held in (layer.lora_A, layer.lora_B))
        plain = _plain(base, states)
        return plain and (plain, Low(cast(Tensor, down), cast(Tensor, up), layer.scaling[name]))
    plain = _plain(layer, states)
    return plain and (plain, None)


def _plain(layer: nn.Module, states: Tensor) -> tuple[Tensor, Tensor | None] | None:
    """Give the weight and the bias of a frozen linear layer; None for another one."""
    if type(layer) is not nn.Linear or watched(layer) or layer.weight.dtype != states.dtype:
        return None
    if any(each.requires_grad for each in layer.parameters()):
        return None
    return layer.weight, layer.bias


def _behind(layer: BottleneckLayer, states: Tensor) -> Linears | None:
    """Give a layer and the bottleneck behind it; None where that is more than two matrices."""
    names = [name for name in layer.active_adapters if name in layer.configs]
    plain = _plain(layer.base_layer, states)
    odd = layer.disable_adapters or layer.place != "after" or watched(layer)
    if len(names) != 1 or plain is None or odd:
        return None
    name = names[0]
    ways = [layer.bottleneck_down[name], layer.bottleneck_up[name]]
    rest = cast(Any, layer.bottleneck_rest[name])
    normed = name in layer.bottleneck_norm or name in layer.bottleneck_norm_after
    drops = rest["dropout"].training and rest["dropout"].p
    scale = layer.configs[name].scale
    if normed or drops or isinstance(scale, str) or any(type(way) is not nn.Linear for way in ways):
        return None
    trained = tuple(each for way in ways for each in (way.weight, way.bias))
    return Linears((plain,), (None,), Behind(cast(Any, trained), rest["act"], float(scale)))
