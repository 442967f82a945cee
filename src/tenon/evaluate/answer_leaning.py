"""Leaning: how readily no answer is given, chosen on questions whose answers are known.

Legend: R questions.
"""

from __future__ import annotations

import numpy as np

from tenon.data.question_answering import NO_ANSWER
from tenon.evaluate.answer_spans import LEANING, Extracts
from tenon.evaluate.settings import EvaluateSettings
from tenon.model.reader import Reader

LEAST_GAIN = 1e-9


def tune(model: Reader, answers: Extracts, how: EvaluateSettings) -> Extracts:
    """Choose by the answers to dev how much the head leans to no answer, and answer so."""
    del how
    if NO_ANSWER not in answers.labels:
        return answers
    model.head.constants = {**model.head.constants, LEANING: (best_leaning(answers),)}
    return answers.decided(model.head.constants)


def best_leaning(answers: Extracts) -> float:
    """Give what must be added to the score of no answer for the best F1 on these questions.

    Of numbers that are equally good it is the one nearest to 0; of those between two scores, the
    middle.

    Source: as the official script of SQuAD 2.0 finds its best threshold for F1.
    """
    known = answers.take(np.flatnonzero(answers.known_R))
    spoken = [spans[0] for spans, _ in known.found if spans]
    rows = known.take(np.array([row for row, (spans, _) in enumerate(known.found) if spans], int))
    if not spoken:
        return 0.0
    silent = [empty for spans, empty in known.found if spans]
    gain_R = rows.answered(silent).judged_RK[:, 1] - rows.answered(spoken).judged_RK[:, 1]
    lead_R = np.array(
        [span.score - empty.score for span, empty in zip(spoken, silent, strict=True)]
    )
    order = np.argsort(lead_R, kind="stable")
    # The first n questions in this order are left without an answer.
    total = np.concatenate([[0.0], gain_R[order].cumsum()])
    edges = np.concatenate([[lead_R.min() - 1.0], lead_R[order], [lead_R.max() + 1.0]])
    total[edges[1:] == edges[:-1]] = -np.inf
    middles = (edges[1:] + edges[:-1]) / 2
    best = middles[total >= total.max() - LEAST_GAIN]
    return float(best[np.abs(best).argmin()])
