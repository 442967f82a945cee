"""Answers: predictions made up for tests of the evaluate floor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax

from tenon.evaluate.prediction import Predictions


def predictions(
    gold: Sequence[int],
    log_probs: np.ndarray,
    *,
    labels: Sequence[str] | None = None,
    texts: Sequence[str] | None = None,
    pairs: Sequence[str] | None = None,
    origins: Sequence[str] | None = None,
    failed: dict[str, str] | None = None,
) -> Predictions:
    """Give predictions with names, texts and origins made from row numbers."""
    rows, classes = log_probs.shape
    return Predictions(
        labels=tuple(labels or (f"label_{index}" for index in range(classes))),
        ids=[f"{row:032x}" for row in range(rows)],
        origins=list(origins or (f"test.csv:{row + 2}" for row in range(rows))),
        texts=list(texts or (f"text {row}" for row in range(rows))),
        pairs=pairs,
        gold_R=np.asarray(gold, np.int32),
        log_probs_RL=log_probs.astype(np.float32),
        failed=failed or {},
    )


def drawn(
    rows: int,
    classes: int,
    accuracy: float,
    *,
    seed: int,
    gold_seed: int = 0,
    sharpness: float = 4.0,
) -> Predictions:
    """Give a system that is right on about `accuracy` of the rows; equal gold for equal seeds."""
    gold_R = np.random.default_rng(gold_seed).integers(0, classes, rows)
    generator = np.random.default_rng([seed, 1])
    answer_R = np.where(
        generator.random(rows) < accuracy, gold_R, generator.integers(0, classes, rows)
    )
    logits_RL = generator.normal(size=(rows, classes))
    logits_RL[np.arange(rows), answer_R] += sharpness
    return predictions(gold_R, log_softmax(logits_RL, axis=1))
