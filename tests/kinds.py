"""Every kind of PEFT's on tiny bases: settings small enough for them, and what each is allowed."""

from __future__ import annotations

from typing import Any

from tenon.adapters.kind import KINDS, Kind

SMALL: dict[str, dict[str, Any]] = {
    "adamss.v1": {"rank": 8, "subspaces": 2},
    "bottleneck.v1": {"reduction": 4},
    "c3a.v1": {"block": 8},
    "fourierft.v1": {"frequencies": 50},
    "oft.v1": {"block": 8},
    "prefix.v1": {"length": 5},
    "psoft.v1": {"rank": 8},
    "pvera.v1": {"rank": 8},
    "randlora.v1": {"rank": 4, "alpha": 80},
    "road.v1": {"group": 8},
    "supertuning.v1": {"sparsity": 0.9},
    "tinylora.v1": {"size": 8},
    "unilora.v1": {"length": 512},
    "vblora.v1": {"vectors": 16, "length": 8},
    "vera.v1": {"rank": 8},
    "waveft.v1": {"coefficients": 50},
}
"""Settings that the tiny bases' sizes of 32 and 48 ask for."""

INITS = ("orthogonal", "pissa", "olora", "mica")
"""Starts of LoRA that need no rows; each is a kind to the laws."""

TABLES: dict[str, dict[str, Any]] = {
    **{
        name: {"kind": name, **SMALL.get(name, {})}
        for name, kind in KINDS
        if name != "bottleneck.v1" and kind.compound is None
    },
    **{f"lora.v1 {init}": {"kind": "lora.v1", "init": init} for init in INITS},
}
MOVES = {
    "deft.v1": 1e-5,
    "hra.v1": 1e-5,
    "unilora.v1": 0.1,
    "vblora.v1": 0.1,
    **{f"lora.v1 {init}": 1e-5 for init in ("orthogonal", "pissa", "olora")},
}
"""Kinds whose start is not the base bit for bit in float32, and by how much it may differ."""

RATES = {"c3a.v1": 0.1, "fourierft.v1": 0.05, "tinylora.v1": 0.05, "unilora.v1": 0.003}
"""Learning rates of toy tasks; 0.01 for the rest."""

NO_TRANSPOSED = {
    "adamss.v1", "beft.v1", "c3a.v1", "delora.v1", "glora.v1", "hra.v1",
    "loha.v1", "lokr.v1", "miss.v1", "oft.v1", "peanut.v1", "psoft.v1", "road.v1", "shira.v1",
    "supertuning.v1",
}  # fmt: skip
"""Kinds that PEFT cannot put on GPT-2's transposed layers."""

ROUNDED = 1e-6
"""By how much the start of every other kind may differ that says so of itself: its rounding."""

SIZES = {"randlora.v1": 0.01}
"""How far a law moves each tensor from where it began, where not by 0.05."""

SILENT = {"glora.v1": "glora_E"}
"""Tensors that no gradient may reach: GLoRA's E shifts all channels, which a norm takes out."""


def kind_of(name: str) -> Kind:
    """Give the kind of one of `TABLES`."""
    return KINDS.get(TABLES[name]["kind"])
