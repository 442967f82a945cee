"""Predict: the only way from tokens to answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import torch

from tenon.core.progress import Progress
from tenon.evaluate.prediction import Predictions
from tenon.model.classifier import Classifier
from tenon.model.model import Model
from tenon.text.batch import batch
from tenon.text.order import micro_batches
from tenon.text.tokens import Tokens

NOT_FINITE = "the base and adapter gave a score that is not finite"


def predict(
    model: Classifier,
    tokens: Tokens,
    labels: Sequence[str],
    *,
    batch_tokens: int,
    progress: Progress | None = None,
) -> Predictions:
    """Answer every row; weights, mode and random state of the model stay as they are.

    Args:
        labels: the L label names, in the order of the head's classes.
        batch_tokens: real tokens computed at once.
    """
    logits_RL = pooled_logits(model, tokens, batch_tokens=batch_tokens, progress=progress)
    log_probs_RL = torch.log_softmax(torch.from_numpy(logits_RL), -1).numpy()
    return _predictions(tokens, labels, log_probs_RL)


def pooled_logits(
    model: Classifier, tokens: Tokens, *, batch_tokens: int, progress: Progress | None = None
) -> npt.NDArray[np.float32]:
    """Give the scores of every row: float32 of shape [R, L]."""
    logits_RL = np.empty((len(tokens), model.head.linear.out_features), np.float32)
    with inference(model):
        for rows in by_length(tokens, batch_tokens):
            logits_RL[rows] = model.logits_BL(batch(tokens, rows)).cpu().numpy()
            if progress:
                progress.advance(len(rows))
    return logits_RL


def features(
    model: Classifier, tokens: Tokens, *, batch_tokens: int, progress: Progress | None = None
) -> npt.NDArray[np.float32]:
    """Give what the head reads of every row: float32 of shape [R, D]."""
    width = model.head.linear.in_features
    features_RD = np.empty((len(tokens), width), np.float32)
    with inference(model):
        for rows in by_length(tokens, batch_tokens):
            features_RD[rows] = model.features_BD(batch(tokens, rows)).cpu().numpy()
            if progress:
                progress.advance(len(rows))
    return features_RD


@contextlib.contextmanager
def inference(model: Model) -> Iterator[None]:
    """Hold the model in evaluation mode without gradients; each module gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training


def by_length(tokens: Tokens, batch_tokens: int) -> list[npt.NDArray[np.int64]]:
    """Give the rows in micro-batches of like length."""
    if not len(tokens):
        return []
    rows = np.argsort(tokens.lengths_R, kind="stable")
    return micro_batches(rows, tokens.lengths_R, batch_tokens)


def _predictions(
    tokens: Tokens, labels: Sequence[str], log_probs_RL: npt.NDArray[np.float32]
) -> Predictions:
    finite_R = cast("npt.NDArray[np.bool_]", np.isfinite(log_probs_RL).all(1))
    kept: list[int] = np.flatnonzero(finite_R).tolist()
    ids, origins, texts, pairs = (tokens.column(n) for n in ("id", "origin", "text", "pair"))
    paired = bool(pairs) and pairs[0] is not None
    return Predictions(
        labels=tuple(labels),
        ids=[ids[row] for row in kept],
        origins=[origins[row] for row in kept],
        texts=[texts[row] for row in kept],
        pairs=[pairs[row] for row in kept] if paired else None,
        gold_R=tokens.labels_R[kept],
        log_probs_RL=log_probs_RL[kept],
        failed={origins[row]: NOT_FINITE for row in np.flatnonzero(~finite_R)},
    )
