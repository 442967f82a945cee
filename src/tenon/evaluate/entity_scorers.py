"""Entity scorers: spans found or missed, and tags that are right, as scorers of tagged texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tenon.evaluate import entities
from tenon.evaluate.scorers import (
    CALIBRATION_BINS,
    SCORERS,
    Scorer,
    calibration_bins,
    gap_sum,
)
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


def brier_terms(answers: Tagged) -> Any:
    """Sum the squared distances of each text's tag probabilities from its gold, and count them."""
    known_U = answers.classes_U >= 0
    chances_UL = np.exp(answers.log_probs_UL.astype(np.float64))
    gold_U = chances_UL[np.arange(len(known_U)), answers.classes_U]
    distance_U = np.where(known_U, (chances_UL**2).sum(axis=1) - 2 * gold_U + 1, 0.0)
    return sparse.csr_array(np.stack([_sums(answers, distance_U), _sums(answers, known_U)], axis=1))


def gap_terms(answers: Tagged) -> Any:
    """Sum each text's gaps of confidence and hit in the bins of the tags, per tag of a mean text.

    A tag is the likeliest of its unit, whatever its neighbours are.
    """
    known_U = answers.classes_U >= 0
    confidence_U = np.exp(answers.log_probs_UL[known_U].astype(np.float64).max(axis=1))
    hit_U = answers.log_probs_UL[known_U].argmax(axis=1) == answers.classes_U[known_U]
    row_U = np.repeat(np.arange(len(answers)), np.diff(answers.first_R))[known_U]
    per_text = max(1, int(known_U.sum())) / max(1, len(answers))
    places = (row_U, calibration_bins(confidence_U))
    shape = (len(answers), CALIBRATION_BINS)
    return sparse.coo_array(((confidence_U - hit_U) / per_text, places), shape=shape).tocsr()


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
        "tag_brier", "Brier score of a tag", "lower", "plain", "bca", brier_terms,
        entities.token_accuracy,
    ),
    Scorer(
        "tag_calibration_error", "Calibration error of a tag", "lower", "percent", "inverted",
        gap_terms, gap_sum,
    ),
    Scorer(
        "tag_log_loss", "Log-loss of a tag", "lower", "nats", "log", loss_terms,
        entities.token_accuracy,
    ),
):  # fmt: skip
    SCORERS.add(_scorer.name, _scorer)
