"""Tag: the only way from tokens to tagged texts.

Legend: R rows (windows), U units (words or tokens) of all texts, D features, L tags.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tenon.core.progress import Progress
from tenon.data.gold import Span
from tenon.evaluate.predict import NOT_FINITE, by_length, inference
from tenon.evaluate.prediction import Bools, Floats, renamed
from tenon.evaluate.tagged import Tagged
from tenon.model.tagger import Tagger
from tenon.text.batch import Batch, batch
from tenon.text.tokens import Tokens


def tag(
    model: Tagger,
    tokens: Tokens,
    labels: Sequence[str],
    *,
    batch_tokens: int,
    progress: Progress | None = None,
) -> Tagged:
    """Tag every text; weights, mode and random state of the model stay as they are.

    Args:
        labels: the L tags, in the order of the head's classes.
        batch_tokens: real tokens computed at once.
    """

    def scores(rows: Batch, chosen_T: Tensor) -> Tensor:
        return torch.log_softmax(model.logits_UL(rows, chosen_T), -1)

    log_probs_UL = _gathered(model, tokens, len(labels), scores, batch_tokens, progress)
    return tagged(tokens, labels, log_probs_UL)


def unit_features(
    model: Tagger, tokens: Tokens, *, batch_tokens: int, progress: Progress | None = None
) -> Floats:
    """Give what the head reads of every unit: float32 of shape [U, D]."""
    width = model.head.linear.in_features
    return _gathered(model, tokens, width, model.features_UD, batch_tokens, progress)


def unit_classes(tokens: Tokens) -> npt.NDArray[np.int32]:
    """Give the gold tag's index of every unit, [U]; -1 without one."""
    parts = [tokens.targets(row)[_scored(tokens, row)] for row in range(len(tokens))]
    return np.concatenate(parts or [np.zeros(0)]).astype(np.int32)


def unit_names(tokens: Tokens) -> list[str]:
    """Give the characters of every unit, in lower case."""
    names: list[str] = []
    for row, text in enumerate(tokens.column("text")):
        starts, ends = tokens.places(row)
        chosen = _scored(tokens, row)
        pairs = zip(starts[chosen].tolist(), ends[chosen].tolist(), strict=True)
        names += [text[start:end].lower() for start, end in pairs]
    return names


def answered_units(tokens: Tokens, answers: Tagged) -> npt.NDArray[np.bool_]:
    """Say which units are of texts that were answered, [U]."""
    origins = tokens.column("origin")
    rows = [origin not in answers.failed for origin in origins]
    return np.repeat(np.array(rows, np.bool_), _units_of_rows(tokens))


def tagged(tokens: Tokens, labels: Sequence[str], log_probs_UL: Floats) -> Tagged:
    """Put the scores of units together with their texts; windows of one text become one."""
    first_W = _first_windows(tokens)
    units_W = np.concatenate([[0], _units_of_rows(tokens).cumsum()])
    first_R = units_W[np.append(first_W, len(tokens))].astype(np.int64)
    ids, origins, texts, gold = (tokens.column(name) for name in ("id", "origin", "text", "gold"))
    starts_U, ends_U = _places(tokens)
    whole = Tagged(
        labels=tuple(labels),
        ids=[ids[row] for row in first_W],
        origins=[origins[row] for row in first_W],
        texts=[texts[row] for row in first_W],
        gold=[_spans(gold[row]) for row in first_W],
        first_R=first_R,
        starts_U=starts_U,
        ends_U=ends_U,
        classes_U=unit_classes(tokens),
        log_probs_UL=log_probs_UL,
        failed={},
    )
    fine_U: Bools = np.isfinite(log_probs_UL).all(axis=1)  # type: ignore[assignment]
    fine_R = [bool(fine_U[whole.units(row)].all()) for row in range(len(whole))]
    if all(fine_R):
        return whole
    failed = {o: NOT_FINITE for o, fine in zip(whole.origins, fine_R, strict=True) if not fine}
    kept = whole.take(np.flatnonzero(np.array(fine_R)))
    return renamed(kept, kept.origins, failed)


def _spans(gold: str | None) -> tuple[Span, ...] | None:
    return None if gold is None else tuple(Span(*values) for values in json.loads(gold))


def _first_windows(tokens: Tokens) -> npt.NDArray[np.int64]:
    """Give the first window of each text."""
    examples = np.array(tokens.column("example"), np.int64)
    begins = np.concatenate([[True], examples[1:] != examples[:-1]]) if len(examples) else []
    return np.flatnonzero(begins)


def _scored(tokens: Tokens, row: int) -> npt.NDArray[np.bool_]:
    """Say which tokens of a window speak for a unit."""
    return tokens.places(row)[0] >= 0


def _units_of_rows(tokens: Tokens) -> npt.NDArray[np.int64]:
    counts = [int(_scored(tokens, row).sum()) for row in range(len(tokens))]
    return np.array(counts, np.int64)


def _places(tokens: Tokens) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    nothing = np.zeros(0, np.int32)
    chosen = [_scored(tokens, row) for row in range(len(tokens))]
    starts, ends = (
        np.concatenate(
            [tokens.places(row)[side][kept] for row, kept in enumerate(chosen)] or [nothing]
        )
        for side in (0, 1)
    )
    return starts, ends


def _gathered(
    model: Tagger,
    tokens: Tokens,
    width: int,
    compute: Callable[[Batch, Tensor], Tensor],
    batch_tokens: int,
    progress: Progress | None,
) -> Floats:
    """Compute something of every unit, windows of like length together, in the units' order."""
    first_W = np.concatenate([[0], _units_of_rows(tokens).cumsum()])
    out_UX = np.empty((int(first_W[-1]), width), np.float32)
    with inference(model):
        for rows in by_length(tokens, batch_tokens):
            chosen = [_scored(tokens, row) for row in rows.tolist()]
            found_UX = compute(batch(tokens, rows), torch.from_numpy(np.concatenate(chosen)))
            values = found_UX.cpu().numpy()
            start = 0
            for row, kept in zip(rows.tolist(), chosen, strict=True):
                stop = start + int(kept.sum())
                out_UX[first_W[row] : first_W[row + 1]] = values[start:stop]
                start = stop
            if progress:
                progress.advance(len(rows))
    return out_UX
