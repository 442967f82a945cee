"""Passes: requests for rows and features, answered together over one base.

Legend: T real tokens, D hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from tenon.serve.queue import Waiting
from tenon.serve.seat import Seat
from tenon.serve.settings import EngineSettings
from tenon.serve.shared import Row, portions
from tenon.serve.shared import hidden as states_of
from tenon.serve.stage import Stage
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


Job = RowsJob | FeaturesJob


def hidden(stage: Stage, jobs: Sequence[Job], settings: EngineSettings) -> list[list[Tensor]]:
    """Give for each job the hidden states of its rows, [tokens, D] each.

    They come from one pass, but where jobs that were asked together have more rows than are
    computed at once; a single job may have more.
    """
    stage.residence.bring({job.seat: None for job in jobs if isinstance(job, RowsJob)})
    rows = [row for place, job in enumerate(jobs) for row in _rows(job, place)]
    tokens, count = (max(most) for most in zip(*map(costs, jobs), strict=True))
    tokens, count = max(tokens, settings.batch_tokens), max(count, settings.batch_rows)
    found: list[list[Tensor]] = [[torch.empty(0)] * _count(job) for job in jobs]
    for some in portions(rows, tokens, count):
        some.sort(key=lambda row: (stage.rack.order(row.owner), len(row.ids)))
        made = states_of(stage, some, sharing=settings.share_layers)
        for row, states in zip(some, made, strict=True):
            found[row.job][row.place] = states
    return found


def _count(job: Job) -> int:
    return len(job.ids) if isinstance(job, FeaturesJob) else len(job.tokens)


def _rows(job: Job, number: int) -> list[Row]:
    if isinstance(job, FeaturesJob):
        types = job.types or [None] * len(job.ids)
        pairs = enumerate(zip(job.ids, types, strict=True))
        last = job.stage.levels.last
        return [Row(None, last, ids, kinds, number, place) for place, (ids, kinds) in pairs]
    seat, tokens = job.seat, job.tokens
    return [
        Row(seat.key, seat.lowest, tokens.ids(row), tokens.types(row), number, row)
        for row in range(len(tokens))
    ]


def replies(job: RowsJob, states: Sequence[Tensor], batch_tokens: int) -> list[Any]:
    """Give the answers to rows from their hidden states, by what evaluation answers with."""
    relay = job.seat.relay
    before, relay.states = relay.states, replay(states)
    try:
        return answers(job, job.seat.answerer, batch_tokens)
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
    if isinstance(job, FeaturesJob):
        return sum(map(len, job.ids)), len(job.ids)
    return job.tokens.total, len(job.tokens)


def jobs_of(batch: Sequence[Waiting]) -> dict[int, list[Waiting]]:
    """Group requests by the stage that they are answered on."""
    found: dict[int, list[Waiting]] = {}
    for waiting in batch:
        found.setdefault(id(waiting.what.stage), []).append(waiting)
    return found
