"""Attach: put an adapter into a frozen trunk."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from peft import PeftModel, get_peft_model

from tenon.adapters import sites
from tenon.adapters.kind import KINDS
from tenon.adapters.settings import AdapterSettings
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


def attach(trunk: Trunk, settings: AdapterSettings, seed: int) -> Attached:
    """Put a fresh adapter on the trunk; the base's parameters stay frozen.

    The trunk's modules are changed in place. Nothing else of the process's random
    state is touched than what a seed of torch touches.

    Args:
        seed: of the adapter's first weights.

    Raises:
        PlanError: a site matches nothing, or the kind refuses the trunk.
    """
    kind = KINDS.get(settings.kind)
    places = sites.resolve(trunk.model, trunk.model.config, settings.sites)
    targets = tuple(dict.fromkeys(name for names in places.values() for name in names))
    config = kind.config(kind.settings(**settings.own), targets, trunk.model.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft = get_peft_model(trunk.model, config, adapter_name=settings.name)
    return Attached(peft, places)
