"""Unreal: computing on shapes alone; numbers are on no device, places and masks are real.

What is computed of weights has a shape and no data. Ids, targets, lengths and masks are real, as it
depends on them which shapes come about. What attends is the kernel that the planned device takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from tenon.model import groups
from tenon.plan.kernels import attend
from tenon.plan.ledger import Counting

META = torch.device("meta")
INDEXING = ("index.Tensor", "index_put", "_unsafe_index", "_index_put_impl")
MASKS = (torch.bool, torch.uint8)
EXPECTED = 1.0
"""What a number is taken for that is asked of a tensor without data."""


class Unreal(TorchFunctionMode):
    """While it is on, what holds no floats is made on the CPU where "meta" is asked for.

    Args:
        device: the type of the planned device, "cpu" or "cuda".
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device

    def __enter__(self) -> Self:
        """Begin; short rows attend on shapes as they do on the device."""
        if self.device in groups.ON:
            groups.ON.add(META.type)
        return super().__enter__()

    def __exit__(self, *failure: Any) -> None:
        """End."""
        groups.ON.discard(META.type)
        super().__exit__(*failure)

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],  # noqa: ARG002 - torch passes it
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compute, with the device put right."""
        named = dict(kwargs or {})
        if func is functional.scaled_dot_product_attention:
            return attend(self.device, *args, **named)
        if func is Tensor.to and not args[0].is_meta:
            kept = [each for each in args[1:] if not _is_meta(each)]
            named = {name: each for name, each in named.items() if not _is_meta(each)}
            return func(args[0], *kept, **named) if kept or named else args[0]
        if _is_meta(named.get("device")):
            made = func(*args, **{**named, "device": "cpu"})
            if _real(made):
                return made
        return func(*args, **named)


def _real(value: Any) -> bool:
    """Whether it is a tensor that has data, and holds no floats."""
    return isinstance(value, Tensor) and not value.is_meta and not value.is_floating_point()


def _is_meta(value: Any) -> bool:
    return value == "meta" or (isinstance(value, torch.device) and value.type == "meta")


class CountingUnreal(Counting):
    """Counts what is made while computing on shapes; tensors with and without data may meet."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compute without data what any tensor without data takes part in."""
        named = kwargs or {}
        leaves = tree_leaves((args, named))
        unreal = [leaf.is_meta for leaf in leaves if isinstance(leaf, Tensor)]
        if any(unreal):
            if str(func) == "aten._local_scalar_dense.default":
                return leaves[0].dtype is not torch.bool and EXPECTED
            if named.get("device") is not None:
                named = {**named, "device": META}
            if not all(unreal):
                args, named = self._without_data(func, args, named)
        return super().__torch_dispatch__(func, types, args, named)

    def _without_data(
        self, func: Any, args: Sequence[Any], named: Mapping[str, Any]
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        if str(func).removeprefix("aten.").startswith(INDEXING):
            args = (args[0], _places(args[1]), *args[2:])
        return cast("tuple[Sequence[Any], Mapping[str, Any]]", tree_map(_bare, (args, named)))


def _places(indices: Sequence[Any]) -> list[Any]:
    """Give the places that real masks mean, as many as they are."""
    found: list[Any] = []
    for each in indices:
        masks = isinstance(each, Tensor) and each.dtype in MASKS and not each.is_meta
        found += list(each.nonzero(as_tuple=True)) if masks else [each]
    return found


def _bare(value: Any) -> Any:
    """Give a tensor without data in the place of one that has them."""
    if not isinstance(value, Tensor) or value.is_meta:
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=META)
