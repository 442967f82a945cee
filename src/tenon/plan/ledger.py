"""Ledger: the bytes of tensors that are alive while something is computed, and their peak."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(eq=False)
class Ledger:
    """Which storages are alive.

    Args:
        grain: bytes to a multiple of which a device rounds each allocation up.
        live: bytes of all storages that are alive.
        peak: most that were alive at once.
        held: by the identity of a storage, its reference and its bytes.
    """

    grain: int = 1
    live: int = 0
    peak: int = 0
    held: dict[int, tuple[Any, int]] = field(default_factory=dict[int, tuple[Any, int]])

    def note(self, tensor: Tensor) -> None:
        """Count the storage of a tensor, unless it is counted already."""
        if tensor.layout is torch.sparse_coo:
            self.note(tensor._indices())  # noqa: SLF001
            self.note(tensor._values())  # noqa: SLF001
            return
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self.held:
            return
        size = -(-storage.nbytes() // self.grain) * self.grain
        self.held[key] = (weakref.ref(storage, self._forget(key)), size)
        self.live += size
        self.peak = max(self.peak, self.live)

    def add(self, size: int) -> None:
        """Count bytes that belong to no tensor here, as of a kernel's own workspace."""
        self.peak = max(self.peak, self.live + size)

    def _forget(self, key: int) -> Callable[[Any], None]:
        def gone(_: Any) -> None:
            _, size = self.held.pop(key)
            self.live -= size

        return gone


class Counting(TorchDispatchMode):
    """While it is on, every tensor that is made is counted.

    Args:
        ledger: where.
    """

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],  # noqa: ARG002 - torch passes it
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compute, and count what comes out."""
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self.ledger.note(leaf)
        return made
