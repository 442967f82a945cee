"""Portable: an adapter as the plainest LoRA there is, which every engine reads alike.

One rank for all modules, the factor 1 (alpha is the rank), no pattern, no bias, no initialisation
that means anything. What another LoRA says by these is folded into its matrices, which changes
nothing but the last bits; any other matrix is parted into two by its singular values.
Legend: I inputs, O outputs, R rank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tenon.adapters import directory
from tenon.adapters.blend import Cut, cut, factored, lost
from tenon.adapters.delta import Delta, Whole, deltas, padded, why_not
from tenon.adapters.kind import KINDS
from tenon.adapters.manifest import Manifest
from tenon.adapters.pack import PEFT_PREFIX, Adapter
from tenon.adapters.settings import AdapterSettings

LORA = "lora.v1"
EXACT = 1e-6
"""Share of a matrix's size that may be left out of it without being called cut."""


@dataclass(frozen=True)
class Portable:
    """An adapter in the plain form.

    Args:
        adapter: of kind `lora.v1`.
        exact: the least rank that leaves nothing out.
        rank: of all modules; what is above `exact` is filled with zeros.
        lost: module to the share of its matrix that was left out, by its Frobenius norm.
    """

    adapter: Adapter
    exact: int
    rank: int
    lost: dict[str, float]


def portable(
    adapter: Adapter, wholes: Callable[[], Mapping[str, Whole]], choose: Callable[[int], int]
) -> Portable:
    """Give an adapter in the plain form.

    Args:
        adapter: any that adds one matrix to each weight.
        wholes: gives what is added to each module; asked where the adapter is no plain product.
        choose: gives the rank to take from the least one that leaves nothing out.

    Raises:
        AdapterError: what it adds is no matrix a module; or from `wholes` or `choose`.
    """
    parts = _parted(wholes()) if why_not(adapter) else deltas(adapter)
    exact = max(part.rank for part in parts.values())
    rank = choose(exact)
    cuts = {
        module: cut(part, rank) if part.rank > rank else Cut(part, 0.0, part.square)
        for module, part in parts.items()
    }
    kept = {module: held.delta for module, held in cuts.items()}
    made = as_lora(adapter.manifest, adapter.settings.sites, kept, rank, adapter.head)
    return Portable(made, exact, rank, {plain(name): lost([held]) for name, held in cuts.items()})


def as_lora(
    manifest: Manifest,
    sites: tuple[str, ...],
    parts: Mapping[str, Delta],
    rank: int,
    head: dict[str, Tensor],
) -> Adapter:
    """Give deltas as a LoRA with the factor 1, in float32.

    Args:
        manifest: what is known of it; kind and settings are put in.
        sites: where it sits.
        parts: module, as PEFT's tensors name it, to its delta, of at most `rank`.
        rank: that all modules get.
        head: its tensors.
    """
    # alpha / rank is 1: all that scales a delta is in its second matrix.
    own = KINDS.get(LORA).settings.model_validate({"rank": rank, "alpha": float(rank)})
    settings = AdapterSettings(
        name=manifest.name,
        kind=LORA,
        sites=sites,
        own=own.model_dump(),
        layers=manifest.settings.layers if manifest.settings else (),
    )
    manifest = manifest.model_copy(update={"kind": LORA, "settings": settings})
    config: Any = directory.expected_config(manifest)
    config.target_modules = {plain(module) for module in parts}
    weights = {
        f"{module}.{name}": tensor.float().contiguous()
        for module, part in parts.items()
        for name, tensor in padded(part, rank).tensors()
    }
    return Adapter(manifest.name, LORA, settings, config, weights, head, manifest)


def plain(module: str) -> str:
    """Give the base's name of a module from the name in PEFT's tensors."""
    return module.removeprefix(PEFT_PREFIX)


def _parted(wholes: Mapping[str, Whole]) -> dict[str, Delta]:
    return {f"{PEFT_PREFIX}{path}": _least(whole) for path, whole in wholes.items()}


def _least(whole: Whole) -> Delta:
    """Give a matrix as a product of the least rank that leaves next to nothing out."""
    full = factored(whole.matrix_OI, min(whole.matrix_OI.shape), whole.pair).delta
    # Each of the two matrices holds the root of every singular value.
    squared_K = full.down_RI.square().sum(1).square()
    beyond_K = squared_K.sum() - squared_K.cumsum(0)
    rank = min(1 + int((beyond_K > EXACT**2 * squared_K.sum()).sum()), len(squared_K))
    return Delta(full.down_RI[:rank], full.up_OR[:, :rank], whole.pair)
