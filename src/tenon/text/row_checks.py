"""Row checks: what must hold of the rows of train before a run, as text and as token ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tenon.core.proof import Check, failed, passed
from tenon.text.taught import Taught
from tenon.text.text_generation_render import WritingRenderer, runs
from tenon.text.tokenizer import LONGEST
from tenon.text.windows import frame

HALF = 0.5
STARTED = 2
"""Tokens at a row's beginning among which a second beginning of sequence would stand."""
ADDED = (
    "take the added tokens from the tokenizer, or save the base with embeddings for them "
    "(resize_token_embeddings, save_pretrained) and give that folder as base"
)


def targets(taught: Taught) -> Check:
    """Check that rows have something to learn: each of them where the base writes."""
    name, counts = "targets", np.array([taught.targets(row) for row in taught.rows])
    empty = int((counts == 0).sum())
    said = f"{int(counts.sum()):,} in {len(counts):,} rows of train, {counts.mean():.3g} a row"
    if not empty:
        return passed(name, said)
    example = taught.tokens.table["origin"][taught.rows[int(counts.argmin())]].as_py()
    told = f"{said}; {empty:,} rows have none, such as {example}"
    if empty < len(counts) and not taught.writes and empty <= HALF * len(counts):
        return passed(name, told)
    cut = taught.tokens.rows_cut
    remedy = "raise text.max_tokens" if cut else "give these rows answers, or remove them"
    return failed(name, f"{told}, so that nothing can be learned from them", remedy)


def stop_token(taught: Taught) -> Check | None:
    """Check that every answer that is written ends with a token that is learned and ends it."""
    renderer = taught.renderer
    if not isinstance(renderer, WritingRenderer):
        return None
    name, stops = "stop token", set(renderer.stop_ids)
    endless = [row for row in taught.rows if not _ends(taught, row, stops)]
    shown = " or ".join(
        repr(str(renderer.tokenizer.convert_ids_to_tokens(stop))) for stop in renderer.stop_ids
    )
    if not endless:
        return passed(name, f"{shown} is learned at the end of each answer")
    where = taught.tokens.table["origin"][endless[0]].as_py()
    return failed(
        name,
        f"{len(endless):,} of {len(taught.rows):,} rows do not learn {shown} at the end of their "
        f"answer, such as {where}, so that the adapter would never stop",
        "let the weight of the token that ends an answer be 1, also where it is the pad token; "
        "give the tokenizer a pad token of its own",
    )


def _ends(taught: Taught, row: int, stops: set[int]) -> bool:
    """Whether the last token that a row learns ends an answer; true where it learns none."""
    learned = np.flatnonzero(taught.learned_T(row))
    return not len(learned) or int(taught.tokens.ids(row)[learned[-1]]) in stops


def beginning(taught: Taught) -> Check | None:
    """Check that rows begin with one beginning of sequence, not with two."""
    tokenizer = taught.renderer.tokenizer
    before = frame(tokenizer, pair=False).before
    marks: tuple[Any, ...] = (tokenizer.bos_token_id, tokenizer.cls_token_id, *before[:1])
    known = {mark for mark in marks if isinstance(mark, int)}
    if not known:
        return None
    name = "beginning"
    begun = [_begun(taught.tokens.ids(row).tolist(), known) for row in taught.rows]
    double, none = sum(count > 1 for count in begun), sum(not count for count in begun)
    if double > HALF * len(begun) or (double and len(before) > 1 and before[0] == before[1]):
        row = taught.rows[next(place for place, count in enumerate(begun) if count > 1)]
        shown = tokenizer.convert_ids_to_tokens(taught.tokens.ids(row)[:STARTED].tolist())
        return failed(
            name,
            f"{double:,} of {len(begun):,} rows begin with {''.join(map(str, shown))}, a beginning "
            "of sequence twice, which the base has never seen",
            "let either the tokenizer or its chat template write it: take it from the template, or "
            "from the post_processor in tokenizer.json",
        )
    some = f"; {none:,} with none" if none and none < len(begun) else ""
    twice = f"; {double:,} with two, as a text has it" if double else ""
    one = "none, as this base has none there" if none == len(begun) else "one beginning of sequence"
    return passed(name, f"rows begin with {one}{some}{twice}")


def _begun(ids: Sequence[int], known: set[int]) -> int:
    """Count the beginnings of sequence with which a row begins, one after another."""
    return next((place for place, token in enumerate(ids) if token not in known), len(ids))


