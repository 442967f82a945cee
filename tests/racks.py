"""Racks: trunks with several trained adapters of several kinds, to be routed and composed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from attached import TABLES, shake
from bases import HIDDEN
from models import trunk_of
from packed import LABELS, fingerprint_of
from tenon.adapters import pack
from tenon.adapters.compose import Parents
from tenon.adapters.kind import KINDS, settle
from tenon.adapters.manifest import Lengths, Manifest, Pooling
from tenon.adapters.weights import take
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
    held = attach(rack.trunk, settle(name, undropped(table)), seed=seed)
    if size:
        shake(held.peft, seed=seed, size=size)
    rack.keep(name, table["kind"], held.peft.eval())


def undropped(table: dict[str, Any]) -> dict[str, Any]:
    """Give an adapter's table without dropout, where its kind has it."""
    has = "dropout" in KINDS.get(table["kind"]).settings.model_fields
    return {**table, **({"dropout": 0.0} if has else {})}


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


def adapter_in(rack: Rack, name: str, table: dict[str, Any], **fields: Any) -> pack.Adapter:
    """Give an adapter of a rack apart from it, with a head of three labels.

    Args:
        fields: of the manifest.
    """
    model_type = rack.trunk.model.config.model_type
    own = settle(name, undropped(table))
    with rack.only(name) as peft:
        held, config = take(peft), peft.peft_config["default"]
    random = torch.Generator().manual_seed(sum(map(ord, name)))
    head = {
        "weight": torch.randn(len(LABELS), HIDDEN, generator=random),
        "bias": torch.randn(len(LABELS), generator=random),
    }
    given: dict[str, Any] = {
        "labels": LABELS,
        "base": fingerprint_of(model_type),
        "pooling": Pooling(mode="mean"),
        "text": Lengths(max_tokens=32),
        **fields,
    }
    manifest = Manifest(tenon="0.1.0", name=name, kind=own.kind, **given)
    return pack.Adapter(name, own.kind, own, config, held, head, manifest)


def parents_in(rack: Rack, tables: Mapping[str, dict[str, Any]] = MIXED) -> Parents:
    """Give all adapters of a rack as what can be composed."""
    held = {name: adapter_in(rack, name, table) for name, table in tables.items()}
    return Parents(held, {name: f"{place}" * 64 for place, name in enumerate(held)})
