"""Answer: the only way from tokens to answers that stand in a context.

Legend: W windows, T tokens of all windows, D features.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tenon.core.progress import Progress
from tenon.data.gold import AnswerSpan
from tenon.evaluate.answer_spans import Extracts, script_of
from tenon.evaluate.predict import NOT_FINITE, by_length, inference
from tenon.evaluate.prediction import Bools, Floats, renamed
from tenon.model.reader import NUMBERS, SIDES, Reader
from tenon.text.batch import Batch, batch
from tenon.text.tokens import Tokens


def read(
    model: Reader,
    tokens: Tokens,
    labels: Sequence[str],
    *,
    batch_tokens: int,
    progress: Progress | None = None,
) -> Extracts:
    """Answer every question; weights, mode and random state of the model stay as they are.

    Args:
        labels: what the head scores.
        batch_tokens: real tokens computed at once.
    """
    scores_T2 = gathered(model, tokens, SIDES, model.scores_T2, batch_tokens, progress)
    return extracts(tokens, labels, scores_T2).decided(model.head.constants)


def token_features(
    model: Reader, tokens: Tokens, *, batch_tokens: int, progress: Progress | None = None
) -> Floats:
    """Give what the head reads of every token: float32 of shape [T, D]."""
    width = model.head.linear.in_features
    return gathered(model, tokens, width, model.features_TD, batch_tokens, progress)


def token_classes(tokens: Tokens) -> npt.NDArray[np.int32]:
    """Say of every token whether it is an end of the answer, [T]: 1 if so, else 0; -1 unknown."""
    classes_T = np.zeros(tokens.total, np.int32)
    first_W = _borders(tokens.lengths_R)
    for row, (first, last) in enumerate(places_W2(tokens).tolist()):
        start = first_W[row]
        if first < 0:
            classes_T[start : first_W[row + 1]] = -1
        else:
            classes_T[[start + first, start + last]] = 1
    return classes_T


def places_W2(tokens: Tokens) -> npt.NDArray[np.int64]:
    """Give the places of each window's answer, first and last; 0 for none, -1 if unknown."""
    targets = [tokens.targets(row)[:SIDES] for row in range(len(tokens))]
    return np.array(targets, np.int64).reshape(-1, SIDES)


def answered_tokens(tokens: Tokens, answers: Extracts) -> npt.NDArray[np.bool_]:
    """Say which tokens are of questions that were answered, [T]."""
    origins = tokens.column("origin")
    rows = np.array([origin not in answers.failed for origin in origins], np.bool_)
    return np.repeat(rows, tokens.lengths_R)


def extracts(tokens: Tokens, labels: Sequence[str], scores_T2: Floats) -> Extracts:
    """Put scores of tokens together with their questions; windows of a context become one."""
    examples = np.array(tokens.column("example"), np.int64)
    begins = np.append(True, examples[1:] != examples[:-1])[: len(examples)]
    first_W = np.flatnonzero(begins)
    ids, origins, questions, contexts, gold = (
        [cells[row] for row in first_W]
        for cells in map(tokens.column, ("id", "origin", "text", "pair", "gold"))
    )
    answers = [_answers(cell) for cell in gold]
    places = [tokens.places(row) for row in range(len(tokens))]
    nothing = np.zeros(0, np.int32)
    whole = Extracts(
        labels=tuple(labels),
        ids=ids,
        origins=origins,
        questions=questions,
        contexts=[context or "" for context in contexts],
        gold=answers,
        script=script_of(contexts, answers),
        first_R=np.append(first_W, len(tokens)).astype(np.int64),
        first_W=_borders(tokens.lengths_R),
        starts_T=np.concatenate([*(starts for starts, _ in places), nothing]),
        ends_T=np.concatenate([*(ends for _, ends in places), nothing]),
        scores_T2=scores_T2,
        longest=int(tokens.targets(0)[NUMBERS - 1]) if len(tokens) else 1,
        leaning=0.0,
        given=None,
        failed={},
    )
    return _without_failed(whole)


def _without_failed(whole: Extracts) -> Extracts:
    """Leave out the questions of which a score is not finite."""
    if whole.finite():
        return whole
    fine_T: Bools = np.isfinite(whole.scores_T2).all(axis=1)  # type: ignore[assignment]
    fine = [
        all(bool(fine_T[whole.tokens(window)].all()) for window in whole.windows(row))
        for row in range(len(whole))
    ]
    failed = {o: NOT_FINITE for o, sound in zip(whole.origins, fine, strict=True) if not sound}
    kept = whole.take(np.flatnonzero(np.array(fine)))
    return renamed(kept, kept.origins, failed)


def _answers(cell: str | None) -> tuple[AnswerSpan, ...] | None:
    return None if cell is None else tuple(AnswerSpan(*values) for values in json.loads(cell))


def _borders(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], sizes.cumsum()]).astype(np.int64)


def gathered(
    model: Reader,
    tokens: Tokens,
    width: int,
    compute: Callable[[Batch], Tensor],
    batch_tokens: int,
    progress: Progress | None = None,
) -> Floats:
    """Compute something of every token, windows of like length together, in the tokens' order."""
    first_W = _borders(tokens.lengths_R)
    out_TX = np.empty((int(first_W[-1]), width), np.float32)
    with inference(model):
        for rows in by_length(tokens, batch_tokens):
            values = compute(batch(tokens, rows)).cpu().numpy()
            parts = np.split(values, tokens.lengths_R[rows].cumsum()[:-1])
            for row, part in zip(rows.tolist(), parts, strict=True):
                out_TX[first_W[row] : first_W[row + 1]] = part
            if progress:
                progress.advance(len(rows))
    return out_TX
