"""Rows: single answers: those won and lost against a baseline, the surest errors, all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tenon.core import files
from tenon.evaluate.prediction import Predictions
from tenon.evaluate.scorers import confidence, hits
from tenon.evaluate.statistics import align

SHOWN_ROWS = 50
SHOWN_CHARACTERS = 400


def won_and_lost(first: Predictions, second: Predictions) -> dict[str, dict[str, Any]]:
    """Give the rows that only one of two systems has right.

    Args:
        first: the adapter's answers, all labelled.
        second: the baseline's, all labelled.

    Returns:
        `won` and `lost`, each with `count` and `rows`: at most 50, largest change of the gold's
        probability first.
    """
    first, second = align(first, second)
    gold_R, rows_R = first.gold_R, np.arange(len(first))
    gain_R = np.exp(first.log_probs_RL[rows_R, gold_R]) - np.exp(
        second.log_probs_RL[rows_R, gold_R]
    )
    first_R, second_R = hits(first), hits(second)
    won_R, lost_R = first_R & ~second_R, second_R & ~first_R
    return {
        "won": _listed(first, second, won_R, -gain_R),
        "lost": _listed(first, second, lost_R, gain_R),
    }


def surest_errors(known: Predictions) -> dict[str, Any]:
    """Give the wrong answers with the highest probability; some are errors of the labels.

    Args:
        known: all labelled.
    """
    return _listed(known, None, ~hits(known), -confidence(known))


def _listed(
    first: Predictions,
    second: Predictions | None,
    marked_R: npt.NDArray[np.bool_],
    order_R: npt.NDArray[np.floating[Any]],
) -> dict[str, Any]:
    marked = np.flatnonzero(marked_R)
    chosen = marked[np.argsort(order_R[marked], kind="stable")][:SHOWN_ROWS].tolist()
    rows = [_row(first, row) for row in chosen]
    if second is not None:
        for entry, row in zip(rows, chosen, strict=True):
            entry["baseline_answer"] = second.labels[int(second.answer_R[row])]
    return {"count": len(marked), "rows": rows}


def _row(predictions: Predictions, row: int) -> dict[str, Any]:
    """Give one answer, its texts cut at 400 characters."""
    pair = None if predictions.pairs is None else clipped(predictions.pairs[row])
    answer = int(predictions.log_probs_RL[row].argmax())
    return {
        "id": predictions.ids[row],
        "origin": predictions.origins[row],
        "text": clipped(predictions.texts[row]),
        "pair": pair,
        "gold": predictions.labels[int(predictions.gold_R[row])],
        "answer": predictions.labels[answer],
        "baseline_answer": None,
        "probability": _probability(predictions, row, answer),
    }


def clipped(text: str) -> str:
    """Cut a text, and mark what is half of a surrogate pair and cannot be written."""
    text = text[: SHOWN_CHARACTERS + 1].encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def _probability(predictions: Predictions, row: int, answer: int) -> float:
    probability = float(np.exp(predictions.log_probs_RL[row, answer]))
    return round(
        min(probability, 1.0), 6
    )  # this order lets a NaN through to JSON, which refuses it


def write_entries(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line.

    Args:
        path: the file, `predictions.jsonl`; written whole or not at all.
        rows: of one part; see `entries`.

    Raises:
        FileError: the disk refused; what was at `path` is as it was.
    """
    with files.aside(path) as beside, beside.open("w", encoding="utf-8", newline="\n") as file:
        for entry in rows:
            file.write(json.dumps(entry, ensure_ascii=True, allow_nan=False) + "\n")


def entries(predictions: Predictions) -> Iterator[dict[str, Any]]:
    """Yield id, origin, text, pair (of pairs), gold, answer and probability of each row.

    Rows that could not be answered follow, with their origin and `failed`, the cause; a row
    whose gold is not known has `gold: null`.
    """
    answers: Sequence[int] = predictions.answer_R.tolist()
    for row, answer in enumerate(answers):
        gold = int(predictions.gold_R[row])
        entry: dict[str, Any] = {
            "id": predictions.ids[row],
            "origin": predictions.origins[row],
            "text": predictions.texts[row],
            "gold": predictions.labels[gold] if gold >= 0 else None,
            "answer": predictions.labels[answer],
            "probability": _probability(predictions, row, answer),
        }
        if predictions.pairs is not None:
            entry["pair"] = predictions.pairs[row]
        yield entry
    for origin, cause in predictions.failed.items():
        yield {"origin": origin, "failed": cause}
