"""Rounded: the thin matrices of lean layers in the base's number format, rounded once for a pass.

Layer by layer it takes a kernel to round a matrix, one to scale it, and as many again for its
gradient: many thousands of kernels a step, none of which has anything to do. Here all matrices are
rounded in a few, and so are all gradients given back. The numbers are those of the layers' own way.

Legend: I inputs, O outputs, R rank, M numbers of all matrices.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from tenon.adapters.lean import Lean, Thin


class Rounded:
    """The thin matrices of layers.

    Args:
        layers: each with the name of its adapter, in the order of the model; matrices that read
            the same input then lie beside each other.
        dtype: the base's number format.
    """

    def __init__(self, layers: Sequence[tuple[Lean, str]], dtype: torch.dtype) -> None:
        self.layers = [layer for layer, _ in layers]
        self.downs = [cast(Tensor, layer.lora_A[name].weight) for layer, name in layers]
        self.ups = [cast(Tensor, layer.lora_B[name].weight) for layer, name in layers]
        self.scales = [float(layer.scaling[name]) for layer, name in layers]
        sizes = [each.numel() for each in (*self.downs, *self.ups)]
        device = self.downs[0].device
        self._made_M = torch.empty(sum(sizes), dtype=dtype, device=device)
        self._back_M = torch.empty_like(self._made_M)
        self._made, self._back = (
            [part.view_as(each) for part, each in zip(flat.split(sizes), self.trained, strict=True)]
            for flat in (self._made_M, self._back_M)
        )
        scales_M = [torch.ones(sum(sizes[: len(self.downs)]), device=device)]
        for up, scale in zip(self.ups, self.scales, strict=True):
            scales_M.append(torch.full((up.numel(),), scale, device=device))
        self._scales_M = torch.cat(scales_M)

    @property
    def trained(self) -> list[nn.Parameter]:
        """The matrices, in the order in which their gradients are given back."""
        return cast("list[nn.Parameter]", [*self.downs, *self.ups])

    @contextlib.contextmanager
    def within(self, gradients_M: Tensor) -> Iterator[None]:
        """Round for one pass with its way back; then add the gradients.

        Args:
            gradients_M: of all matrices, end to end, float32.
        """
        count = len(self.downs)
        each: Any = torch
        with torch.no_grad():
            raised = each._foreach_mul(self.ups, self.scales)  # noqa: SLF001
            each._foreach_copy_(self._made, [*self.downs, *raised])  # noqa: SLF001
            self._back_M.zero_()
        for n, layer in enumerate(self.layers):
            made, back = self._made, self._back
            layer.thin = Thin(made[n], made[count + n], back[n], back[count + n])
        try:
            yield
        finally:
            for layer in self.layers:
                layer.thin = None
        gradients_M.addcmul_(self._back_M.float(), self._scales_M)


def rounded(
    model: nn.Module, trained: Sequence[nn.Parameter], dtype: torch.dtype
) -> Rounded | None:
    """Give the thin matrices of a model's lean layers; None where it has none.

    Args:
        trained: what has gradients; a layer of which not both matrices have is left out.
        dtype: the base's number format.
    """
    known = {id(each) for each in trained}
    found: list[tuple[Lean, str]] = []
    for module in model.modules():
        names = module.active_adapters if isinstance(module, Lean) else []
        for name in names if len(names) == 1 else []:
            layer = cast(Lean, module)
            held = [side[name].weight for side in (layer.lora_A, layer.lora_B) if name in side]
            if len(held) > 1 and all(id(weight) in known for weight in held):
                found.append((layer, name))
    return Rounded(found, dtype) if found else None
