"""Form scorers: labels that are right or missed, and numbers that are near, as scorers."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from tenon.evaluate import multilabel, regression
from tenon.evaluate.labelled import Labelled
from tenon.evaluate.multilabel import Doubles
from tenon.evaluate.numbered import Numbered
from tenon.evaluate.scorers import SCORERS, Scorer


def label_terms(answers: Labelled) -> Any:
    """Mark whether a row is all right, and gold, answer and hit of each label."""
    return multilabel.terms(answers.gold_RL > 0, answers.answers_RL)


def ranking_terms(answers: Labelled) -> Any:
    """Give each row's label ranking average precision."""
    return multilabel.ranking_terms(answers.gold_RL > 0, answers.probabilities_RL)


def loss_terms(answers: Labelled) -> Any:
    """Give the nats of each row's labels, those that it has and those that it has not, summed."""
    chances_RL = answers.log_probs_RL.astype(np.float64)
    # Of a probability that rounds to 1, what float32 leaves of the rest.
    rest_RL = np.log(np.maximum(-np.expm1(np.minimum(chances_RL, -1e-12)), 1e-12))
    nats_R = -np.where(answers.gold_RL > 0, chances_RL, rest_RL).sum(1)
    return sparse.csr_array(nats_R[:, None])


def mean(sums_SK: Doubles, rows: int) -> Doubles:
    """Give the mean of the rows' first term, [S]."""
    return sums_SK[:, 0] / rows


def number_terms(answers: Numbered) -> Any:
    """Give the products of gold and answer, and their gaps."""
    return regression.terms(answers.gold_R, answers.answer_R)


def rank_terms(answers: Numbered) -> Any:
    """Give the products of the ranks of gold and answer."""
    return regression.rank_terms(answers.gold_R, answers.answer_R)


for _scorer in (
    Scorer(
        "label_micro_f1", "Micro-F1 of labels", "higher", "percent", "bca", label_terms,
        multilabel.micro_f1,
    ),
    Scorer(
        "label_macro_f1", "Macro-F1 of labels", "higher", "percent", "bca", label_terms,
        multilabel.macro_f1,
    ),
    Scorer(
        "subset_accuracy", "Rows with all labels right", "higher", "percent", "wilson", label_terms,
        multilabel.subset_accuracy,
    ),
    Scorer(
        "ranking_precision", "Label ranking precision", "higher", "percent", "bca", ranking_terms,
        multilabel.ranking_precision,
    ),
    Scorer("label_log_loss", "Log-loss of labels", "lower", "nats", "log", loss_terms, mean),
    Scorer("pearson", "Pearson correlation", "higher", "plain", "bca", number_terms,
           regression.pearson),
    Scorer("spearman", "Spearman correlation", "higher", "plain", "bca", rank_terms,
           regression.pearson),
    Scorer("mae", "Mean absolute error", "lower", "plain", "log", number_terms,
           regression.mean_absolute_error),
    Scorer("rmse", "Root mean square error", "lower", "plain", "log", number_terms,
           regression.root_mean_square_error),
):  # fmt: skip
    SCORERS.add(_scorer.name, _scorer)
