"""Write: the only way from prompts to written answers and their likelihood.

R rows: one for each prompt; W rows of token ids, of which a conversation may have several.
Legend: U tokens that are learned.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from tenon.core.files import digest_of
from tenon.core.progress import Progress
from tenon.data.example import Example
from tenon.evaluate.generate import Writing, clipped, generate, room
from tenon.evaluate.overlap import Tokenizer
from tenon.evaluate.predict import NOT_FINITE, by_length, inference
from tenon.evaluate.prediction import Index
from tenon.evaluate.settings import EvaluateSettings
from tenon.evaluate.written import Doubles, Written
from tenon.text.batch import batch
from tenon.text.text_generation_render import WritingRenderer, last_answer
from tenon.text.tokens import Tokens


@dataclass(frozen=True)
class How:
    """How answers are written and compared.

    Args:
        renderer: of the prompts.
        settings: most new tokens, how many rows are answered, what is compared.
        seed: which rows are answered where they are not all.
        shots: answered rows that the base sees before a prompt where it is asked with examples.
    """

    renderer: WritingRenderer
    settings: EvaluateSettings
    seed: int
    shots: tuple[Example, ...] = ()


def write(
    model: Writing,
    tokens: Tokens,
    labels: Sequence[str],
    *,
    batch_tokens: int,
    progress: Progress | None = None,
    how: How,
    answering: bool = True,
) -> Written:
    """Answer prompts; weights, mode and random state of the model stay as they are.

    Args:
        labels: none.
        batch_tokens: tokens computed at once.
        how: answers are written.
        answering: write answers as well, to a seeded sample of rows where they are many; else only
            the likelihood is computed.
    """
    del labels
    firsts_R, made = _laid(model, tokens, batch_tokens, how)
    # What is not weighed gives its time to what is written, and the other way.
    if progress and not answering:
        progress.advance(len(made))
    if answering:
        made = _answered(model, tokens, firsts_R, made, batch_tokens, progress, how)
    bad = ~np.isfinite(made.nats_R)
    failed = {made.origins[row]: NOT_FINITE for row in np.flatnonzero(bad).tolist()}
    return replace(made.take(np.flatnonzero(~bad)), failed=failed)


def _laid(model: Writing, tokens: Tokens, batch_tokens: int, how: How) -> tuple[Index, Written]:
    """Give for each prompt its last row of token ids, and the answers without their texts."""
    example_W = np.array(tokens.column("example"), np.int64)
    _, first_R, row_W = np.unique(example_W, return_index=True, return_inverse=True)
    last_R = np.append(first_R[1:], len(example_W)) - 1
    nats_W, tokens_W, bytes_W = _likelihood(model, tokens, batch_tokens, how.renderer)
    columns = {name: tokens.column(name) for name in ("id", "origin", "text", "gold")}
    rows: list[int] = last_R.tolist()
    golds = [columns["gold"][row] for row in rows]
    count = len(rows)
    made = Written(
        ids=[columns["id"][row] for row in rows],
        origins=[columns["origin"][row] for row in rows],
        texts=[columns["text"][row] for row in rows],
        gold=[None if gold is None else tuple(json.loads(gold)) for gold in golds],
        nats_R=_summed(row_W, nats_W, count),
        tokens_R=_summed(row_W, tokens_W, count),
        bytes_R=_summed(row_W, bytes_W, count),
        answers=[None] * count,
        ended=[False] * count,
        looped=[False] * count,
        cut=0,
        extract=how.settings.extract,
        tokenizer=cast(Tokenizer, how.settings.bleu_tokenizer),
        failed={},
    )
    return last_R, made


def _summed(row_W: Index, values_W: Doubles, count: int) -> Doubles:
    return np.bincount(row_W, values_W, count).astype(np.float64)


def _likelihood(
    model: Writing, tokens: Tokens, batch_tokens: int, renderer: WritingRenderer
) -> tuple[Doubles, Doubles, Doubles]:
    """Give nats, tokens and bytes of what each row of token ids should write, [W] each."""
    nats_W, bytes_W = np.zeros(len(tokens)), np.zeros(len(tokens))
    tokens_W = np.array(
        [np.count_nonzero(tokens.targets(row)) for row in range(len(tokens))], float
    )
    learned = np.flatnonzero(tokens_W)
    taken = tokens.take(learned) if len(learned) < len(tokens) else tokens
    with inference(model):
        for part in by_length(taken, batch_tokens):
            nats_U = model.nats_U(batch(taken, part)).double().cpu().numpy()
            row_U = np.repeat(np.arange(len(part)), tokens_W[learned[part]].astype(np.int64))
            nats_W[learned[part]] = np.bincount(row_U, nats_U, len(part))
    for row in learned.tolist():
        bytes_W[row] = len(_learned_text(tokens, row, renderer).encode("utf-8", "replace"))
    return nats_W, tokens_W, bytes_W


def _learned_text(tokens: Tokens, row: int, renderer: WritingRenderer) -> str:
    """Give the text of all that a row of token ids should write."""
    weights_T, ids_T = tokens.targets(row), tokens.ids(row)
    starts = np.flatnonzero(np.diff(weights_T, prepend=0.0) > 0)
    ends = np.flatnonzero(np.diff(weights_T, append=0.0) < 0) + 1
    return "".join(
        renderer.answer(ids_T[start:end].tolist()) for start, end in zip(starts, ends, strict=True)
    )


def _answered(
    model: Writing,
    tokens: Tokens,
    last_R: Index,
    made: Written,
    batch_tokens: int,
    progress: Progress | None,
    how: How,
) -> Written:
    """Write answers to all prompts, or to a sample of them."""
    settings, renderer = how.settings, how.renderer
    chosen = _sample(made.ids, settings.written_rows, how.seed)
    rows = [int(last_R[row]) for row in chosen]
    prompts = [tokens.ids(row)[: last_answer(tokens.targets(row).tolist())] for row in rows]
    most = room(model, renderer.limit, settings.max_new_tokens)
    begin = cast("int | None", renderer.tokenizer.bos_token_id)
    asked = [clipped(prompt.tolist(), most, begin) for prompt in prompts]
    found = generate(
        model,
        asked,
        stop_ids=renderer.stop_ids,
        max_new_tokens=settings.max_new_tokens,
        batch_tokens=batch_tokens,
        progress=progress,
    )
    answers: list[str | None] = [None] * len(made)
    ended, looped = [False] * len(made), [False] * len(made)
    for row, one in zip(chosen, found, strict=True):
        answers[row], ended[row], looped[row] = renderer.answer(one.ids), one.ended, one.looped
    cut = sum(len(prompt) > most for prompt in prompts)
    return replace(made, answers=answers, ended=ended, looped=looped, cut=cut)


def _sample(ids: Sequence[str], most: int, seed: int) -> list[int]:
    """Draw rows by their ids and the seed alone, whatever their order; all where they are few."""
    if not most or len(ids) <= most:
        return list(range(len(ids)))
    drawn = sorted(range(len(ids)), key=lambda row: digest_of([seed, ids[row]]))
    return sorted(drawn[:most])
