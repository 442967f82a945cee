"""Answer exam: questions whose answers stand in a context, or nowhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenon.data.findings import said
from tenon.data.gold import NOWHERE, Place
from tenon.data.question_answering import NO_ANSWER
from tenon.evaluate.answer import answered_tokens, read, token_classes, token_features
from tenon.evaluate.answer_leaning import tune
from tenon.evaluate.answer_overlap import overlapping, silent
from tenon.evaluate.answer_probe import fit, probed
from tenon.evaluate.answer_spans import Candidate, Extracts
from tenon.evaluate.clusters import Grouping
from tenon.evaluate.exam import EXAMS, Exam
from tenon.evaluate.form import CLASSES
from tenon.evaluate.reply import Extract, Extracted
from tenon.evaluate.rows import SHOWN_ROWS
from tenon.evaluate.shares import wilson
from tenon.evaluate.statistics import align
from tenon.model.reader import Reader
from tenon.text.batch import of_ids
from tenon.text.render import Rendered

SAMPLE_ROWS = 20
AROUND = 160
"""Characters of the context that are shown on each side of an answer."""
MARK = "answer"
SCRIPTS: Mapping[str, str] = {
    "squad_1.1": "SQuAD 1.1: words, without case, punctuation and articles",
    "squad_2.0": "SQuAD 2.0: words, without case, punctuation and articles; or rightly no answer",
    "cmrc_2018": "CMRC 2018: Chinese characters and words of other scripts, without punctuation",
}
"""By whose rules answers are scored."""


def list_answers(known: Extracts, rival: Extracts | None, level: float) -> dict[str, Any]:
    """Give the scores of each sort of question, a seeded sample, and the rows won, lost, wrong."""
    return {
        "per_class": _sorts(known, level),
        "sample": _sample(known),
        "surest_errors": _surest(known),
        **(_won_and_lost(known, rival) if rival else {}),
    }


def entries(answers: Extracts) -> Iterator[dict[str, Any]]:
    """Yield id, origin, question, gold, answer and the next best ones; then those that failed."""
    for row, listed in enumerate(answers.listed):
        gold = answers.gold[row]
        yield {
            "id": answers.ids[row],
            "origin": answers.origins[row],
            "question": answers.questions[row],
            "gold": None if gold is None else [{"text": g.text, "start": g.start} for g in gold],
            "answer": answers.texts[row],
            **_written(listed[0]),
            "others": [
                {"answer": answers.text(row, other), **_written(other)} for other in listed[1:]
            ],
        }
    for origin, cause in answers.failed.items():
        yield {"origin": origin, "failed": cause}


def _written(candidate: Candidate) -> dict[str, Any]:
    nowhere = candidate.start < 0
    return {
        "start": None if nowhere else candidate.start,
        "end": None if nowhere else candidate.end,
        "probability": round(_probability(candidate), 6),
    }


def _probability(candidate: Candidate) -> float:
    return float(min(1.0, np.exp(candidate.score)))


def replies(answers: Extracts) -> list[Extracted]:
    """Give the best answer to each question, and the next best ones."""
    found: list[Extracted] = []
    for row, listed in enumerate(answers.listed):
        several = tuple(_reply(answers, row, candidate) for candidate in listed)
        best = several[0]
        found.append(
            Extracted(
                question=answers.questions[row],
                context=answers.contexts[row],
                answer=best.answer,
                start=best.start,
                end=best.end,
                probability=best.probability,
                others=several[1:],
            )
        )
    return found


def _reply(answers: Extracts, row: int, candidate: Candidate) -> Extract:
    start, end = (None, None) if candidate.start < 0 else (candidate.start, candidate.end)
    return Extract(answers.text(row, candidate), start, end, _probability(candidate))


def _sorts(known: Extracts, level: float) -> list[dict[str, Any]]:
    """Give what questions with an answer are worth, and those without."""
    has = known.judged_RK[:, 2] > 0
    found: list[dict[str, Any]] = []
    for name, rows in (("has an answer", has), (NO_ANSWER, ~has)):
        if count := int(rows.sum()):
            exact = float(known.judged_RK[rows, 0].sum())
            low, high = wilson(round(exact), count, level)
            share = {"value": exact / count, "low": low, "high": high, "n": count}
            f1 = float(known.judged_RK[rows, 1].mean())
            found.append({"label": name, "rows": count, "exact": share, "f1": f1})
    return found


def _sample(known: Extracts) -> dict[str, Any]:
    """Draw questions at random, by their ids alone, so that every run shows the same."""
    order = sorted(range(len(known)), key=lambda row: known.ids[row])
    return {"count": len(known), "rows": _shown(known, order[:SAMPLE_ROWS])}


def _surest(known: Extracts) -> dict[str, Any]:
    """Give the answers without a word of the gold's that have the highest probability."""
    wrong: list[int] = np.flatnonzero(known.judged_RK[:, 1] == 0).tolist()
    chosen = sorted(wrong, key=lambda row: -known.listed[row][0].score)[:SHOWN_ROWS]
    return {"count": len(wrong), "rows": _shown(known, chosen)}


