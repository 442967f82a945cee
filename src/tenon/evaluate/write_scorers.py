"""Write scorers: how likely the base finds what it should write, and how near it comes to it."""

from __future__ import annotations

from typing import Any

from tenon.evaluate import likelihood, overlap
from tenon.evaluate.extractors import extractor
from tenon.evaluate.scorers import SCORERS, Scorer
from tenon.evaluate.written import Written, said, weighed


def token_terms(answers: Written) -> Any:
    """Put loss and tokens of each row side by side."""
    return likelihood.token_terms(answers.nats_R, answers.tokens_R)


def byte_terms(answers: Written) -> Any:
    """Put loss and bytes of each row side by side."""
    return likelihood.byte_terms(answers.nats_R, answers.bytes_R)


def exact_terms(answers: Written) -> Any:
    """Say of each row whether its answer is right, after extraction."""
    return overlap.exact_terms(*_texts(answers), extract=extractor(answers.extract))


def rouge_terms(answers: Written) -> Any:
    """Give the ROUGE measures of each row, over words, and characters where there are no words."""
    return overlap.rouge_terms(*_texts(answers), segment=overlap.characters)


def bleu_terms(answers: Written) -> Any:
    """Count the word n-grams of each row."""
    return overlap.bleu_terms(*_texts(answers), answers.tokenizer)


def chrf_terms(answers: Written) -> Any:
    """Count the character n-grams of each row."""
    return overlap.chrf_terms(*_texts(answers))


def _texts(answers: Written) -> tuple[list[tuple[str, ...]], list[str]]:
    return [gold or () for gold in answers.gold], [answer or "" for answer in answers.answers]


def _mean(sums_SK: Any, _rows: int) -> Any:
    return sums_SK[:, 0] / sums_SK[:, 1]


for _scorer in (
    Scorer(
        "bits_per_byte", "Bits per byte", "lower", "plain", "log", byte_terms,
        likelihood.bits_per_byte, weighed,
    ),
    Scorer(
        "perplexity", "Perplexity", "lower", "plain", "log", token_terms, likelihood.perplexity,
        weighed,
    ),
    Scorer(
        "token_log_loss", "Log-loss of a token", "lower", "nats", "log", token_terms, _mean, weighed
    ),
    Scorer(
        "exact_match", "Exact match", "higher", "percent", "wilson", exact_terms,
        overlap.exact_match, said,
    ),
    Scorer("rouge_1", "ROUGE-1", "higher", "percent", "bca", rouge_terms, overlap.rouge_1, said),
    Scorer("rouge_2", "ROUGE-2", "higher", "percent", "bca", rouge_terms, overlap.rouge_2, said),
    Scorer("rouge_l", "ROUGE-L", "higher", "percent", "bca", rouge_terms, overlap.rouge_l, said),
    Scorer("bleu", "BLEU", "higher", "points", "bca", bleu_terms, overlap.bleu, said),
    Scorer("chrf", "chrF", "higher", "points", "bca", chrf_terms, overlap.chrf, said),
):  # fmt: skip
    SCORERS.add(_scorer.name, _scorer)
