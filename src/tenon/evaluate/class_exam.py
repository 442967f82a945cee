"""Class exam: texts, each of which has one of some labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tenon.evaluate import rows, tables
from tenon.evaluate.exam import EXAMS, Exam
from tenon.evaluate.predict import features, predict
from tenon.evaluate.prediction import Predictions
from tenon.evaluate.reply import Answer
from tenon.model.classifier import Classifier
from tenon.text.batch import of_ids
from tenon.text.render import Rendered
from tenon.text.tokens import Tokens


def list_classes(known: Predictions, rival: Predictions | None, level: float) -> dict[str, Any]:
    """Give per-class scores, confusion, calibration, and the rows won, lost and surest wrong."""
    return {
        "per_class": tables.per_class(known, level),
        "confusion": tables.confusion(known),
        "calibration": tables.calibration(known, level),
        "surest_errors": rows.surest_errors(known),
        **(rows.won_and_lost(known, rival) if rival else {}),
    }


def answered_rows(tokens: Tokens, answers: Predictions) -> npt.NDArray[np.bool_]:
    """Say which rows were answered, [R]."""
    origins = tokens.column("origin")
    return np.array([origin not in answers.failed for origin in origins], np.bool_)


def row_logits(model: Classifier, rows: Rendered) -> Tensor:
    """Give the class scores of each row, [B, L]."""
    return model.logits_BL(of_ids(rows.ids, rows.types))


def replies(answers: Predictions) -> list[Answer]:
    """Give the likeliest label of each row, and the probability of every label."""
    found: list[Answer] = []
    for log_probs_L in answers.log_probs_RL:
        probabilities: list[float] = torch.as_tensor(log_probs_L).exp().tolist()
        named = dict(zip(answers.labels, probabilities, strict=True))
        label = max(named, key=named.__getitem__)
        found.append(Answer(label, named[label], named))
    return found


EXAMS.add(
    "text-classification",
    Exam(
        task="text-classification",
        answer=predict,
        features=features,
        gold=lambda tokens: tokens.labels_R,
        names=None,
        kept=answered_rows,
        logits=row_logits,
        replies=replies,
        tables=list_classes,
        entries=rows.entries,
        kinds=lambda answers: [(answers.labels[gold],) for gold in answers.gold_R.tolist()],
    ),
)
