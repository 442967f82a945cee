"""Tag exam: texts in which stretches have labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenon.data.gold import Span
from tenon.evaluate import entities
from tenon.evaluate.exam import EXAMS, Exam
from tenon.evaluate.reply import Found, Spans
from tenon.evaluate.rows import SHOWN_ROWS, clipped
from tenon.evaluate.statistics import align
from tenon.evaluate.tag import answered_units, tag, unit_classes, unit_features, unit_names
from tenon.evaluate.tagged import Tagged
from tenon.model.tagger import Tagger
from tenon.text.batch import of_ids
from tenon.text.render import Rendered

SAMPLE_ROWS = 20


def list_entities(known: Tagged, rival: Tagged | None, level: float) -> dict[str, Any]:
    """Give the scores of each type, a seeded sample, and the texts won, lost and most wrong."""
    gold = [spans or () for spans in known.gold]
    return {
        "per_class": entities.per_type(gold, known.spans, level),
        "sample": _sample(known),
        "surest_errors": _worst(known),
        **(_won_and_lost(known, rival) if rival else {}),
    }


def entries(answers: Tagged) -> Iterator[dict[str, Any]]:
    """Yield id, origin, text, gold and found spans of each text, then of each that failed."""
    for row, spans in enumerate(answers.spans):
        gold = answers.gold[row]
        yield {
            "id": answers.ids[row],
            "origin": answers.origins[row],
            "text": answers.texts[row],
            "gold": None if gold is None else [_span(answers, row, span) for span in gold],
            "answer": [
                {
                    **_span(answers, row, span),
                    "probability": round(answers.probability(row, span), 6),
                }
                for span in spans
            ],
        }
    for origin, cause in answers.failed.items():
        yield {"origin": origin, "failed": cause}


def _span(answers: Tagged, row: int, span: Span) -> dict[str, Any]:
    text = answers.texts[row][span.start : span.end]
    return {"start": span.start, "end": span.end, "label": span.label, "text": text}


def _misses(answers: Tagged, row: int) -> int:
    """Count the spans of a text that were missed, or found where none is."""
    return len(set(answers.gold[row] or ()) ^ set(answers.spans[row]))


def _shown(answers: Tagged, rows: list[int], rival: Tagged | None = None) -> list[dict[str, Any]]:
    """Give some texts with their gold and found spans."""
    return [
        {
            "id": answers.ids[row],
            "origin": answers.origins[row],
            "text": clipped(answers.texts[row]),
            "gold": [_span(answers, row, span) for span in answers.gold[row] or ()],
            "answer": [_span(answers, row, span) for span in answers.spans[row]],
            "baseline_answer": None
            if rival is None
            else [_span(rival, row, span) for span in rival.spans[row]],
        }
        for row in rows
    ]


def _sample(known: Tagged) -> dict[str, Any]:
    """Draw texts at random, by their ids alone, so that every run shows the same."""
    order = sorted(range(len(known)), key=lambda row: known.ids[row])
    return {"count": len(known), "rows": _shown(known, order[:SAMPLE_ROWS])}


def _worst(known: Tagged) -> dict[str, Any]:
    wrong = {row: _misses(known, row) for row in range(len(known))}
    marked = [row for row, count in wrong.items() if count]
    chosen = sorted(marked, key=lambda row: -wrong[row])[:SHOWN_ROWS]
    return {"count": len(marked), "rows": _shown(known, chosen)}


def _won_and_lost(known: Tagged, rival: Tagged) -> dict[str, Any]:
    """Give the texts that one of two systems has nearer to the gold than the other."""
    known, rival = align(known, rival)
    gains = np.array([_misses(rival, row) - _misses(known, row) for row in range(len(known))])
    found: dict[str, Any] = {}
    for name, sign in (("won", 1), ("lost", -1)):
        marked: list[int] = np.flatnonzero(sign * gains > 0).tolist()
        chosen = sorted(marked, key=lambda row: -sign * gains[row])[:SHOWN_ROWS]
        found[name] = {"count": len(marked), "rows": _shown(known, chosen, rival)}
    return found


def mean_logits(model: Tagger, rows: Rendered) -> Tensor:
    """Give the mean tag scores of each text's units, [B, L]."""
    starts = [start for row in rows.starts or [] for start in row]
    chosen_T = torch.tensor(starts) >= 0
    logits_UL = model.logits_UL(of_ids(rows.ids, rows.types), chosen_T)
    of_tokens = [place for place, ids in zip(rows.example, rows.ids, strict=True) for _ in ids]
    text_U = torch.tensor(of_tokens)[chosen_T].to(logits_UL.device)
    count = max(rows.example) + 1
    sums_BL = logits_UL.new_zeros(count, logits_UL.shape[1]).index_add(0, text_U, logits_UL)
    units_B = torch.bincount(text_U, minlength=count).clamp_min(1)
    return sums_BL / units_B[:, None]


def replies(answers: Tagged) -> list[Spans]:
    """Give the spans of each text."""
    return [
        Spans(answers.texts[row], tuple(_found(answers, row, span) for span in spans))
        for row, spans in enumerate(answers.spans)
    ]


def _found(answers: Tagged, row: int, span: Span) -> Found:
    text = answers.texts[row][span.start : span.end]
    return Found(span.start, span.end, span.label, text, answers.probability(row, span))


EXAMS.add(
    "token-classification",
    Exam(
        task="token-classification",
        answer=tag,
        features=unit_features,
        gold=unit_classes,
        names=unit_names,
        kept=answered_units,
        logits=mean_logits,
        replies=replies,
        tables=list_entities,
        entries=entries,
        kinds=lambda answers: [sorted({span.label for span in gold}) for gold in answers.gold],
    ),
)
