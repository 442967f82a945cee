"""Entity scorers: spans found or missed, and tags that are right, as scorers of tagged texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tenon.evaluate import entities
from tenon.evaluate.scorers import SCORERS, Scorer
from tenon.evaluate.tagged import Tagged


def span_terms(answers: Tagged) -> Any:
    """Count the gold, answered and found spans of each type in each text."""
    return entities.terms([spans or () for spans in answers.gold], answers.spans)


def unit_terms(answers: Tagged) -> Any:
    """Count the units of each text whose tag is right, and those that have a gold tag."""
    tags_U = np.array([answers.labels.index(tag) for tags in answers.tags for tag in tags], int)
    known_U = answers.classes_U >= 0
    right_U = (tags_U == answers.classes_U) & known_U
    return sparse.csr_array(np.stack([_sums(answers, right_U), _sums(answers, known_U)], axis=1))


def loss_terms(answers: Tagged) -> Any:
    """Sum the nats of each text's gold tags, and count them."""
    known_U = answers.classes_U >= 0
    units_U = np.arange(len(known_U))
    nats_U = np.where(known_U, -answers.log_probs_UL[units_U, answers.classes_U], 0.0)
    return sparse.csr_array(np.stack([_sums(answers, nats_U), _sums(answers, known_U)], axis=1))


def _sums(answers: Tagged, values_U: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Sum values of units over each text."""
    running = np.concatenate([[0.0], values_U.astype(np.float64).cumsum()])
    return running[answers.first_R[1:]] - running[answers.first_R[:-1]]


for _scorer in (
    Scorer("entity_f1", "Entity F1", "higher", "percent", "bca", span_terms, entities.f1),
    Scorer(
        "entity_precision", "Entity precision", "higher", "percent", "bca", span_terms,
        entities.precision,
    ),
    Scorer(
        "entity_recall", "Entity recall", "higher", "percent", "bca", span_terms, entities.recall
    ),
    Scorer(
        "entity_macro_f1", "Macro-F1 of entity types", "higher", "percent", "bca", span_terms,
        entities.macro_f1,
    ),
    Scorer(
        "entity_lenient_f1", "Lenient entity F1", "higher", "percent", "bca", span_terms,
        entities.lenient_f1,
    ),
    Scorer(
        "tag_accuracy", "Tag accuracy", "higher", "percent", "bca", unit_terms,
        entities.token_accuracy,
    ),
    Scorer(
        "tag_log_loss", "Log-loss of a tag", "lower", "nats", "log", loss_terms,
        entities.token_accuracy,
    ),
):  # fmt: skip
    SCORERS.add(_scorer.name, _scorer)
