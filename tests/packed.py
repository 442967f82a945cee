"""Whole adapters on tiny bases, ready to be written."""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel

from attached import TABLES, attach, shake
from bases import HIDDEN, tiny
from tenon.adapters import weights
from tenon.adapters.fingerprint import Fingerprint
from tenon.adapters.kind import settle
from tenon.adapters.manifest import Lengths, Manifest, Pooling, Probes
from tenon.adapters.pack import Adapter

LABELS = ("glad", "sad", "tired")


def fingerprint_of(arch: str) -> Fingerprint:
    """Make up the fingerprint of the tiny base of `arch`."""
    return Fingerprint(
        name=f"tiny/{arch}",
        revision="",
        model_type=arch,
        hidden_size=HIDDEN,
        digest="3f9a" * 16,
        tokenizer_digest="77c1" * 16,
        tensors={"a": "0" * 16, "b": "1" * 16},
    )


def adapter_on(
    arch: str, which: str, pooling: str = "mean", layout: str = "trunk", **more: Any
) -> tuple[PeftModel, Adapter]:
    """Give a shaken model and the adapter taken from it, with a random head."""
    settings = settle("mood", {**TABLES[which], **more})
    model = attach(tiny(arch), {**TABLES[which], **more})
    shake(model)
    generator = torch.Generator().manual_seed(5)
    head = {
        "weight": torch.randn(len(LABELS), HIDDEN, generator=generator),
        "bias": torch.randn(len(LABELS), generator=generator) * (pooling != "last"),
    }
    manifest = Manifest(
        tenon="0.1.0",
        name="mood",
        kind=settings.kind,
        labels=LABELS,
        base=fingerprint_of(arch),
        pooling=Pooling(mode=pooling),
        text=Lengths(max_tokens=32),
        probes=Probes(texts=("a", "b"), logits=((0.1, -2.5, 1e-8), (1.0, 2.0, 3.0))),
        report={"accuracy": 0.9},
        layout=layout,
    )
    held = weights.take(model)
    config = model.peft_config["default"]
    return model, Adapter("mood", settings.kind, settings, config, held, head, manifest)
