"""Answer scorers: exact match and F1 of answers, as the official scripts give them."""

from __future__ import annotations

from typing import Any

from scipy import sparse

from tenon.evaluate import reading
from tenon.evaluate.answer_spans import Extracts
from tenon.evaluate.scorers import SCORERS, Scorer


def terms(answers: Extracts) -> Any:
    """Give what each answer is worth, sparse [R, 5]; see `tenon.evaluate.reading`."""
    return sparse.csr_array(answers.judged_RK)


def exact_terms(answers: Extracts) -> Any:
    """Say which answers are exact, sparse [R, 1]."""
    return sparse.csr_array(answers.judged_RK[:, :1])


for _scorer in (
    Scorer("answer_f1", "Answer F1", "higher", "percent", "bca", terms, reading.f1),
    Scorer(
        "answer_exact", "Exact match", "higher", "percent", "wilson", exact_terms, reading.exact
    ),
):
    SCORERS.add(_scorer.name, _scorer)
