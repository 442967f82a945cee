"""Label exam: texts, each of which has any number of some labels.

Legend: R rows, L labels, B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tenon.core.progress import Progress
from tenon.evaluate import label_probe, multilabel
from tenon.evaluate.class_exam import answered_rows, row_logits
from tenon.evaluate.exam import EXAMS, Exam
from tenon.evaluate.form import Constants, Form
from tenon.evaluate.labelled import Labelled
from tenon.evaluate.predict import NOT_FINITE, features, pooled_logits
from tenon.evaluate.reply import Labels
from tenon.evaluate.rows import SHOWN_ROWS, clipped
from tenon.evaluate.settings import EvaluateSettings
from tenon.evaluate.statistics import align
from tenon.model.classifier import Classifier
from tenon.text.tokens import Tokens

NONE = "(none)"


def answer(
    model: Classifier,
    tokens: Tokens,
    labels: Sequence[str],
    *,
    batch_tokens: int,
    progress: Progress | None = None,
) -> Labelled:
    """Answer every row; weights, mode and random state of the model stay as they are.

    Args:
        labels: the L label names, in the order of the head's scores.
        batch_tokens: real tokens computed at once.
    """
    logits_RL = pooled_logits(model, tokens, batch_tokens=batch_tokens, progress=progress)
    finite_R = np.isfinite(logits_RL).all(1)
    kept: list[int] = np.flatnonzero(finite_R).tolist()
    ids, origins, texts, pairs = (tokens.column(n) for n in ("id", "origin", "text", "pair"))
    paired = bool(pairs) and pairs[0] is not None
    found = Labelled(
        labels=tuple(labels),
        ids=[ids[row] for row in kept],
        origins=[origins[row] for row in kept],
        texts=[texts[row] for row in kept],
        pairs=[pairs[row] for row in kept] if paired else None,
        gold_RL=gold_of(tokens)[kept],
        log_probs_RL=link(logits_RL[kept], {}),
        thresholds=(multilabel.NEUTRAL,) * len(labels),
        failed={origins[row]: NOT_FINITE for row in np.flatnonzero(~finite_R)},
    )
    return found.decided(model.head.constants)


def gold_of(tokens: Tokens) -> npt.NDArray[np.int8]:
    """Give 1 for each label that a row has, int8 [R, L]; -1 in all where they are not known."""
    rows = [tokens.targets(row) for row in range(len(tokens))]
    return np.stack(rows).astype(np.int8) if rows else np.zeros((0, 1), np.int8)


def link(logits_RL: npt.NDArray[Any], constants: Constants) -> npt.NDArray[np.float32]:
    """Give the natural logarithm of each label's probability."""
    del constants
    return label_probe.log_sigmoid(logits_RL).astype(np.float32)


def thresholds(
    gold_RL: npt.NDArray[Any], log_probs_RL: npt.NDArray[Any], settings: EvaluateSettings
) -> dict[str, tuple[float, ...]]:
    """Choose the thresholds that give the best F1 on these rows."""
    known_R = gold_RL[:, 0] >= 0
    chances_RL = np.minimum(np.exp(log_probs_RL[known_R].astype(np.float64)), 1.0)
    each = settings.thresholds == "each"
    found_L = multilabel.tune(gold_RL[known_R] > 0, chances_RL, per_label=each)
    return {"thresholds": tuple(found_L.tolist())}


def tune(model: Classifier, answers: Labelled, settings: EvaluateSettings) -> Labelled:
    """Choose thresholds on the answers to dev, keep them in the head, and decide by them."""
    if answers.finite() and answers.known_R.any():
        found = thresholds(answers.gold_RL, answers.log_probs_RL, settings)
        model.head.constants = {**model.head.constants, **found}
    return answers.decided(model.head.constants)


def replies(answers: Labelled) -> list[Labels]:
    """Give the labels of each row, and the probability of every label."""
    return [
        Labels(tuple(answers.names(row)), dict(zip(answers.labels, chances, strict=True)))
        for row, chances in enumerate(answers.probabilities_RL.tolist())
    ]


