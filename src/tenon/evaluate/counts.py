"""Counts: gold, answers and hits of each label, and the precision, recall and F1 they give.

A ratio of nothing is 0: no answers, precision 0; no gold, recall 0; neither, F1 0.

S samples of rows, L labels. Sums are blocks of L columns, in the order gold, answers, hits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tenon.evaluate.shares import wilson

Doubles = npt.NDArray[np.float64]


def check_rows(gold: Sequence[Any], answers: Sequence[Any]) -> None:
    """Refuse gold and answers of different length.

    Raises:
        ValueError: they differ.
    """
    if len(gold) != len(answers):
        raise ValueError(f"there are {len(gold)} rows of gold and {len(answers)} of answers")


def ratio(part_S: Doubles, whole_S: Doubles) -> Doubles:
    """Divide, and give 0 where the whole is 0; any shape."""
    return np.divide(part_S, whole_S, out=np.zeros_like(whole_S), where=whole_S > 0)


def precision(answer_SL: Doubles, hit_SL: Doubles) -> Doubles:
    """Give the hits' share of the answers, over all labels together, [S]."""
    return ratio(hit_SL.sum(axis=1), answer_SL.sum(axis=1))


def recall(gold_SL: Doubles, hit_SL: Doubles) -> Doubles:
    """Give the hits' share of the gold, over all labels together, [S]."""
    return ratio(hit_SL.sum(axis=1), gold_SL.sum(axis=1))


def micro_f1(gold_SL: Doubles, answer_SL: Doubles, hit_SL: Doubles) -> Doubles:
    """Give the F1 of all labels together, [S]."""
    return ratio(2 * hit_SL.sum(axis=1), gold_SL.sum(axis=1) + answer_SL.sum(axis=1))


def macro_f1(gold_SL: Doubles, answer_SL: Doubles, hit_SL: Doubles) -> Doubles:
    """Average F1 over the labels that occur in gold or answers of the sample, [S]."""
    both_SL = gold_SL + answer_SL
    present_S = (both_SL > 0).sum(axis=1).astype(np.float64)
    return ratio(ratio(2 * hit_SL, both_SL).sum(axis=1), present_S)


def table(
    labels: Sequence[str], sums_K: Doubles, level: float, *, gold_name: str = "rows"
) -> list[dict[str, Any]]:
    """Give each label's counts, precision, recall and F1, in the order of the labels.

    Args:
        labels: L names.
        sums_K: sums over all rows; the first 3 L are gold, answers and hits.
        level: confidence of Wilson's interval of precision and recall, which takes the counted
            things to be independent of each other.
        gold_name: what the count of gold is called in an entry.

    Returns:
        Plain numbers, ready for JSON; a share of nothing is None.
    """
    count = len(labels)
    gold_L, answer_L, hit_L = (
        [round(value) for value in sums_K[start : start + count].tolist()]
        for start in (0, count, 2 * count)
    )
    return [
        {
            "label": label,
            gold_name: gold,
            "answers": answers,
            "hits": hits,
            "precision": _share(hits, answers, level),
            "recall": _share(hits, gold, level),
            "f1": 2 * hits / (gold + answers) if gold + answers else None,
        }
        for label, gold, answers, hits in zip(labels, gold_L, answer_L, hit_L, strict=True)
    ]


def _share(part: int, whole: int, level: float) -> dict[str, float] | None:
    if not whole:
        return None
    low, high = wilson(part, whole, level)
    return {"value": part / whole, "low": low, "high": high, "n": whole}
