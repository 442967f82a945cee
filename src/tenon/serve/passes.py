"""Passes: requests for rows and features, answered together over one base.

Legend: T real tokens, D hidden.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tenon.core.errors import RequestError
from tenon.evaluate.answerer import Answerer
from tenon.evaluate.exam import EXAMS
from tenon.model.base import Trained
from tenon.model.head import pool
from tenon.model.relay import replay
from tenon.serve.asked import Form
from tenon.serve.proof import ProofJob
from tenon.serve.queue import Waiting
from tenon.serve.seat import Seat
from tenon.serve.stage import Stage
from tenon.text.batch import Batch
from tenon.text.tokens import Tokens


@dataclass(frozen=True)
class RowsJob:
    """Rows of one adapter, as token ids.

    Args:
        stage: that the adapter sits on.
        seat: the adapter's.
        tokens: of the rows.
        form: of what is given.
    """

    stage: Stage
    seat: Seat
    tokens: Tokens
    form: Form


@dataclass(frozen=True)
class FeaturesJob:
    """Texts for the base itself, as token ids.

    Args:
        stage: the base's.
        ids: of each text.
        types: likewise, or None.
        trained: how the base was pooled.
    """

    stage: Stage
    ids: list[list[int]]
    types: list[list[int]] | None
    trained: Trained


Job = RowsJob | FeaturesJob | ProofJob


@dataclass(frozen=True)
class Row:
    """One row of a pass.

    Args:
        owner: key of its adapter; None for the base.
        ids, types: of its tokens.
        job, place: whose row it is.
    """

    owner: str | None
    ids: Any
    types: Any
    job: int
    place: int


def hidden(stage: Stage, jobs: Sequence[Job]) -> list[list[Tensor]]:
    """Give for each job the hidden states of its rows, [tokens, D] each, from one pass."""
    stage.residence.bring({job.seat: None for job in jobs if not isinstance(job, FeaturesJob)})
    rows = [row for place, job in enumerate(jobs) for row in _rows(job, place)]
    rows.sort(key=lambda row: (stage.rack.order(row.owner), len(row.ids)))
    batch = _batch(rows)
    hidden_TD = stage.hidden_TD(batch, [row.owner for row in rows])
    found: list[list[Tensor]] = [[torch.empty(0)] * costs(job)[1] for job in jobs]
    for row, states in zip(rows, hidden_TD.split(list(batch.lengths)), strict=True):
        found[row.job][row.place] = states
    return found


def _rows(job: Job, number: int) -> list[Row]:
    if isinstance(job, RowsJob):
        key, held = job.seat.key, job.tokens
        return [Row(key, held.ids(row), held.types(row), number, row) for row in range(len(held))]
    listed = job.rows if isinstance(job, ProofJob) else job
    owner = job.seat.key if isinstance(job, ProofJob) else None
    types = listed.types or [None] * len(listed.ids)
    pairs = enumerate(zip(listed.ids, types, strict=True))
    return [Row(owner, ids, kinds, number, place) for place, (ids, kinds) in pairs]


def _batch(rows: Sequence[Row]) -> Batch:
    ids = np.concatenate([row.ids for row in rows]).astype(np.int64)
    typed = any(row.types is not None for row in rows)
    types = [np.zeros(len(row.ids)) if row.types is None else row.types for row in rows]
    return Batch(
        ids_T=torch.from_numpy(ids),
        types_T=torch.from_numpy(np.concatenate(types).astype(np.int64)) if typed else None,
        lengths=tuple(len(row.ids) for row in rows),
        targets_X=torch.empty(0),
        rows=np.arange(len(rows)),
    )


@contextlib.contextmanager
def given(job: RowsJob | ProofJob, states: Sequence[Tensor]) -> Iterator[Answerer]:
    """Give what evaluation answers with, over the hidden states of rows."""
    relay = job.seat.relay
    before, relay.states = relay.states, replay(states)
    try:
        yield job.seat.answerer
    finally:
        relay.states = before


def answers(job: RowsJob, answerer: Answerer, batch_tokens: int) -> list[Any]:
    """Give the answers to rows.

    Args:
        answerer: of their adapter.

    Raises:
        RequestError: replies are wanted, and a row cannot be answered.
    """
    found = answerer.answer(job.tokens, batch_tokens=batch_tokens)
    exam = EXAMS.get(answerer.manifest.task)
    if job.form == "entries":
        return list(exam.entries(found))
    if found.failed:
        raise RequestError("; ".join(f"{o}: {why}" for o, why in found.failed.items()))
    return exam.replies(found)


def vectors(job: FeaturesJob, states: Sequence[Tensor]) -> list[list[float]]:
    """Give the vectors of texts from their hidden states, of length 1."""
    lengths = tuple(len(each) for each in states)
    pooled_BD = pool(torch.cat(list(states)), lengths, job.trained.pooling)
    return functional.normalize(pooled_BD, dim=-1).cpu().tolist()


def costs(job: Job) -> tuple[int, int]:
    """Give the tokens and rows of a job."""
    if isinstance(job, RowsJob):
        return job.tokens.total, len(job.tokens)
    ids = job.rows.ids if isinstance(job, ProofJob) else job.ids
    return sum(map(len, ids)), len(ids)


def jobs_of(batch: Sequence[Waiting]) -> dict[int, list[Waiting]]:
    """Group requests by the stage that they are answered on."""
    found: dict[int, list[Waiting]] = {}
    for waiting in batch:
        found.setdefault(id(waiting.what.stage), []).append(waiting)
    return found
