"""Flights: runs on tiny bases that are about to begin, for the preflight to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

import kinds
from bases import VOCAB
from cell import Cell
from folders import tokenizer
from grounds import LABELS, Ground, model_on
from matrix import TABLES
from tenon.adapters.kind import KINDS, settle
from tenon.core.proof import Check
from tenon.model.attach import attach
from tenon.plan.plan import Plan
from tenon.text.render import ClassRenderer
from tenon.text.taught import Taught
from tenon.text.text_generation_render import WritingRenderer
from tenon.text.tokens import SCHEMA, Tokens
from tenon.train.preflight import preflight
from tenon.train.settings import TrainSettings
from tenon.train.subject import Subject
from tenon.verbs.preflight import subject_of
from tenon.verbs.train import build
from tenon.verbs.workspace import open_workspace

LIMIT = 48
NAMES = tuple(f"label {place}" for place in range(LABELS))


def tokens(lengths: Sequence[int], *, writes: bool, prompt: int = 2, seed: int = 0) -> Tokens:
    """Give rows of random ids with classes, or with weights behind a prompt."""
    random = np.random.default_rng(seed)
    rows = len(lengths)
    weights = [[float(place >= prompt) for place in range(length)] for length in lengths]
    classes = [[float(label)] for label in random.integers(0, LABELS, rows)]
    nothing = [None] * rows
    columns: dict[str, Any] = {
        "id": [f"{row}" for row in range(rows)],
        "origin": [f"made.csv:{row + 2}" for row in range(rows)],
        "text": ["made"] * rows,
        "example": list(range(rows)),
        "ids": [random.integers(5, VOCAB, length).tolist() for length in lengths],
        "cut": [0] * rows,
        "targets": weights if writes else classes,
    }
    arrays = [pa.array(columns.get(field.name, nothing), field.type) for field in SCHEMA]
    table = pa.Table.from_batches([pa.record_batch(arrays, schema=SCHEMA)], schema=SCHEMA)
    return Tokens(table, LIMIT)


def subject(
    cell: Cell, ground: Ground, *, lengths: Sequence[int] = (3, 9, 4, 6, 12, 5, 7), **more: Any
) -> Subject:
    """Give the run of a cell of the law matrix, on rows of random ids.

    Args:
        more: fields of the subject.
    """
    trunk, table = ground.copy(), TABLES[cell.row]
    adapter = settle("mood", table)
    held = attach(trunk, adapter, seed=3)
    made = tokenizer("t5" if ground.trunk.seq2seq else "llama")
    renderer = (
        WritingRenderer(made, LIMIT, "none", seq2seq=ground.trunk.seq2seq)
        if ground.writes
        else ClassRenderer(made, NAMES, LIMIT, "right")
    )
    rate = kinds.RATES.get(cell.kind.name, cell.kind.learning_rate)
    given: dict[str, Any] = {
        "model": model_on(trunk, held.peft),
        "taught": Taught(
            tokens(lengths, writes=ground.writes),
            renderer,
            renderer,
            (),
            "texts" if ground.writes else "rows",
            VOCAB,
        ),
        "places": held.places,
        "adapter": adapter,
        "settings": TrainSettings(learning_rate=rate, head_learning_rate=1e-2),
        "factors": KINDS.get(adapter.kind).factors(adapter.own),
    }
    return Subject(**{**given, **more})


def cleared(plan: Plan) -> Subject:
    """Give the run of a plan, opened as `tenon train` opens it."""
    space = open_workspace(plan)
    model, attached = build(space, None)
    return subject_of(space, model, attached)


def changed(tokens: Tokens, **columns: Sequence[Any]) -> Tokens:
    """Give tokens with other columns, of the rows that these have."""
    count = len(next(iter(columns.values())))
    table = tokens.table.slice(0, count)
    for name, cells in columns.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(cells, table.schema.field(name).type))
    made = table.combine_chunks().to_batches()
    return Tokens(pa.Table.from_batches(made, schema=SCHEMA), tokens.limit)


def with_tokens(subject: Subject, tokens: Tokens) -> Subject:
    """Give a subject on other rows."""
    return replace(subject, taught=replace(subject.taught, tokens=tokens))


def told(subject: Subject) -> Mapping[str, Check]:
    """Look at a run; give what has failed, by name."""
    return {check.name: check for check in preflight(subject).failed}
