"""Adapters on tiny bases: every kind and preset, attached as `model/attach` does it."""

from __future__ import annotations

from typing import Any

import peft
import torch
from transformers import PreTrainedModel

from bases import input_ids, tiny
from tenon.adapters import sites
from tenon.adapters.kind import KINDS, settle
from tenon.adapters.settings import AdapterSettings
from tenon.adapters.starts import begin

TABLES: dict[str, dict[str, Any]] = {
    "lora": {"kind": "lora.v1"},
    "houlsby": {"kind": "bottleneck.v1", "preset": "houlsby"},
    "pfeiffer": {"kind": "bottleneck.v1", "preset": "pfeiffer"},
    "parallel": {"kind": "bottleneck.v1", "preset": "parallel"},
    "prefix": {"kind": "prefix.v1", "length": 5},
}
KIND_NAMES = tuple(TABLES)
WIDE: dict[str, dict[str, Any]] = {
    name: {"reduction": 4} if table["kind"] == "bottleneck.v1" else {}
    for name, table in TABLES.items()
}
"""Settings with which not every unit of a rectified bottleneck is silent on the tiny bases."""
MARKS = ("lora_", "bottleneck_", "prefix_")
"""What the parameters of these kinds have in their names."""

FAMILY: dict[str, dict[str, Any]] = {
    **{name: TABLES[name] for name in ("houlsby", "pfeiffer", "parallel")},
    **{
        preset: {"kind": "bottleneck.v1", "preset": preset}
        for preset in ("scaled-parallel", "compacter", "compacter++", "mad-x")
    },
    "adapterplus": {
        "kind": "bottleneck.v1",
        "preset": "adapterplus",
        "width": 4,
        "init": "identity",
    },
}
"""Every preset of the bottleneck, all of them the identity at the start."""


def config_of(trunk: PreTrainedModel, settings: AdapterSettings) -> peft.PeftConfig:
    """Make the PEFT config of `settings` on `trunk`."""
    kind = KINDS.get(settings.kind)
    targets = sites.resolve(trunk, settings.sites)
    return kind.config(kind.settings(**settings.own), targets, trunk.config)


def attach(trunk: PreTrainedModel, table: dict[str, Any], name: str = "default") -> peft.PeftModel:
    """Attach a fresh adapter to `trunk`, seeded, in eval mode."""
    torch.manual_seed(0)
    settings = settle("mood", table)
    model = peft.get_peft_model(trunk, config_of(trunk, settings), adapter_name=name).eval()
    begin(model, KINDS.get(settings.kind).begins_from(settings.own))
    return model


def attached(arch: str, which: str, **more: Any) -> peft.PeftModel:
    """Attach a fresh adapter of `TABLES` or `FAMILY` to the tiny base of `arch`."""
    return attach(tiny(arch), {**{**TABLES, **FAMILY}[which], **more})


def shake(model: torch.nn.Module, seed: int = 1, size: float = 0.3) -> None:
    """Move every trainable tensor away from where it began, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator) * size
                parameter.add_(noise.to(parameter))


@torch.no_grad()
def hidden(model: torch.nn.Module, ids: torch.Tensor | None = None) -> torch.Tensor:
    """Run `model` on token ids, by default two rows of seven; float [B, T, D]."""
    return model(input_ids=input_ids() if ids is None else ids).last_hidden_state
