"""Merged: an adapter folded into its base, proved by the scores before and after.

Legend: B texts, L classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from peft import PeftModel
from torch import Tensor

from tenon.adapters.kind import KINDS
from tenon.adapters.manifest import Manifest
from tenon.core.errors import AdapterError
from tenon.evaluate.exam import EXAMS
from tenon.evaluate.probes import rendered, scores
from tenon.model.merge import TOLERANCE, Folded, adapted, merge_modules, relative
from tenon.model.model import Model
from tenon.model.models import model_for
from tenon.text.render import Renderer

PROMPTS = (
    "Summarise in one sentence: the river rose by two metres in a night, and the old bridge held.",
    "def add(a, b):\n    return",
    "¿Dónde está mi pedido? Llevo tres semanas esperando.",
    "no",
)
"""Beside an adapter's probes, what a merge is proved by."""
SHOWN_MODULES = 3
EXACT = TOLERANCE[torch.float32]
LOST = 0.5
"""Share of what the adapter changes at which rounding counts as having lost it."""


@dataclass(frozen=True)
class Proof:
    """How near the scores of a merged adapter stay to those of the adapter on its base.

    Args:
        dtype: number format of the weights.
        tolerance: largest error that is let through.
        error: largest difference of the scores / largest score.
        change: the same of the scores with and without the adapter: what is to be kept.
        modules: what took the adapter in, those that changed most first.
        texts: how many were scored.
        dequantized: how the base was quantised that the adapter was merged into as floats; empty
            for a base in floats.
    """

    dtype: str
    tolerance: float
    error: float
    change: float
    modules: tuple[Folded, ...]
    texts: int
    dequantized: str = ""


def merge(manifest: Manifest, model: Model, renderer: Renderer) -> tuple[Model, Proof]:
    """Fold the adapter of `model` into its base's weights.

    Returns:
        A model without adapter on the changed trunk, with the same head; and the proof.

    Raises:
        AdapterError: the kind cannot be merged, the adapter has been merged before, or scores or a
            module change by more than `TOLERANCE`, which the worst module is named with. In the
            last case the base in memory is changed and must be loaded again.
    """
    peft = _mergeable(manifest, model)
    texts, pairs = proof_texts(manifest, renderer)
    score = partial(scores, manifest.task, renderer=renderer, texts=texts, pairs=pairs)
    before_BL = score(model)
    with peft.disable_adapter():
        bare_BL = score(model)
    folded = merge_modules(manifest.name, model.trunk, peft, partial(score, model))
    mode = manifest.pooling.mode
    merged = model_for(manifest.task, model.trunk, None, model.head, mode).eval()
    dtype, held = model.trunk.model.dtype, model.trunk.holding
    proof = Proof(
        dtype=str(dtype).removeprefix("torch."),
        tolerance=TOLERANCE[dtype],
        error=relative(before_BL, score(merged)),
        change=relative(before_BL, bare_BL),
        modules=folded,
        texts=len(texts),
        dequantized=held.quantize if held else "",
    )
    refuse_far(manifest.name, proof, "merged")
    return merged, proof


def proof_texts(
    manifest: Manifest, renderer: Renderer
) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Give the texts that an export is proved by: the adapter's probes, then `PROMPTS`.

    Returns:
        The texts, and their second ones or None. A text of which the base has no token is left out.
    """
    further = tuple(text for text in PROMPTS if rendered(renderer, [text], None).ids[0])
    texts = (*manifest.probes.texts, *further)
    paired = manifest.probes.pairs is not None or EXAMS.get(manifest.task).paired
    seconds = (*(manifest.probes.pairs or ()), *reversed(further))
    return texts, seconds if paired else None


def refuse_far(name: str, proof: Proof, what: str) -> None:
    """Refuse an export whose scores are farther from the adapter's than rounding explains.

    Args:
        what: was done, for the message.

    Raises:
        AdapterError: an error is above the tolerance, or half of what the adapter changes is lost.
    """
    worst = proof.modules[:SHOWN_MODULES]
    told = ", ".join(f"{module.module} by {module.error:.1e}" for module in worst)
    largest = max([proof.error, *(module.error for module in worst)])
    if not largest <= proof.tolerance:
        raise AdapterError(
            f"adapter {name}: {what}, its scores differ by {proof.error:.1e} of their size; "
            f"{proof.dtype} allows {proof.tolerance:.0e}. The modules that differ most: "
            f"{told or 'none'}. Keep it as an adapter, or try --dtype float32"
        )
    if proof.error > max(LOST * proof.change, EXACT):
        raise AdapterError(
            f"adapter {name}: {what}, its scores differ by {proof.error:.1e} of their size, and "
            f"the adapter changes them by {proof.change:.1e} in all: rounding to {proof.dtype} "
            f"loses it. The modules that differ most: {told or 'none'}. Export with --dtype float32"
        )


def same_scores(name: str, proof: Proof, expected_BL: Tensor, found_BL: Tensor) -> float:
    """Compare what written files give to what they shall give.

    Returns:
        Largest difference / largest score.

    Raises:
        AdapterError: it is above the tolerance.
    """
    error = relative(expected_BL, found_BL)
    if expected_BL.shape != found_BL.shape or not error <= proof.tolerance:
        raise AdapterError(
            f"adapter {name}: the files that were written give other scores when they are read "
            f"again (they differ by {error:.1e} of their size, {proof.dtype} allows "
            f"{proof.tolerance:.0e}); nothing was kept. Please report this, with the base's name"
        )
    return error


def _mergeable(manifest: Manifest, model: Model) -> PeftModel:
    kind = KINDS.get(manifest.kind)
    if not kind.mergeable:
        raise AdapterError(
            f"adapter {manifest.name}: {kind.name} cannot be merged: {kind.mergeable_why}; keep it "
            "as an adapter (tenon export --to peft)"
        )
    if model.peft is None or not adapted(model.trunk.model):
        raise AdapterError(
            f"adapter {manifest.name}: has been merged already; load adapter and base again"
        )
    return model.peft
