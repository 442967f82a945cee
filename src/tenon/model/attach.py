"""Attach: put an adapter into a frozen trunk."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from peft import (
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)

from tenon.adapters import sites
from tenon.adapters.kind import KINDS
from tenon.adapters.pack import Adapter
from tenon.adapters.settings import AdapterSettings
from tenon.core.errors import AdapterError
from tenon.model.trunk import Trunk

ACTIVE = "default"
"""Name of the adapter inside PEFT, which mistakes names that stand in its own prefixes."""


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

    The trunk's modules are changed in place; torch's random state is left as it was.

    Args:
        seed: of the adapter's first weights.

    Raises:
        PlanError: a site matches nothing, or the kind refuses the trunk.
    """
    kind = KINDS.get(settings.kind)
    places = sites.resolve(trunk.model, settings.sites)
    config = kind.config(kind.settings(**settings.own), places, trunk.model.config)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        peft = get_peft_model(trunk.model, config, adapter_name=ACTIVE)
    return Attached(peft, places)


def restore(trunk: Trunk, adapter: Adapter) -> PeftModel:
    """Put a trained adapter on the trunk it was trained on.

    Raises:
        AdapterError: its tensors are not exactly those that its kind has on this trunk. The
            trunk then carries a fresh adapter and must be loaded again.
    """
    peft = get_peft_model(trunk.model, adapter.config, adapter_name=ACTIVE)
    expected = weights(peft)
    odd = sorted(expected.keys() ^ adapter.weights.keys())
    odd += [
        name
        for name in expected.keys() & adapter.weights.keys()
        if expected[name].shape != adapter.weights[name].shape
    ]
    if odd:
        raise AdapterError(
            f"adapter {adapter.name}: {len(odd)} of its tensors do not fit this base ({odd[0]}); "
            "load the base it was trained on, or retrain"
        )
    set_peft_model_state_dict(peft, dict(adapter.weights), adapter_name=ACTIVE)
    peft.requires_grad_(requires_grad=False)
    return peft


def weights(peft: PeftModel) -> dict[str, torch.Tensor]:
    """Give the adapter's tensors under PEFT's own names on disk, on the CPU."""
    state = get_peft_model_state_dict(peft, adapter_name=ACTIVE)
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
