"""Attach: put an adapter into a frozen trunk, fresh or trained."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from peft import PeftModel

from tenon.adapters.bottleneck import uncouple_head
from tenon.adapters.fresh import fresh
from tenon.adapters.kind import KINDS
from tenon.adapters.lean import lean
from tenon.adapters.pack import Adapter
from tenon.adapters.settings import AdapterSettings
from tenon.adapters.weights import put
from tenon.adapters.wrap import wrap
from tenon.core.errors import AdapterError, PlanError
from tenon.model.merge import guard
from tenon.model.quantized import quantized
from tenon.model.trunk import Trunk


@dataclass(frozen=True)
class Attached:
    """A trunk with an adapter in it.

    Args:
        peft: the PEFT model; its modules are those of the trunk, wrapped in place.
        places: the module names that each site stood for.
    """

    peft: PeftModel
    places: dict[str, tuple[str, ...]]


def attach(
    trunk: Trunk,
    settings: AdapterSettings,
    seed: int,
    first: Mapping[str, torch.Tensor] | None = None,
) -> Attached:
    """Put a fresh adapter on the trunk; the base's parameters stay frozen.

    The trunk's modules are changed in place; torch's random state is left as it was.

    Args:
        seed: of the adapter's first weights.
        first: those weights, where they have been computed before.

    Raises:
        PlanError: a site matches nothing, or the kind refuses the trunk.
        AdapterError: `first` are not exactly the weights that the adapter has on this trunk, or a
            part of a fusion is not what it was when the plan was made.
    """
    refuse_quantized(trunk, settings)
    with unchanged_random_state():
        torch.manual_seed(seed)
        peft, places = fresh(trunk.model, settings, first)
        return Attached(_uncoupled(trunk, peft), places)


def restore(trunk: Trunk, adapter: Adapter) -> PeftModel:
    """Put a trained adapter on the trunk it was trained on, frozen.

    Torch's random state is left as it was.

    Raises:
        AdapterError: the trunk is quantised in another way; or its tensors are not exactly those
            that its kind has on this trunk, which then carries a fresh adapter and must be loaded
            again.
    """
    known = adapter.manifest.base.quantize
    if known != trunk.quantize:
        raise AdapterError(
            f'adapter {adapter.name}: was trained with model.quantize = "{known}", this base is '
            f'loaded with "{trunk.quantize}"; load it as it was'
        )
    with unchanged_random_state():
        peft = _uncoupled(trunk, wrap(trunk.model, adapter.config))
    put(peft, adapter.weights)
    return peft.requires_grad_(requires_grad=False)


def unchanged_random_state() -> AbstractContextManager[None]:
    """Give back torch's random state, of the CPU and of every GPU, when done."""
    return torch.random.fork_rng(devices=range(torch.cuda.device_count()))


def refuse_quantized(trunk: Trunk, settings: AdapterSettings) -> None:
    """Refuse a kind that cannot sit on layers in few bits, where the trunk has such.

    Raises:
        PlanError: with the reason.
    """
    kind = KINDS.get(settings.kind)
    held = trunk.quantize != "none" or quantized(trunk.model)
    if kind.quantized_why and held:
        raise PlanError(
            f"adapters.{settings.name}.kind: {kind.name} cannot sit on a quantised base: "
            f"{kind.quantized_why}; take the base in floats, or lora.v1"
        )


def _uncoupled(trunk: Trunk, peft: PeftModel) -> PeftModel:
    guard(trunk.model)
    lean(trunk.model)
    if trunk.whole is not None:
        uncouple_head(trunk.whole)
    return peft