def entries(answers: Labelled) -> Iterator[dict[str, Any]]:
    """Yield id, origin, text, pair, gold, answer and probabilities of each row; then the failed."""
    for row in range(len(answers)):
        entry: dict[str, Any] = {
            "id": answers.ids[row],
            "origin": answers.origins[row],
            "text": answers.texts[row],
            "gold": answers.gold_names(row) if answers.known_R[row] else None,
            "answer": answers.names(row),
            "probabilities": {
                label: round(chance, 6)
                for label, chance in zip(
                    answers.labels, answers.probabilities_RL[row].tolist(), strict=True
                )
            },
        }
        if answers.pairs is not None:
            entry["pair"] = answers.pairs[row]
        yield entry
    for origin, cause in answers.failed.items():
        yield {"origin": origin, "failed": cause}


def told(answers: Labelled) -> list[str]:
    """Say from which probability on labels are answered."""
    different = sorted(set(answers.thresholds))
    if len(different) == 1:
        return [f"a label is answered from a probability of {different[0]:.3g} on"]
    ends = f"{different[0]:.3g} to {different[-1]:.3g}"
    return [f"each label is answered from a probability of its own on, {ends}"]


def list_labels(known: Labelled, rival: Labelled | None, level: float) -> dict[str, Any]:
    """Give the scores of each label, and the rows won, lost and most wrong."""
    table = multilabel.per_label(known.labels, known.gold_RL > 0, known.answers_RL, level)
    named = dict(zip(known.labels, known.thresholds, strict=True))
    return {
        "per_class": [{**entry, "threshold": named[entry["label"]]} for entry in table],
        "surest_errors": _worst(known),
        **(_won_and_lost(known, rival) if rival else {}),
    }


def _misses(answers: Labelled) -> npt.NDArray[np.int64]:
    """Count the labels of each row that were missed or made up."""
    return ((answers.gold_RL > 0) != answers.answers_RL).sum(1)


def _worst(known: Labelled) -> dict[str, Any]:
    """Give the rows with most wrong labels, those that were surest first."""
    wrong_R = _misses(known)
    order = np.lexsort((-_sureness(known), -wrong_R))
    marked = [row for row in order.tolist() if wrong_R[row]]
    return {"count": len(marked), "rows": [_row(known, row) for row in marked[:SHOWN_ROWS]]}


def _sureness(answers: Labelled) -> npt.NDArray[np.float64]:
    """Give the probability of each row's answer as a whole."""
    chances_RL = answers.probabilities_RL
    return np.where(answers.answers_RL, chances_RL, 1 - chances_RL).prod(1)


def _won_and_lost(known: Labelled, rival: Labelled) -> dict[str, Any]:
    """Give the rows in which one of two systems has more labels right than the other."""
    known, rival = align(known, rival)
    gains_R = _misses(rival) - _misses(known)
    found: dict[str, Any] = {}
    for name, sign in (("won", 1), ("lost", -1)):
        marked: list[int] = np.flatnonzero(sign * gains_R > 0).tolist()
        chosen = sorted(marked, key=lambda row: -sign * gains_R[row])[:SHOWN_ROWS]
        rows = [{**_row(known, row), "baseline_answer": _said(rival.names(row))} for row in chosen]
        found[name] = {"count": len(marked), "rows": rows}
    return found


def _row(answers: Labelled, row: int) -> Mapping[str, Any]:
    """Give one answer, its texts cut at 400 characters."""
    return {
        "id": answers.ids[row],
        "origin": answers.origins[row],
        "text": clipped(answers.texts[row]),
        "pair": None if answers.pairs is None else clipped(answers.pairs[row]),
        "gold": _said(answers.gold_names(row)),
        "answer": _said(answers.names(row)),
        "baseline_answer": None,
        "probability": round(float(_sureness(answers.take(np.array([row])))[0]), 6),
    }


def _said(names: Sequence[str]) -> str:
    return ", ".join(names) or NONE


LABELS = Form(
    known=lambda gold_RL: gold_RL[:, 0] >= 0,
    count=lambda gold_RL, _labels, _names: label_probe.frequencies(gold_RL),
    fit=label_probe.fit,
    link=link,
    choose=thresholds,
    apply=Labelled.decided,
)

EXAMS.add(
    "multi-label-classification",
    Exam(
        task="multi-label-classification",
        answer=answer,
        features=features,
        gold=gold_of,
        names=None,
        kept=answered_rows,
        logits=row_logits,
        replies=replies,
        tables=list_labels,
        entries=entries,
        told=told,
        form=LABELS,
        tune=tune,
        kinds=lambda answers: [answers.gold_names(row) for row in range(len(answers))],
    ),
)
