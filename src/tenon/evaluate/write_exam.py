"""Write exam: prompts and conversations to which the base writes an answer.

Legend: B texts, V tokens of the vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenon.core.errors import DataError, Faults
from tenon.data.example import Example
from tenon.evaluate import overlap
from tenon.evaluate.exam import EXAMS, Exam
from tenon.evaluate.extractors import extractor
from tenon.evaluate.generate import Writing
from tenon.evaluate.reply import Text
from tenon.evaluate.rows import SHOWN_ROWS
from tenon.evaluate.rows import clipped as shortened
from tenon.evaluate.settings import EvaluateSettings
from tenon.evaluate.statistics import align
from tenon.evaluate.write import How, write
from tenon.evaluate.write_rivals import rivals
from tenon.evaluate.written import Doubles, Written, said
from tenon.text.batch import of_ids
from tenon.text.render import Rendered
from tenon.text.text_generation_render import WritingRenderer
from tenon.text.tokens import Tokens

SAMPLE_ROWS = 20
PROBED_TOKENS = 16
"""An adapter's probes keep the scores of so many tokens, spread over the vocabulary."""


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
        if answers.looped[row]:
            entry["looped"] = True
        if answers.tokens_R[row]:
            entry["nats"] = round(float(answers.nats_R[row]), 6)
            entry["tokens"] = int(answers.tokens_R[row])
        yield entry
    for origin, cause in answers.failed.items():
        yield {"origin": origin, "failed": cause}


def next_log_probs(model: Writing, rows: Rendered) -> Tensor:
    """Give the log-probability of some tokens to come next after each text, [B, 16]."""
    logits_BV = model.next_logits_BV(of_ids(rows.ids))
    spread = torch.linspace(0, logits_BV.shape[1] - 1, PROBED_TOKENS).long()
    return torch.log_softmax(logits_BV, -1)[:, spread.to(logits_BV.device)]


def replies(answers: Written) -> list[Text]:
    """Give what was written to each prompt."""
    pairs = zip(answers.answers, answers.ended, strict=True)
    return [Text(answer or "", ended) for answer, ended in pairs]


def notes(answers: Written) -> list[str]:
    """Say how many answers there are, were broken off, repeat themselves, or lost their prompt."""
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
    if looped := sum(answers.looped):
        lines.append(f"of these, {looped:,} by repeating the same words to the end")
    if answers.cut:
        lines.append(f"{answers.cut:,} prompts lost tokens at the left to leave room for answers")
    return lines


def translation_notes(answers: Written) -> list[str]:
    """Say how to get the same BLEU and chrF again, beside what `notes` says."""
    if not len(said(answers)):
        return notes(answers)
    counts = {len(gold) for gold in said(answers).gold if gold}
    references = counts.pop() if len(counts) == 1 else 0
    bleu = overlap.signature("bleu", references, answers.tokenizer)
    chrf = overlap.signature("chrf", references)
    return [*notes(answers), f"BLEU signature {bleu}", f"chrF signature {chrf}"]


def _bound(
    renderer: WritingRenderer,
    settings: EvaluateSettings,
    seed: int,
    shots: tuple[Example, ...],
    *,
    exam: Exam,
) -> Exam:
    how = How(renderer, settings, seed, shots)
    return replace(
        exam,
        answer=partial(write, how=how),
        quick=partial(write, how=how, answering=False),
        rivals=partial(rivals, how=how),
    )


def _none(*_: Any, **__: Any) -> Any:
    raise TypeError("texts that are written have no classes, and no features of a head")


def _exam(task: str) -> Exam:
    exam = Exam(
        task=task,
        answer=_none,
        features=_none,
        gold=_none,
        names=None,
        kept=_none,
        logits=next_log_probs,
        replies=replies,
        tables=list_texts,
        entries=entries,
        notes=translation_notes if task == "translation" else notes,
    )
    return replace(exam, bound=partial(_bound, exam=exam))


for _task in ("text-generation", "translation", "summarization"):
    EXAMS.add(_task, _exam(_task))
