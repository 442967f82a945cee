"""Write exam: prompts and conversations to which the base writes an answer.

R rows: one for each prompt; W rows of token ids, of which a conversation may have several.
Legend: B texts, V tokens of the vocabulary, U tokens that are learned.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from tenon.core.errors import DataError, Faults
from tenon.core.files import digest_of
from tenon.core.progress import Progress
from tenon.evaluate import overlap
from tenon.evaluate.exam import EXAMS, Exam
from tenon.evaluate.extractors import extractor
from tenon.evaluate.generate import clipped, generate, room
from tenon.evaluate.predict import NOT_FINITE, by_length, inference
from tenon.evaluate.prediction import Index
from tenon.evaluate.reply import Text
from tenon.evaluate.rows import SHOWN_ROWS
from tenon.evaluate.rows import clipped as shortened
from tenon.evaluate.settings import EvaluateSettings
from tenon.evaluate.statistics import align
from tenon.evaluate.written import Doubles, Written, said
from tenon.model.writer import Writer
from tenon.text.batch import batch, of_ids
from tenon.text.render import Rendered
from tenon.text.text_generation_render import WritingRenderer, last_answer
from tenon.text.tokens import Tokens

SAMPLE_ROWS = 20
PROBED_TOKENS = 16
"""An adapter's probes keep the scores of so many tokens, spread over the vocabulary."""


@dataclass(frozen=True)
class Writing:
    """How answers are written and compared.

    Args:
        renderer: of the prompts.
        settings: most new tokens, how many rows are answered, what is compared.
        seed: which rows are answered where they are not all.
    """

    renderer: WritingRenderer
    settings: EvaluateSettings
    seed: int


def write(
    model: Writer,
    tokens: Tokens,
    labels: Sequence[str],
    *,
    batch_tokens: int,
    progress: Progress | None = None,
    how: Writing,
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


def _laid(model: Writer, tokens: Tokens, batch_tokens: int, how: Writing) -> tuple[Index, Written]:
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
        cut=0,
        extract=how.settings.extract,
        failed={},
    )
    return last_R, made


def _summed(row_W: Index, values_W: Doubles, count: int) -> Doubles:
    return np.bincount(row_W, values_W, count).astype(np.float64)


