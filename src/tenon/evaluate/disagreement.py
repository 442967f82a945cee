"""Disagreement: the rows in which systems differ, by what their answers are worth.

R rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tenon.evaluate import overlap
from tenon.evaluate import reading as questions
from tenon.evaluate.answer_spans import script_of
from tenon.evaluate.rows import SHOWN_ROWS, clipped
from tenon.evaluate.settings import BY_TASK

Doubles = npt.NDArray[np.float64]
Entries = Sequence[Mapping[str, Any]]


def worths(task: str, entries: Entries) -> Doubles:
    """Say of each answer what it is worth: 1 for a right one; of numbers, minus its error, [R].

    Args:
        task: as the hub names it.
        entries: of `predictions.jsonl`, all with a gold.
    """
    if BY_TASK[task].writes:
        return _written(entries)
    if task == "question-answering":
        return _extracted(entries)
    one = {
        "text-regression": lambda gold, answer: -abs(gold - answer),
        "token-classification": _spans,
        "multi-label-classification": lambda gold, answer: _common(set(gold), set(answer)),
    }.get(task, lambda gold, answer: float(gold == answer))
    return np.array([one(entry["gold"], entry["answer"]) for entry in entries], np.float64)


def _spans(gold: Entries, answer: Entries) -> float:
    """Give the F1 of a text's spans."""
    right, found = (
        {(span["start"], span["end"], span["label"]) for span in spans} for spans in (gold, answer)
    )
    return _common(right, found)


def _common(right: set[Any], found: set[Any]) -> float:
    """Give the F1 of two sets; of two empty ones it is 1."""
    total = len(right) + len(found)
    return 2 * len(right & found) / total if total else 1.0


def _extracted(entries: Entries) -> Doubles:
    golds = [[str(gold["text"]) for gold in entry["gold"]] for entry in entries]
    texts = [text for gold in golds for text in gold]
    script = "cmrc_2018" if script_of(texts, [None]) == "cmrc_2018" else "squad_2.0"
    answers = [str(entry["answer"] or "") for entry in entries]
    return np.asarray(questions.terms(golds, answers, script).toarray()[:, 1], np.float64)


def _written(entries: Entries) -> Doubles:
    """Give the chrF of each answer; of a row that was not answered, nothing is known."""
    found_R = np.full(len(entries), np.nan)
    answered = [at for at, entry in enumerate(entries) if entry["answer"] is not None]
    golds = [
        [gold] if isinstance(gold := entries[at]["gold"], str) else list(gold) for at in answered
    ]
    if answered:
        terms_RK = overlap.chrf_terms(golds, [entries[at]["answer"] for at in answered])
        found_R[answered] = overlap.chrf(terms_RK.toarray(), len(answered))
    return found_R


def disagreement(
    names: Sequence[str], answers: Sequence[Entries], worth: Sequence[Doubles]
) -> dict[str, Any]:
    """Give the rows in which the systems' answers are not worth the same.

    Args:
        names: of the systems.
        answers: entries of each, for the same rows.
        worth: of each entry, see `worths`.

    Returns:
        `count` and `rows`: at most 50, those that differ most first.
    """
    worth_SR = np.stack(list(worth))
    known_R = ~np.isnan(worth_SR).any(0)
    spread_R = np.where(known_R, worth_SR.max(0) - worth_SR.min(0), 0.0)
    first = answers[0]
    marked: list[int] = np.flatnonzero(spread_R > 0).tolist()
    marked.sort(key=lambda row: (-round(float(spread_R[row]), 9), str(first[row]["id"])))
    rows = [_row(names, [each[row] for each in answers]) for row in marked[:SHOWN_ROWS]]
    return {"count": len(marked), "rows": rows}


def _row(names: Sequence[str], entries: Entries) -> dict[str, Any]:
    first = entries[0]
    return {
        "id": first["id"],
        "origin": first["origin"],
        "text": clipped(str(first.get("question", first.get("text", "")))),
        "pair": None if first.get("pair") is None else clipped(str(first["pair"])),
        "gold": _short(first["gold"]),
        "answers": {
            name: _short(entry["answer"]) for name, entry in zip(names, entries, strict=True)
        },
    }


def _short(value: Any) -> Any:
    """Cut what was written; of spans, keep what places and names them."""
    if isinstance(value, str):
        return clipped(value)
    if isinstance(value, list):
        return [
            {key: each[key] for key in ("start", "end", "label", "text") if key in each}
            if isinstance(each, dict)
            else _short(each)
            for each in value
        ]
    return value
