"""Margin: frozen weights of layers that read one input, with their adapter beside them.

The weights lie one below the other, in one tensor with a margin. In further columns of it stand the
second thin matrices of the layers, scaled, in further rows the first ones:

    weight of layer 1 | second of 1 |
    weight of layer 2 |             | second of 2
    first of 1
    first of 2

An input that has what the first matrices make of it in a margin of its own is multiplied once, and
gives what all layers give with their adapters. The gradient of that, with what the second matrices
make of it in a margin, is multiplied once and gives the gradient of the input. The parameters of
the layers are views of that tensor, so that nothing is held twice.

Legend: N positions, I inputs, O outputs of all layers, R rank, S ranks of all layers, W with a
margin, M numbers of all matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, cast

import torch
from torch import Tensor, nn

from tenon.adapters.lean import FORMATS, Lean, watched
from tenon.model.kernels import kernels_of

ROOM = 64
"""Columns and rows of a margin are a multiple of it, so that each row begins as memory is read."""
EIGHT = 8
"""Ranks are filled up to a multiple of it: 16 bytes of half precision."""
WHOLE = "_tenon_margin"


@dataclass(frozen=True)
class Member:
    """A layer.

    Args:
        layer: the adapted layer, or a linear one without an adapter.
        name: of its adapter; None where it has none.
    """

    layer: nn.Module
    name: str | None

    @property
    def frozen(self) -> nn.Linear:
        """The frozen layer."""
        return cast(nn.Linear, self.layer if self.name is None else self._lean.base_layer)

    @property
    def matrices(self) -> tuple[nn.Parameter, nn.Parameter] | None:
        """Its thin matrices, [R, I] and [O, R]; None where it has none."""
        if self.name is None:
            return None
        down, up = (side[self.name].weight for side in (self._lean.lora_A, self._lean.lora_B))
        return cast(nn.Parameter, down), cast(nn.Parameter, up)

    @property
    def rank(self) -> int:
        """Of its matrices; 0 where it has none."""
        return 0 if self.matrices is None else len(self.matrices[0])

    @property
    def scale(self) -> float:
        """Of their product."""
        return 1.0 if self.name is None else float(self._lean.scaling[self.name])

    @property
    def same(self) -> bool:
        """Whether it still is what it was, and nothing looks at it."""
        if self.name is None:
            return not watched(self.layer)
        own = "forward" not in vars(self.layer)
        return own and self._lean.plain(self.frozen.weight[:1]) == self.name

    @property
    def _lean(self) -> Lean:
        return cast(Lean, self.layer)


def member(layer: nn.Module) -> Member | None:
    """Give a layer as one of those that may have a margin; None where it may not."""
    if isinstance(layer, Lean) and "forward" not in vars(layer):
        name = layer.plain(cast(Any, layer.base_layer).weight[:1])
        found = None if name is None else Member(layer, name)
    else:
        found = Member(layer, None) if type(layer) is nn.Linear and not watched(layer) else None
    if found is None or type(found.frozen) is not nn.Linear:
        return None
    weight, bias = found.frozen.weight, cast("Tensor | None", found.frozen.bias)
    free = weight.requires_grad or weight.dtype not in FORMATS or weight.is_inference()
    odd = any(t.dtype != torch.float32 or not t.is_contiguous() for t in found.matrices or ())
    return None if free or odd or (bias is not None and bias.requires_grad) else found


class Margin:
    """Layers that read one input, in one tensor with a margin.

    Args:
        members: the layers; their weights become views of that tensor.

    Raises:
        ValueError: they lie in a tensor already whose margin is too narrow for their ranks.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)
        weights = [each.frozen.weight for each in members]
        self.inputs = weights[0].shape[1]
        self.sizes = [len(weight) for weight in weights]
        self.outputs = sum(self.sizes)
        self.ranks = [each.rank for each in members]
        self.rank = -(-sum(self.ranks) // EIGHT) * EIGHT
        self.whole = _home([each.frozen for each in members], -(-self.rank // ROOM) * ROOM)
        self.room = self.whole.shape[1] - self.inputs if self.rank else 0
        self.returned = bool(self.rank) and self.outputs > 2 * self.inputs
        """Whether the gradient of the input is made with a margin, as it is far narrower than that
        of the outputs, which is then read once less."""
        biases = cast("list[Tensor | None]", [each.frozen.bias for each in members])
        self.bias_O = None if all(each is None for each in biases) else _bias(weights, biases)
        self.matrices = [each.matrices for each in members if each.matrices is not None]
        self.scales = [each.scale for each in members if each.rank]
        downs = [down for down, _ in self.matrices]
        self.trained = [*downs, *(up for _, up in self.matrices)]
        self.size = sum(each.numel() for each in self.trained)
        self.to_down_SI = self.to_up_OS = self.whole.new_empty(0)
        """Where gradients are added: that of the first matrices, and of the second ones, which lie
        in columns of their own."""

    @property
    def same(self) -> bool:
        """Whether all layers still are what they were, and lie in the tensor."""
        place = self.whole.data_ptr()
        for each in self.members:
            weight = each.frozen.weight
            if not each.same or weight.data_ptr() != place:
                return False
            place += len(weight) * self.whole.stride(0) * weight.element_size()
        return True

    @property
    def down_SI(self) -> Tensor:
        """The first matrices, one below the other."""
        return self.whole[self.outputs : self.outputs + self.rank, : self.inputs]

    @property
    def up_OS(self) -> Tensor:
        """The second ones, each in columns of its own."""
        return self.whole[: self.outputs, self.inputs : self.inputs + self.rank]

    @property
    def spans(self) -> list[tuple[slice, slice]]:
        """Of each adapted layer, which outputs and which of the ranks are its own."""
        rows = list(accumulate(self.sizes, initial=0))
        ranks = list(accumulate(self.ranks, initial=0))
        return [
            (slice(rows[n], rows[n + 1]), slice(ranks[n], ranks[n + 1]))
            for n, rank in enumerate(self.ranks)
            if rank
        ]

    def reading(self, like: Tensor, rows: int) -> Tensor:
        """Give memory for an input with its margin, [N, W]."""
        return like.new_empty(rows, self.inputs + self.room)

    def returning(self, like: Tensor, rows: int) -> Tensor:
        """Give memory for the gradient of the outputs with its margin, if it is to have one."""
        return like.new_empty(rows, self.outputs + (0 if self.returned else self.room))

    def narrow(self, input_NI: Tensor, to_NS: Tensor | None = None) -> Tensor:
        """Give what the first matrices make of an input."""
        return torch.mm(input_NI, self.down_SI.mT, out=to_NS)

    def forward(self, input_NW: Tensor, onto_NO: Tensor | None = None) -> Tensor:
        """Give the outputs for an input whose margin is yet to be written.

        Args:
            input_NW: as `reading` gives it.
            onto_NO: to which they are added; None for nothing.
        """
        end = self.inputs + self.rank
        if self.rank:
            self.narrow(input_NW[:, : self.inputs], input_NW[:, self.inputs : end])
        read_NW, weight_WO = input_NW[:, :end], self.whole[: self.outputs, :end].mT
        if onto_NO is not None:
            onto_NO.addmm_(read_NW, weight_WO)
            return onto_NO if self.bias_O is None else onto_NO.add_(self.bias_O)
        if self.bias_O is not None:
            return torch.addmm(self.bias_O, read_NW, weight_WO)
        return read_NW @ weight_WO

    def beside(self, input_NI: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give the outputs for an input without a margin, and what first matrices make of it."""
        # Both are made by one product.
        output_NO, narrow_NS = self._product(
            input_NI, self.outputs, self.whole[:, : self.inputs].mT
        )
        if narrow_NS is not None:
            output_NO.addmm_(narrow_NS, self.up_OS.mT)
        return output_NO if self.bias_O is None else output_NO.add_(self.bias_O), narrow_NS

    def backward(
        self, given_NW: Tensor, input_NI: Tensor, narrow_NS: Tensor | None, *, wanted: bool = True
    ) -> Tensor | None:
        """Give the gradient of the input, and add those of the matrices where they belong.

        Args:
            given_NW: gradient of the outputs, as `returning` gives it; its margin is written here.
            input_NI: what was read.
            narrow_NS: what the first matrices made of it.
            wanted: whether the gradient of the input is; None is given instead.
        """
        given_NO, end = given_NW[:, : self.outputs], self.outputs + self.rank
        if narrow_NS is None:
            return given_NO @ self.whole[: self.outputs, : self.inputs] if wanted else None
        if self.returned and wanted:
            input_NW = self._product(given_NO, self.inputs, self.whole[: self.outputs])
            back_NI, middle_NS = cast("tuple[Tensor, Tensor]", input_NW)
            back_NI.addmm_(middle_NS, self.down_SI)
        elif self.returned:
            back_NI, middle_NS = None, given_NO @ self.up_OS
        else:
            middle_NS = torch.mm(given_NO, self.up_OS, out=given_NW[:, self.outputs : end])
            back_NI = given_NW[:, :end] @ self.whole[:end, : self.inputs] if wanted else None
        self.to_down_SI.addmm_(middle_NS.mT, input_NI)
        self.to_up_OS.addmm_(given_NO.mT, narrow_NS)
        return back_NI

    def _product(
        self, states_NX: Tensor, columns: int, weight: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Multiply by a weight and its margin; give both parts of what is found."""
        found = states_NX.new_empty(len(states_NX), columns + self.room)
        end = columns + self.rank
        torch.mm(states_NX, weight[:, :end], out=found[:, :end])
        return found[:, :columns], found[:, columns:end] if self.rank else None


def _bias(weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> Tensor:
    """Give the biases of layers end to end; 0 where one has none."""
    return torch.cat([
        weight.new_zeros(len(weight)) if bias is None else bias.detach()
        for weight, bias in zip(weights, biases, strict=True)
    ])  # fmt: skip


@torch.no_grad()
def _home(layers: Sequence[nn.Linear], room: int) -> Tensor:
    """Give the tensor in which layers lie; they are moved there where they do not yet."""
    weights = [layer.weight for layer in layers]
    inputs, outputs = weights[0].shape[1], sum(len(weight) for weight in weights)
    whole = cast("Tensor | None", vars(layers[0]).get(WHOLE))
    if whole is not None and _lie(weights, whole):
        if whole.shape[1] - inputs < room:
            raise ValueError("the margin is too narrow for the ranks")
        return whole
    whole = weights[0].new_zeros(outputs + room, inputs + room)
    first = 0
    for layer in layers:
        last = first + len(layer.weight)
        place = whole[first:last, :inputs]
        place.copy_(layer.weight)
        layer.weight.data = place
        first = last
    vars(layers[0])[WHOLE] = whole
    return whole


def _lie(weights: Sequence[Tensor], whole: Tensor) -> bool:
    """Whether weights are those of a tensor, one below the other."""
    place = whole.data_ptr()
    for weight in weights:
        if weight.data_ptr() != place or weight.stride() != whole.stride():
            return False
        place += len(weight) * whole.stride(0) * weight.element_size()
    return True


class Plain:
    """What is done with thin matrices, in plain torch."""

    @staticmethod
    def laying(margins: Sequence[Margin]) -> Callable[[], None]:
        """Give what writes the matrices into the margins; what else is there becomes 0."""

        @torch.no_grad()
        def lay() -> None:
            for margin in margins:
                margin.down_SI.zero_()
                margin.up_OS.zero_()
                for (down, up), (outputs, ranks), scale in zip(
                    margin.matrices, margin.spans, margin.scales, strict=True
                ):
                    margin.down_SI[ranks].copy_(down)
                    margin.up_OS[outputs, ranks].copy_(up * scale)

        return lay

    @staticmethod
    def taking(margins: Sequence[Margin], back: Tensor) -> Callable[[Tensor], None]:
        """Give what adds the gradients of all matrices to theirs, [M].

        Args:
            margins: in whose order they lie end to end, first ones of each before second ones.
            back: in which `to_down_SI` and `to_up_OS` of all lie.
        """
        del back

        @torch.no_grad()
        def take(flat_M: Tensor) -> None:
            first = 0
            for margin in margins:
                found = _own(margin)
                for each in found:
                    flat_M[first : first + each.numel()].add_(each.reshape(-1))
                    first += each.numel()

        return take


def _own(margin: Margin) -> list[Tensor]:
    """Give the gradients of a margin's matrices, those of the second ones as they are scaled."""
    downs: list[Tensor] = []
    ups: list[Tensor] = []
    for (outputs, ranks), scale in zip(margin.spans, margin.scales, strict=True):
        downs.append(margin.to_down_SI[ranks])
        ups.append(margin.to_up_OS[outputs, ranks] * scale)
    return [*downs, *ups]


def thin(states: Tensor) -> Any:
    """Give the functions for thin matrices where states are."""
    return (_kernels() or Plain) if states.is_cuda else Plain


def _kernels() -> Any | None:
    """Give the module with the kernels of CUDA, where Triton is installed."""
    return kernels_of("margin_kernel")