def _likelihood(
    model: Writer, tokens: Tokens, batch_tokens: int, renderer: WritingRenderer
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
    model: Writer,
    tokens: Tokens,
    last_R: Index,
    made: Written,
    batch_tokens: int,
    progress: Progress | None,
    how: Writing,
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
    ended = [False] * len(made)
    for row, one in zip(chosen, found, strict=True):
        answers[row], ended[row] = renderer.answer(one.ids), one.ended
    cut = sum(len(prompt) > most for prompt in prompts)
    return replace(made, answers=answers, ended=ended, cut=cut)


def _sample(ids: Sequence[str], most: int, seed: int) -> list[int]:
    """Draw rows by their ids and the seed alone, whatever their order; all where they are few."""
    if not most or len(ids) <= most:
        return list(range(len(ids)))
    drawn = sorted(range(len(ids)), key=lambda row: digest_of([seed, ids[row]]))
    return sorted(drawn[:most])


def rivals(
    model: Writer,
    tokens: Tokens,
    answers: Written,
    against: Sequence[str],
    *,
    batch_tokens: int,
    progress: Progress | None = None,
    how: Writing,
) -> dict[str, Written]:
    """Let the base without the adapter answer, and give the prompt itself as an answer."""
    found: dict[str, Written] = {}
    if "zero_shot" in against and model.peft is not None:
        with model.peft.disable_adapter():
            found["zero_shot"] = write(
                model, tokens, (), batch_tokens=batch_tokens, progress=progress, how=how
            )
    if "copy_source" in against:
        copied = zip(answers.texts, answers.answers, strict=True)
        found["copy_source"] = answers.saying(
            [None if answer is None else text for text, answer in copied]
        )
    return found


def refuse_unextractable(tokens: Tokens, extract: str) -> None:
    """Refuse rows in whose own answers nothing is found that could be compared.

    Raises:
        PlanError: there is no such extractor.
        DataError: rows without; all at once.
    """
    found, faults = extractor(extract), Faults()
    pairs = zip(tokens.column("gold"), tokens.column("origin"), strict=True)
    for gold, origin in pairs:
        if gold is not None and all(found(text) is None for text in json.loads(gold)):
            what = f'evaluate.extract = "{extract}" finds nothing in the answer of this row'
            faults.add(origin, what, "mend the row, or choose another extractor")
    faults.raise_if_any(DataError)


def list_texts(known: Written, rival: Written | None, level: float) -> dict[str, Any]:
    """Give a seeded sample, and the rows whose answers are nearer to the reference, or farther."""
    del level
    answered = said(known)
    order = sorted(range(len(answered)), key=lambda row: answered.ids[row])[:SAMPLE_ROWS]
    if rival is None or not len(said(rival)):
        return {"sample": {"count": len(answered), "rows": _shown(answered, order, None)}}
    mine, theirs = align(answered, said(rival))
    order = sorted(range(len(mine)), key=lambda row: mine.ids[row])[:SAMPLE_ROWS]
    found: dict[str, Any] = {
        "sample": {"count": len(mine), "rows": _shown(mine, order, theirs)},
    }
    gains_R = nearness(mine) - nearness(theirs)
    for name, sign in (("won", 1), ("lost", -1)):
        marked: list[int] = np.flatnonzero(sign * gains_R > 0).tolist()
        chosen = sorted(marked, key=lambda row: -sign * gains_R[row])[:SHOWN_ROWS]
        found[name] = {"count": len(marked), "rows": _shown(mine, chosen, theirs)}
    return found


def nearness(answers: Written) -> Doubles:
    """Give the chrF of each row's answer, [R]."""
    texts = [answer or "" for answer in answers.answers]
    terms_RK = overlap.chrf_terms([gold or ("",) for gold in answers.gold], texts)
    return overlap.chrf(terms_RK.toarray(), len(texts))


def _shown(answers: Written, rows: Sequence[int], rival: Written | None) -> list[dict[str, Any]]:
    return [
        {
            "id": answers.ids[row],
            "origin": answers.origins[row],
            "text": shortened(answers.texts[row]),
            "reference": shortened((answers.gold[row] or ("",))[0]),
            "answer": shortened(answers.answers[row] or ""),
            "ended": answers.ended[row],
            "baseline_answer": None if rival is None else shortened(rival.answers[row] or ""),
        }
        for row in rows
    ]


def entries(answers: Written) -> Iterator[dict[str, Any]]:
    """Yield id, origin, text, gold and answer of each row, then of each that failed."""
    for row, answer in enumerate(answers.answers):
        gold = answers.gold[row]
        entry: dict[str, Any] = {
            "id": answers.ids[row],
            "origin": answers.origins[row],
            "text": answers.texts[row],
            "gold": None if gold is None else gold[0] if len(gold) == 1 else list(gold),
            "answer": answer,
        }
        if answer is not None:
            entry["ended"] = answers.ended[row]
        if answers.tokens_R[row]:
            entry["nats"] = round(float(answers.nats_R[row]), 6)
            entry["tokens"] = int(answers.tokens_R[row])
        yield entry
    for origin, cause in answers.failed.items():
        yield {"origin": origin, "failed": cause}


def next_log_probs(model: Writer, rows: Rendered) -> Tensor:
    """Give the log-probability of some tokens to come next after each text, [B, 16]."""
    logits_BV = model.next_logits_BV(of_ids(rows.ids))
    spread = torch.linspace(0, logits_BV.shape[1] - 1, PROBED_TOKENS).long()
    return torch.log_softmax(logits_BV, -1)[:, spread.to(logits_BV.device)]


def replies(answers: Written) -> list[Text]:
    """Give what was written to each prompt."""
    pairs = zip(answers.answers, answers.ended, strict=True)
    return [Text(answer or "", ended) for answer, ended in pairs]


def notes(answers: Written) -> list[str]:
    """Say how many answers there are, were broken off, or answer a prompt that was cut."""
    answered = sum(answer is not None for answer in answers.answers)
    if not answered:
        return []
    lines: list[str] = []
    if answered < len(answers):
        lines.append(f"a sample of {answered:,} of {len(answers):,} rows, by chance, was answered")
    if broken := answers.unended:
        lines.append(
            f"{broken:,} of {answered:,} answers came to no end within evaluate.max_new_tokens"
        )
    if answers.cut:
        lines.append(f"{answers.cut:,} prompts lost tokens at the left to leave room for answers")
    return lines


def _bound(renderer: WritingRenderer, settings: EvaluateSettings, seed: int) -> Exam:
    how = Writing(renderer, settings, seed)
    return replace(
        _EXAM,
        answer=partial(write, how=how),
        quick=partial(write, how=how, answering=False),
        rivals=partial(rivals, how=how),
    )


def _none(*_: Any, **__: Any) -> Any:
    raise TypeError("texts that are written have no classes, and no features of a head")


_EXAM = Exam(
    task="text-generation",
    answer=_none,
    features=_none,
    gold=_none,
    names=None,
    kept=_none,
    logits=next_log_probs,
    replies=replies,
    tables=list_texts,
    entries=entries,
    bound=_bound,
    notes=notes,
)
EXAMS.add("text-generation", _EXAM)
