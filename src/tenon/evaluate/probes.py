"""Probes: a few texts of ours and the scores that an adapter gave for them when it was written.

Legend: B texts, L classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tenon.adapters.manifest import Manifest, Probes
from tenon.core.errors import AdapterError
from tenon.data.example import Example
from tenon.evaluate.exam import EXAMS
from tenon.evaluate.predict import inference
from tenon.model import trunk as trunks
from tenon.model.model import Model
from tenon.text.render import Rendered, Renderer

PROBE_TEXTS = (
    "The parcel came a day early and everything in it was whole.",
    "Nobody answers; I have been waiting for my money since March!",
    "这家店的服务很好，下次还会再来。",
    "1 + 1 = 2",
)
TOLERANCE = {torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 2e-1}


def probe(task: str, model: Model, renderer: Renderer) -> Probes:
    """Give fixed texts and the scores that the model gives for them."""
    # A base may have no token at all for a text in another script.
    texts = tuple(text for text in PROBE_TEXTS if renderer.rows([_example(text)]).ids[0])
    pairs = texts[::-1] if EXAMS.get(task).paired else None
    dtype: Any = str(model.trunk.model.dtype).removeprefix("torch.")
    scores_BL = scores(task, model, renderer, texts, pairs).tolist()
    logits = tuple(tuple(row) for row in scores_BL)
    return Probes(texts=texts, pairs=pairs, logits=logits, dtype=dtype)


def prove(folder: Path, manifest: Manifest, model: Model, renderer: Renderer) -> None:
    """Check that an adapter gives the scores which it gave when it was written.

    Raises:
        AdapterError: it does not, or its probes are not whole.
    """
    rows = rows_of(folder, manifest, renderer)
    if rows is not None:
        refuse_other_scores(folder, manifest, model, rows)


def rows_of(folder: Path, manifest: Manifest, renderer: Renderer) -> Rendered | None:
    """Give the rows of an adapter's probes; None where it has none.

    Raises:
        AdapterError: its probes are not whole.
    """
    probes = manifest.probes
    if not probes.texts and not probes.logits:
        return None
    pairs = probes.texts if probes.pairs is None else probes.pairs
    # Of a base that writes, some tokens stand for all; there are no labels.
    width = len(manifest.labels) or len(probes.logits[0] if probes.logits else ())
    if not len(probes.texts) == len(probes.logits) == len(pairs) or any(
        len(row) != width for row in probes.logits
    ):
        raise AdapterError(
            f"{folder}: its probes do not have one logit a label for each text; write it again"
        )
    return rendered(renderer, probes.texts, probes.pairs) if probes.texts else None


def refuse_other_scores(folder: Path, manifest: Manifest, model: Model, rows: Rendered) -> None:
    """Refuse an adapter that gives other scores now than when it was written.

    Args:
        rows: of its probes.

    Raises:
        AdapterError: it does.
    """
    probes = manifest.probes
    stored = torch.tensor(probes.logits)
    now = scored(manifest.task, model, rows)
    error = float((now - stored).abs().max() / stored.abs().max().clamp_min(1.0))
    if not error <= max(TOLERANCE[model.trunk.model.dtype], TOLERANCE[trunks.DTYPES[probes.dtype]]):
        raise AdapterError(
            f"{folder}: gives other logits here than when it was written (they differ by "
            f"{error:.1e} of their size); is another version of transformers or PEFT installed?"
        )


def scores(
    task: str,
    model: Model,
    renderer: Renderer,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
) -> Tensor:
    """Give the scores of each text, [B, L], in float32 on the CPU.

    Args:
        pairs: the second texts, or None for single texts.
    """
    return scored(task, model, rendered(renderer, texts, pairs)) if texts else torch.empty(0)


def scored(task: str, model: Model, rows: Rendered) -> Tensor:
    """Give the scores of rows, [B, L], in float32 on the CPU."""
    with inference(model):
        return EXAMS.get(task).logits(model, rows).float().cpu()


def rendered(
    renderer: Renderer, texts: Sequence[str], pairs: Sequence[str] | None = None
) -> Rendered:
    """Give the rows of texts, or of pairs of texts."""
    both = zip(texts, pairs or [None] * len(texts), strict=True)
    return renderer.rows([_example(text, pair) for text, pair in both])


def _example(text: str, pair: str | None = None) -> Example:
    return Example("", "probe", text, pair)