def _won_and_lost(known: Extracts, rival: Extracts) -> dict[str, Any]:
    """Give the questions that one of two systems has nearer to the gold than the other."""
    known, rival = align(known, rival)
    gains = known.judged_RK[:, 1] - rival.judged_RK[:, 1]
    found: dict[str, Any] = {}
    for name, sign in (("won", 1), ("lost", -1)):
        marked: list[int] = np.flatnonzero(sign * gains > 0).tolist()
        chosen = sorted(marked, key=lambda row: -sign * gains[row])[:SHOWN_ROWS]
        found[name] = {"count": len(marked), "rows": _shown(known, chosen, rival)}
    return found


def _shown(
    answers: Extracts, rows: Sequence[int], rival: Extracts | None = None
) -> list[dict[str, Any]]:
    """Give some questions with the answers marked in their contexts."""
    return [
        {
            "id": answers.ids[row],
            "origin": answers.origins[row],
            "question": readable(answers.questions[row]),
            "gold": _view(answers.contexts[row], _golds(answers, row)),
            "answer": _view(answers.contexts[row], _best(answers, row)),
            "baseline_answer": None
            if rival is None
            else _view(rival.contexts[row], _best(rival, row)),
            "f1": round(float(answers.judged_RK[row, 1]), 4),
            "baseline_f1": None if rival is None else round(float(rival.judged_RK[row, 1]), 4),
        }
        for row in rows
    ]


def _golds(answers: Extracts, row: int) -> list[Place]:
    """Give the places of a question's answers, each once, none overlapping one before."""
    places: list[Place] = []
    placed = [gold for gold in answers.gold[row] or () if gold.start != NOWHERE]
    for start, text in dict.fromkeys((gold.start, gold.text) for gold in placed):
        end = start + len(text)
        if all(end <= first or last <= start for first, last in places):
            places.append((start, end))
    return sorted(places)


def _best(answers: Extracts, row: int) -> list[Place]:
    best = answers.listed[row][0]
    return [] if best.start < 0 else [(best.start, best.end)]


def _view(context: str, places: Sequence[Place]) -> dict[str, Any]:
    """Cut out what stands around the first of some places, and mark those that lie in it."""
    if not places:
        return {"text": "", "spans": []}
    first = max(0, places[0][0] - AROUND)
    last = min(len(context), max(places[0][1], places[0][0] + AROUND) + AROUND)
    before, after = "…" if first else "", "…" if last < len(context) else ""
    shift = len(before) - first
    spans = [
        {"start": start + shift, "end": min(end, last) + shift, "label": MARK}
        for start, end in places
        if first <= start < last
    ]
    return {"text": f"{before}{readable(context[first:last])}{after}", "spans": spans}


def readable(text: str) -> str:
    """Mark what is half of a surrogate pair and cannot be written."""
    return text.encode("utf-8", "replace").decode("utf-8")


def told(answers: Extracts) -> list[str]:
    """Say by whose rules answers are scored, and which questions cannot be answered rightly."""
    notes = [f"answers are scored by the rules of {SCRIPTS[answers.script]}"]
    bare = sum(gold == () for gold in answers.gold)
    if bare and NO_ANSWER not in answers.labels:
        never = "train has none such, and the adapter always gives an answer"
        notes.append(said(bare, "question", f"have no answer; {never}"))
    return notes


def rivals(answers: Extracts) -> dict[str, Extracts]:
    """Give the answers of baselines that need no fitting."""
    found = {"question_overlap": overlapping(answers)}
    if NO_ANSWER in answers.labels:
        found["always_no_answer"] = silent(answers)
    return found


def contexts_of(answers: Extracts) -> Grouping:
    """Say which questions are about the same context: who misreads it misses all of them."""
    return Grouping("contexts", dict(zip(answers.origins, answers.contexts, strict=True)))


def mean_scores(model: Reader, rows: Rendered) -> Tensor:
    """Give the head's mean scores of each example's tokens, [B, L]."""
    logits_TL = model.logits_TL(of_ids(rows.ids, rows.types))
    of_tokens = [place for place, ids in zip(rows.example, rows.ids, strict=True) for _ in ids]
    example_T = torch.tensor(of_tokens, device=logits_TL.device)
    count = max(rows.example) + 1
    sums_BL = logits_TL.new_zeros(count, logits_TL.shape[1]).index_add(0, example_T, logits_TL)
    return sums_BL / torch.bincount(example_T, minlength=count).clamp_min(1)[:, None]


EXAMS.add(
    "question-answering",
    Exam(
        task="question-answering",
        answer=read,
        features=token_features,
        gold=token_classes,
        names=None,
        kept=answered_tokens,
        logits=mean_scores,
        replies=replies,
        tables=list_answers,
        entries=entries,
        form=replace(CLASSES, apply=Extracts.decided),
        tune=tune,
        fit=fit,
        probed=probed,
        simple=rivals,
        told=told,
        paired=True,
        together=contexts_of,
        kinds=lambda answers: [("with an answer" if gold else NO_ANSWER,) for gold in answers.gold],
        shown=lambda answers: answers.contexts,
    ),
)
