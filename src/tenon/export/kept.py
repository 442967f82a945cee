"""Kept: the scores that an export has to keep, and how much of them the adapter makes.

Legend: B texts, L classes.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tenon.core.errors import AdapterError
from tenon.evaluate.answerer import Answerer
from tenon.evaluate.merged import proof_texts
from tenon.evaluate.probes import scores
from tenon.model.merge import relative


def kept(answerer: Answerer) -> tuple[Tensor, float]:
    """Give an adapter's scores of the proof's texts, [B, L], and the share that it changes.

    Raises:
        AdapterError: the adapter is not on its base.
    """
    peft = answerer.model.peft
    if peft is None:
        raise AdapterError(f"adapter {answerer.manifest.name}: is not on its base; load it again")
    expected_BL = scores_of(answerer, answerer.model)
    with peft.disable_adapter():
        return expected_BL, relative(expected_BL, scores_of(answerer, answerer.model))


def scores_of(answerer: Answerer, model: Any) -> Tensor:
    """Give a model's scores of the proof's texts, [B, L].

    Args:
        answerer: whose rows and task they are.
        model: the adapter's own, or what stands in its place.
    """
    manifest, renderer = answerer.manifest, answerer.renderer
    texts, pairs = proof_texts(manifest, renderer)
    return scores(manifest.task, model, renderer, texts, pairs)
