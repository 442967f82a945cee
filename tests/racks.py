"""Racks: trunks with several trained adapters of several kinds, to be routed and composed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from attached import TABLES, shake
from models import trunk_of
from tenon.adapters.kind import settle
from tenon.model.attach import attach
from tenon.model.rack import Rack

MIXED: dict[str, dict[str, Any]] = {
    "a": {**TABLES["lora"], "rank": 4, "rank_stabilized": True},
    "b": {**TABLES["houlsby"]},
    "c": {**TABLES["pfeiffer"]},
    "d": {**TABLES["lora"], "rank": 3, "alpha": 5, "sites": ["attention.query", "mlp"]},
}
"""Adapters of several kinds, ranks, scales and places."""


def rack_of(
    folder: Path,
    tables: Mapping[str, dict[str, Any]] = MIXED,
    *,
    size: float = 0.2,
    **settings: Any,
) -> Rack:
    """Give a trunk with adapters, away from their first weights unless `size` is 0.

    Args:
        settings: of the model.
    """
    rack = Rack(trunk_of(folder, **settings))
    for place, (name, table) in enumerate(tables.items()):
        put(rack, name, table, seed=place, size=size)
    return rack


def put(rack: Rack, name: str, table: dict[str, Any], *, seed: int, size: float) -> None:
    """Put one more adapter into a rack."""
    held = attach(rack.trunk, settle(name, {**table, "dropout": 0.0}), seed=seed)
    if size:
        shake(held.peft, seed=seed, size=size)
    rack.keep(name, table["kind"], held.peft.eval())


def mixed(rack: Rack, composition, batch) -> torch.Tensor:
    """Give the hidden states of a batch by a composition."""
    with rack.mixed(composition), torch.no_grad():
        return rack.trunk.hidden_TD(batch)


def alone(rack: Rack, name: str | None, batch) -> torch.Tensor:
    """Give the hidden states of a batch by one adapter, or by the base."""
    with torch.no_grad():
        if name is None:
            return rack.trunk.hidden_TD(batch)
        with rack.only(name):
            return rack.trunk.hidden_TD(batch)
