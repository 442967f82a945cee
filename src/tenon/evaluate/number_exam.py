"""Number exam: texts, each of which has a number.

Legend: R rows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tenon.core.progress import Progress
from tenon.evaluate import number_probe
from tenon.evaluate.class_exam import answered_rows, row_logits
from tenon.evaluate.exam import EXAMS, Exam
from tenon.evaluate.form import Constants, Form
from tenon.evaluate.numbered import Doubles, Numbered
from tenon.evaluate.predict import NOT_FINITE, features, pooled_logits
from tenon.evaluate.reply import Number
from tenon.evaluate.rows import SHOWN_ROWS, clipped
from tenon.evaluate.statistics import align
from tenon.model.classifier import Classifier
from tenon.text.tokens import Tokens

MOST_POINTS = 1_500
"""Drawn in a scatter plot; of more rows, those with the smallest ids, which is at random."""


def answer(
    model: Classifier,
    tokens: Tokens,
    labels: Sequence[str],
    *,
    batch_tokens: int,
    progress: Progress | None = None,
) -> Numbered:
    """Answer every row; weights, mode and random state of the model stay as they are.

    Args:
        labels: the one name of the number.
        batch_tokens: real tokens computed at once.
    """
    del labels
    logits_R1 = pooled_logits(model, tokens, batch_tokens=batch_tokens, progress=progress)
    answer_R = link(logits_R1, model.head.constants)[:, 0]
    finite_R = np.isfinite(answer_R)
    kept: list[int] = np.flatnonzero(finite_R).tolist()
    ids, origins, texts, pairs = (tokens.column(n) for n in ("id", "origin", "text", "pair"))
    paired = bool(pairs) and pairs[0] is not None
    return Numbered(
        ids=[ids[row] for row in kept],
        origins=[origins[row] for row in kept],
        texts=[texts[row] for row in kept],
        pairs=[pairs[row] for row in kept] if paired else None,
        gold_R=gold_of(tokens)[kept],
        answer_R=answer_R[kept],
        failed={origins[row]: NOT_FINITE for row in np.flatnonzero(~finite_R)},
    )


def gold_of(tokens: Tokens) -> Doubles:
    """Give the number of each row as the file has it; NaN without one."""
    found = [math.nan if gold is None else json.loads(gold) for gold in tokens.column("gold")]
    return np.array(found, np.float64)


def link(logits_R1: npt.NDArray[Any], constants: Constants) -> Doubles:
    """Give the numbers of standardised scores, [R, 1]."""
    (mean,), (spread,) = constants["mean"], constants["spread"]
    return logits_R1.astype(np.float64) * spread + mean


def observe(gold_R: Doubles) -> Constants:
    """Give mean and spread of train's numbers, by which they are standardised."""
    mean, spread = number_probe.spread_of(gold_R)
    return {"mean": (mean,), "spread": (spread,)}


def replies(answers: Numbered) -> list[Number]:
    """Give the number of each row."""
    return [Number(number) for number in answers.answer_R.tolist()]


def entries(answers: Numbered) -> Iterator[dict[str, Any]]:
    """Yield id, origin, text, pair, gold and answer of each row; then each that failed."""
    for row, number in enumerate(answers.answer_R.tolist()):
        entry: dict[str, Any] = {
            "id": answers.ids[row],
            "origin": answers.origins[row],
            "text": answers.texts[row],
            "gold": float(answers.gold_R[row]) if answers.known_R[row] else None,
            "answer": float(f"{number:.9g}"),
        }
        if answers.pairs is not None:
            entry["pair"] = answers.pairs[row]
        yield entry
    for origin, cause in answers.failed.items():
        yield {"origin": origin, "failed": cause}


def list_numbers(known: Numbered, rival: Numbered | None, level: float) -> dict[str, Any]:
    """Give gold and answer of rows to draw, and the rows with the largest errors."""
    del level
    order = sorted(range(len(known)), key=lambda row: known.ids[row])[:MOST_POINTS]
    points = [[float(known.gold_R[row]), float(known.answer_R[row])] for row in order]
    if rival is not None:
        known, rival = align(known, rival)
    error_R = np.abs(known.answer_R - known.gold_R)
    worst = np.argsort(-error_R, kind="stable")[:SHOWN_ROWS].tolist()
    rows = [_row(known, row, rival) for row in worst if error_R[row]]
    return {
        "scatter": {"points": points, "rows": len(known)},
        "surest_errors": {"count": int((error_R > 0).sum()), "rows": rows},
    }


def _row(answers: Numbered, row: int, rival: Numbered | None) -> dict[str, Any]:
    """Give one answer, its texts cut at 400 characters."""
    return {
        "id": answers.ids[row],
        "origin": answers.origins[row],
        "text": clipped(answers.texts[row]),
        "pair": None if answers.pairs is None else clipped(answers.pairs[row]),
        "gold": f"{answers.gold_R[row]:.6g}",
        "answer": f"{answers.answer_R[row]:.4g}",
        "baseline_answer": None if rival is None else f"{rival.answer_R[row]:.4g}",
        "probability": None,
    }


NUMBERS = Form(
    known=np.isfinite,
    count=lambda gold_R, _labels, _names: number_probe.mean_of(gold_R),
    fit=number_probe.fit,
    link=link,  # type: ignore[arg-type] - numbers are in float64
    observe=observe,
)

EXAMS.add(
    "text-regression",
    Exam(
        task="text-regression",
        answer=answer,
        features=features,
        gold=gold_of,
        names=None,
        kept=answered_rows,
        logits=row_logits,
        replies=replies,
        tables=list_numbers,
        entries=entries,
        form=NUMBERS,
    ),
)