def answers(taught: Taught) -> Check | None:
    """Check that no answer is cut in the rows; say how many are longer than what is written."""
    renderer = taught.renderer
    if not isinstance(renderer, WritingRenderer):
        return None
    name, whole = "answers", replace(renderer, limit=LONGEST)
    for place, example in enumerate(taught.examples):
        ids = [_learned(taught, row) for row in taught.first[place]]
        made = whole.rows([example])
        full = [
            [token for token, weight in zip(row, weights, strict=True) if weight]
            for row, weights in zip(made.ids, made.targets, strict=True)
        ]
        if sum(map(len, ids)) < sum(map(len, full)):
            return failed(
                name,
                f"{example.origin}: {sum(map(len, ids)):,} tokens of its answer are learned, and "
                f"it has {sum(map(len, full)):,}: it is cut in silence",
                "raise text.max_tokens, or shorten the answers",
            )
    return _room(taught, name)


def _room(taught: Taught, name: str) -> Check:
    """Say how long answers are, and how many are longer than what may be written."""
    cells = (taught.tokens.targets(row) for row in taught.rows)
    lengths = np.array([length for weights_T in cells for length in runs(weights_T)])
    longer = int((lengths > taught.longest).sum()) if taught.longest else 0
    said = f"learned whole, of up to {int(lengths.max()):,} tokens"
    if not longer:
        return passed(name, said)
    enough = int(np.quantile(lengths, 0.99)) + 1
    return passed(
        name,
        f"{said}; {longer:,} of {len(lengths):,} are longer than the {taught.longest:,} tokens "
        f"that evaluation and serving write (evaluate.max_new_tokens={enough} holds 99 %)",
    )


def _learned(taught: Taught, row: int) -> list[int]:
    learned_T = taught.learned_T(row)
    return taught.tokens.ids(row)[learned_T].tolist()


def serving(taught: Taught) -> Check | None:
    """Check that an example is asked for, once served, with the ids that were trained on."""
    name = "serving"
    whole = [place for place in range(len(taught.examples)) if not taught.cut(place)]
    for place in whole:
        if why := _difference(taught.asked(taught.examples[place]), taught.prompts(place)):
            return failed(
                name,
                f"{taught.examples[place].origin}: is read otherwise once the adapter is served: "
                f"{why}",
                "is the chat template, the instruction or the tokenizer another one now? Restore "
                "the base's folder, or start anew with --resume never",
            )
    if not whole:
        return None
    return passed(name, f"{len(whole)} examples of train are asked for with the same token ids")


def _difference(served: Sequence[Sequence[int]], trained: Sequence[Sequence[int]]) -> str:
    """Say how rows differ; empty where they are the same."""
    if len(served) != len(trained):
        return f"it is {len(served)} rows instead of {len(trained)}"
    for one, other in zip(served, trained, strict=True):
        for place, (now, before) in enumerate(zip(one, other, strict=False)):
            if now != before:
                return f"token {place + 1} is {now} instead of {before}"
        if len(one) != len(other):
            return f"its prompt has {len(one)} tokens instead of {len(other)}"
    return ""


def labels(taught: Taught) -> Check | None:
    """Check that a class means the same label in training and once the adapter is served."""
    if taught.writes:
        return None
    name, same = "labels", 0
    for place, example in enumerate(taught.examples):
        expected = taught.served.rows([example]).targets
        found = [taught.tokens.targets(row).tolist() for row in taught.first[place]]
        if len(found) == len(expected) and not np.array_equal(
            np.concatenate(found), np.concatenate(expected).astype(np.float32), equal_nan=True
        ):
            return failed(
                name,
                f"{example.origin}: its answer is class {_short(found[0])} in training and "
                f"{_short(expected[0])} once the adapter is served: the labels stand in another "
                "order",
                "let the head's classes and the adapter's labels have one order; train anew",
            )
        same += 1
    return passed(name, f"{same} examples have the same classes in training and serving")


def _short(targets: Sequence[float]) -> str:
    shown = ", ".join(f"{target:g}" for target in targets[:4])
    return shown + (", …" if len(targets) > 4 else "")  # noqa: PLR2004


def vocabulary(taught: Taught) -> Check:
    """Check that the base has an embedding, which it was trained with, for every token."""
    name, most = "vocabulary", taught.tokens.highest
    if most < taught.vocabulary:
        return passed(name, f"the highest token id is {most:,}, of {taught.vocabulary:,}")
    token = taught.renderer.tokenizer.convert_ids_to_tokens(most)
    return failed(
        name,
        f"train has token {most:,} ({token!r}), and the base on disk has embeddings for "
        f"{taught.vocabulary:,}: the row of a token that was added would not be saved",
        ADDED,
    )


RowCheck = Callable[[Taught], Check | None]
ROW_CHECKS: tuple[RowCheck, ...] = (
    targets,
    stop_token,
    beginning,
    answers,
    serving,
    labels,
    vocabulary,
)
"""Each gives None where it does not apply."""
