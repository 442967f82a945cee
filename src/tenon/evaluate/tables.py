"""Tables: what one number hides: each class, which are confused, and how sure is right.

L labels, R rows; every table is made of plain numbers, ready for JSON.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tenon.evaluate.prediction import Predictions
from tenon.evaluate.scorers import calibration_bins, confidence, hits
from tenon.evaluate.shares import wilson

MOST_PAIRS = 15


def per_class(known: Predictions, level: float) -> list[dict[str, Any]]:
    """Give precision, recall and F1 of each label, with intervals of the first two.

    Args:
        known: all labelled.
        level: confidence of the intervals.

    Returns:
        One entry a label, in the order of the labels; a share of no rows is None.
    """
    labels = len(known.labels)
    gold_L = np.bincount(known.gold_R, minlength=labels).tolist()
    answer_L = np.bincount(known.answer_R, minlength=labels).tolist()
    hit_L = np.bincount(known.gold_R[hits(known)], minlength=labels).tolist()
    return [
        {
            "label": label,
            "rows": gold_L[index],
            "answers": answer_L[index],
            "precision": _share(hit_L[index], answer_L[index], level),
            "recall": _share(hit_L[index], gold_L[index], level),
            "f1": _ratio(2 * hit_L[index], gold_L[index] + answer_L[index]),
        }
        for index, label in enumerate(known.labels)
    ]


def _share(part: int, whole: int, level: float) -> dict[str, float] | None:
    if not whole:
        return None
    low, high = wilson(part, whole, level)
    return {"value": part / whole, "low": low, "high": high, "n": whole}


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def confusion(known: Predictions) -> dict[str, Any]:
    """Give the confusion matrix.

    Args:
        known: all labelled.

    Returns:
        `labels`; `cells`, `[gold, answer, rows]` of each cell that is not empty; and `pairs`, the
        largest cells off the diagonal by label names.
    """
    labels = len(known.labels)
    code_R = known.gold_R.astype(np.int64) * labels + known.answer_R
    codes, counts = np.unique(code_R, return_counts=True)
    cells = [
        [code // labels, code % labels, count]
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True)
    ]
    wrong = sorted((cell for cell in cells if cell[0] != cell[1]), key=lambda cell: -cell[2])
    gold_L = np.bincount(known.gold_R, minlength=labels)
    pairs = [
        {
            "gold": known.labels[gold],
            "answer": known.labels[answer],
            "rows": count,
            "of": int(gold_L[gold]),
        }
        for gold, answer, count in wrong[:MOST_PAIRS]
    ]
    return {"labels": list(known.labels), "cells": cells, "pairs": pairs}


def calibration(known: Predictions, level: float) -> list[dict[str, Any]]:
    """Give mean confidence and accuracy of each bin of the calibration error.

    Args:
        known: all labelled.
        level: confidence of the accuracies' intervals.
    """
    confidence_R, hit_R = confidence(known), hits(known)
    bin_R = calibration_bins(confidence_R)
    bins: list[dict[str, Any]] = []
    for index in np.unique(bin_R).tolist():
        inside_R = bin_R == index
        rows, right = int(inside_R.sum()), int(hit_R[inside_R].sum())
        low, high = wilson(right, rows, level)
        mean = float(confidence_R[inside_R].mean())
        entry = {"confidence": mean, "accuracy": right / rows, "low": low, "high": high, "n": rows}
        bins.append(entry)
    return bins
