"""Passes: requests for rows and features, answered together over one base.

Legend: T real tokens, D hidden.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

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
from tenon.serve.settings import EngineSettings
from tenon.serve.shared import Row, portions
from tenon.serve.shared import hidden as states_of
from tenon.serve.stage import Stage
from tenon.text.render import Rendered
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


def hidden(stage: Stage, jobs: Sequence[Job], settings: EngineSettings) -> list[list[Tensor]]:
    """Give for each job the hidden states of its rows, [tokens, D] each.

    They come from one pass, but where jobs that were asked together have more rows than are
    computed at once; a single job may have more.
    """
    stage.residence.bring({job.seat: None for job in jobs if not isinstance(job, FeaturesJob)})
    rows = [row for place, job in enumerate(jobs) for row in _rows(job, place)]
    tokens, count = (max(most) for most in zip(*map(costs, jobs), strict=True))
    tokens, count = max(tokens, settings.batch_tokens), max(count, settings.batch_rows)
    found: list[list[Tensor]] = [[torch.empty(0)] * costs(job)[1] for job in jobs]
    for some in portions(rows, tokens, count):
        some.sort(key=lambda row: (stage.rack.order(row.owner), len(row.ids)))
        made = states_of(stage, some, sharing=settings.share_layers)
        for row, states in zip(some, made, strict=True):
            found[row.job][row.place] = states
    return found


def _rows(job: Job, number: int) -> list[Row]:
    if isinstance(job, RowsJob):
        seat, held = job.seat, job.tokens
        return [
            Row(seat.key, seat.lowest, held.ids(row), held.types(row), number, row)
            for row in range(len(held))
        ]
    if isinstance(job, ProofJob):
        return _listed(job.rows, job.seat.key, job.seat.lowest, number)
    return _listed(job, None, job.stage.levels.last, number)


def _listed(rows: Rendered | FeaturesJob, owner: str | None, lowest: int, number: int) -> list[Row]:
    types = rows.types or [None] * len(rows.ids)
    pairs = enumerate(zip(rows.ids, types, strict=True))
    return [Row(owner, lowest, ids, kinds, number, place) for place, (ids, kinds) in pairs]


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
