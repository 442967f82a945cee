"""Plain: an adapter as PEFT alone writes it, without Tenon's manifest."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tenon.adapters.files import CARD, CONFIG, HEAD, WEIGHTS
from tenon.evaluate.merged import Proof, proof_texts, same_scores
from tenon.evaluate.probes import scores
from tenon.export.again import scores_again
from tenon.export.case import never
from tenon.export.target import TARGETS, Order, Target, Written
from tenon.model.merge import TOLERANCE
from tenon.model.settings import ModelSettings

FILES = (CONFIG, WEIGHTS, HEAD, CARD)


def write(order: Order, folder: Path) -> Written:
    """Copy what PEFT reads, and read it with PEFT.

    Raises:
        AdapterError: PEFT gives other scores.
    """
    answerer = order.answerer
    manifest, model = answerer.manifest, answerer.model
    dtype, device = model.trunk.model.dtype, str(model.trunk.device)
    texts, pairs = proof_texts(manifest, answerer.renderer)
    expected_BL = scores(manifest.task, model, answerer.renderer, texts, pairs)
    for name in FILES:
        if (order.adapter / name).is_file():
            shutil.copyfile(order.adapter / name, folder / name)
    named: Any = str(dtype).removeprefix("torch.")
    proof = Proof(named, TOLERANCE[dtype], 0.0, 0.0, (), len(texts))
    quantize = manifest.base.quantize
    settings = ModelSettings(device=device, dtype=named, quantize=quantize)
    found_BL = scores_again(manifest, order.base, settings, adapter=folder)
    error = same_scores(manifest.name, proof, expected_BL, found_BL)
    return Written(proof, error, "PeftModel.from_pretrained")


TARGETS.add(
    "peft",
    Target(
        name="peft",
        summary="the adapter as PEFT reads it, without Tenon's manifest",
        keeps_format=False,
        ranked=False,
        measures=False,
        write=write,
        refuses=never,
    ),
)
