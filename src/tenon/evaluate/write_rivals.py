"""Write rivals: what writes answers without being trained: the base alone, with examples, copies.

Shots are rows of train that stand before each prompt, with their answers, so that the base sees
what is wanted.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from tenon.core.files import digest_of
from tenon.core.progress import Progress
from tenon.data.example import Example
from tenon.data.gold import Turn
from tenon.evaluate.generate import Writing
from tenon.evaluate.write import How, write
from tenon.evaluate.written import Written
from tenon.text.tokens import Tokens, collect

SHOTS = 3
LEAD_SENTENCES = 3
END = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s)|[。！？]+[”’」』）]*")
"""Where a sentence ends: at a stop before a blank, or at one that needs no blank behind it."""

Examples = Callable[[], Iterable[Example]]


def shots_of(examples: Iterable[Example], seed: int) -> tuple[Example, ...]:
    """Draw a few answered rows by their ids and the seed alone, whatever their order.

    Conversations of several answers, in which everything is said already, give none.
    """
    alone = (example for example in examples if _is_pair(example))
    return tuple(heapq.nsmallest(SHOTS, alone, key=lambda each: digest_of([seed, each.id])))


def _is_pair(example: Example) -> bool:
    spoken = [turn.role for turn in example.turns or () if turn.role != "system"]
    return spoken == ["user", "assistant"]


def rivals(
    model: Writing,
    tokens: Tokens,
    answers: Written,
    against: Sequence[str],
    *,
    batch_tokens: int,
    progress: Progress | None = None,
    examples: Examples,
    how: How,
) -> dict[str, Written]:
    """Let the base without the adapter answer, and give parts of the prompt as an answer.

    Args:
        model: with the adapter.
        tokens: of the rows.
        answers: the adapter's.
        against: the baselines that are wanted.
        batch_tokens: tokens computed at once.
        progress: told of the rows that are done.
        examples: give the rows themselves, in the order of `tokens`.
        how: answers are written.
    """
    found: dict[str, Written] = {}
    if model.peft is not None:
        with model.peft.disable_adapter():
            if "zero_shot" in against:
                found["zero_shot"] = write(
                    model, tokens, (), batch_tokens=batch_tokens, progress=progress, how=how
                )
            if "few_shot" in against and how.shots and not model.trunk.seq2seq:
                chosen = _answered(examples(), answers)
                shown = collect([_with_shots(each, how.shots) for each in chosen], how.renderer)
                all_of_them = how.settings.model_copy(update={"written_rows": 0})
                found["few_shot"] = write(
                    model, shown, (), batch_tokens=batch_tokens, progress=progress,
                    how=replace(how, settings=all_of_them),
                ).asked(answers)  # fmt: skip
    for name, copy in (("copy_source", str), ("lead_3", lead_sentences)):
        if name in against:
            pairs = zip(answers.texts, answers.answers, strict=True)
            copied = [None if answer is None else copy(text) for text, answer in pairs]
            found[name] = answers.saying(copied)
    return found


def _answered(examples: Iterable[Example], answers: Written) -> list[Example]:
    """Give the rows to which the adapter has written an answer."""
    written = np.flatnonzero([answer is not None for answer in answers.answers]).tolist()
    wanted = {(answers.ids[row], answers.origins[row]) for row in written}
    return [example for example in examples if (example.id, example.origin) in wanted]


def _with_shots(example: Example, shots: Sequence[Example]) -> Example:
    """Give a row with answered rows before what it asks."""
    turns = example.turns or (Turn("user", example.text),)
    system = [turn for turn in turns if turn.role == "system"]
    shown = [
        replace(turn, trained=False)
        for shot in shots
        for turn in shot.turns or ()
        if turn.role != "system" and shot.id != example.id
    ]
    return replace(example, turns=(*system, *shown, *(t for t in turns if t.role != "system")))


def lead_sentences(text: str) -> str:
    """Give the first three sentences of a text, which in news say most of it."""
    ends = [found.end() for found in islice(END.finditer(text), LEAD_SENTENCES)]
    return (text if len(ends) < LEAD_SENTENCES else text[: ends[-1]]).strip()
