"""Wide: the layers of several adapters on one module, as the one layer of a wide adapter.

The thin matrices of all adapters stand beside each other, and of what the first half gives each
row keeps its own adapter's part; the rest is put to zero. Whose a row is lies in memory, so that
one recorded pass serves all batches. As in `rounded`, matrices are rounded to the base's number
format once for a pass, and gradients given back once, in few kernels.

Legend: L layers of one shape, N positions, I inputs, O outputs, R ranks of all adapters, one after
another, M numbers of all matrices.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from tenon.adapters.lean import Added, Lean, Thin, frozen
from tenon.adapters.transparent import Transparent


class Part(NamedTuple):
    """The layer of one adapter on a module.

    Args:
        adapter: its number.
        layer: it.
        name: the adapter's within the layer.
    """

    adapter: int
    layer: Lean
    name: str

    @property
    def down(self) -> nn.Parameter:
        """The first matrix, [R, I]."""
        return cast(nn.Parameter, self.layer.lora_A[self.name].weight)

    @property
    def up(self) -> nn.Parameter:
        """The second matrix, [O, R]."""
        return cast(nn.Parameter, self.layer.lora_B[self.name].weight)

    @property
    def scale(self) -> float:
        """Of the product."""
        return float(self.layer.scaling[self.name])


class Wide(Transparent):
    """A module of the base with the matrices of all adapters beside it.

    Args:
        base_layer: the module; frozen.
        down_RI, up_OR: memory of the matrices in the base's number format, the second scaled.
    """

    thin: Thin | None = None
    """Both matrices for the pass that is computed."""

    def __init__(self, base_layer: nn.Module, down_RI: Tensor, up_OR: Tensor) -> None:
        super().__init__(base_layer)
        # Asked for as what has gradients, so that those of layers below nothing that has are.
        self.down, self.up = nn.Parameter(down_RI), nn.Parameter(up_OR)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the module, and add to each row what its own adapter does."""
        assert self.thin is not None  # noqa: S101 - it stands in the base for a pass alone
        weight_OI, bias_O = frozen(self.base_layer)
        made = Added.apply(x, weight_OI, bias_O, self.down, self.up, 1.0, self.thin)  # pyright: ignore[reportUnknownMemberType]
        return cast(Tensor, made)


@dataclass(frozen=True)
class Alike:
    """Second matrices of one shape, of one adapter on several modules.

    Args:
        held: the parameters.
        scale: of their products.
        made_LOR, back_LOR: where they are rounded, and where gradients come, beside other
            adapters'.
        to_LOR: where gradients are added.
    """

    held: list[nn.Parameter]
    scale: float
    made_LOR: Tensor
    back_LOR: Tensor
    to_LOR: Tensor


class Wides:
    """The wide layers of a trunk.

    Args:
        parts: name of a module to the layers of adapters on it, in the order of the model;
            matrices that read the same input then lie beside each other.
        bases: the same to the module.
        dtype: the base's number format.
    """

    def __init__(
        self,
        parts: Mapping[str, Sequence[Part]],
        bases: Mapping[str, nn.Module],
        dtype: torch.dtype,
    ) -> None:
        self.parts = parts
        self._downs = [part.down for held in parts.values() for part in held]
        count = sum(each.numel() for each in self._downs)
        count += sum(part.up.numel() for held in parts.values() for part in held)
        device = self._downs[0].device
        self._made_M, self._back_M = (
            torch.zeros(count, dtype=dtype, device=device) for _ in range(2)
        )
        self.gradients_M = torch.zeros(count, device=device)
        self._rounded = self._laid_downs(self._made_M)
        self.slots: dict[nn.Parameter, Tensor] = dict(
            zip(self._downs, self._laid_downs(self.gradients_M), strict=True)
        )
        self._alike: list[Alike] = []
        self._sides: dict[str, Thin] = {}
        self._owners: dict[str, tuple[int, ...]] = {}
        self._owners_R: dict[tuple[int, ...], Tensor] = {}
        self._lay_downs()
        self._lay_ups()
        self.layers = {path: Wide(bases[path], *self._sides[path][:2]) for path in parts}

    def _laid_downs(self, flat_M: Tensor) -> list[Tensor]:
        sizes = [each.numel() for each in self._downs]
        split = flat_M[: sum(sizes)].split(sizes)
        return [part.view_as(each) for part, each in zip(split, self._downs, strict=True)]

    def _lay_downs(self) -> None:
        """Give each module's first matrices, one adapter's below another's."""
        start = 0
        for path, held in self.parts.items():
            ranks = [len(part.down) for part in held]
            inputs = held[0].down.shape[1]
            stop = start + sum(ranks) * inputs
            made_RI, back_RI = (
                flat[start:stop].view(-1, inputs) for flat in (self._made_M, self._back_M)
            )
            self._sides[path] = Thin(made_RI, made_RI, back_RI, back_RI)
            owners = [part.adapter for part, r in zip(held, ranks, strict=True) for _ in range(r)]
            self._owners[path] = tuple(owners)
            self._owners_R[tuple(owners)] = torch.tensor(owners, device=self._made_M.device)
            start = stop
        self._start = start

    def _lay_ups(self) -> None:
        """Give each module's second matrices, those of modules of one form in one memory."""
        forms: dict[Any, list[str]] = {}
        for path, held in self.parts.items():
            form = tuple((part.adapter, *part.up.shape, part.scale) for part in held)
            forms.setdefault(form, []).append(path)
        start = self._start
        for paths in forms.values():
            held = [self.parts[path] for path in paths]
            outputs, ranks = held[0][0].up.shape[0], [part.up.shape[1] for part in held[0]]
            stop = start + len(paths) * outputs * sum(ranks)
            made_LOR, back_LOR = (
                flat[start:stop].view(len(paths), outputs, -1)
                for flat in (self._made_M, self._back_M)
            )
            for number, path in enumerate(paths):
                side = self._sides[path]
                self._sides[path] = side._replace(up_OR=made_LOR[number], to_up_OR=back_LOR[number])
            split = zip(made_LOR.split(ranks, 2), back_LOR.split(ranks, 2), strict=True)
            for place, (made, back) in enumerate(split):
                alike = [each[place] for each in held]
                to_LOR = self.gradients_M[start : start + made.numel()].view(made.shape)
                start += made.numel()
                ups = [part.up for part in alike]
                self.slots |= dict(zip(ups, to_LOR.unbind(), strict=True))
                self._alike.append(Alike(ups, alike[0].scale, made, back, to_LOR))

    @contextlib.contextmanager
    def within(self, owners_N: Tensor) -> Iterator[None]:
        """Round for one pass with its way back; then add the gradients.

        Args:
            owners_N: of each row its adapter's number; another number is the base's.
        """
        each: Any = torch
        with torch.no_grad():
            each._foreach_copy_(self._rounded, self._downs)  # noqa: SLF001
            for alike in self._alike:
                alike.made_LOR.copy_(torch.stack(list(alike.held)).mul_(alike.scale))
            self._back_M.zero_()
        others = {key: owners_N[:, None] != owners_R for key, owners_R in self._owners_R.items()}
        for path, layer in self.layers.items():
            layer.thin = self._sides[path]._replace(others_NR=others[self._owners[path]])
        try:
            yield
        finally:
            for layer in self.layers.values():
                layer.thin = None
        self.gradients_M[: self._start].add_(self._back_M[: self._start])
        for alike in self._alike:
            alike.to_LOR.add_(alike.back_LOR, alpha=alike.scale)
