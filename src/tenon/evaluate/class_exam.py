"""Class exam: texts, each of which has one of some labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tenon.evaluate import rows, tables
from tenon.evaluate.exam import EXAMS, Exam
from tenon.evaluate.predict import features, predict
from tenon.evaluate.prediction import Predictions
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


EXAMS.add(
    "text-classification",
    Exam(
        task="text-classification",
        scorers=("accuracy", "macro_f1", "mcc", "log_loss", "calibration_error"),
        dev=("accuracy", "macro_f1", "mcc", "log_loss"),
        frequent="majority",
        answer=predict,
        features=features,
        gold=lambda tokens: tokens.labels_R,
        names=None,
        kept=answered_rows,
        tables=list_classes,
        entries=rows.entries,
    ),
)
