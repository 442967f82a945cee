"""Worker: the one thread that computes; all that touches a base in memory is done here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from tenon.serve.passes import (
    FeaturesJob,
    Job,
    RowsJob,
    answers,
    hidden,
    jobs_of,
    replies,
    vectors,
)
from tenon.serve.queue import Queue, Waiting
from tenon.serve.settings import EngineSettings
from tenon.serve.writing import WriteJob, write_one


class Worker:
    """A thread that answers what waits in a queue.

    Args:
        queue: of requests.
        settings: how much is computed at once.
    """

    def __init__(self, queue: Queue, settings: EngineSettings) -> None:
        self.queue = queue
        self.settings = settings
        self.thread = threading.Thread(target=self._work, name="tenon-engine", daemon=True)
        self.thread.start()

    def do(self, compute: Callable[[], Any]) -> Any:
        """Compute something in the thread, before the next requests, and give what it gives."""
        return self.queue.call(compute).result()

    def close(self) -> None:
        """Answer what waits, and end."""
        self.queue.close()
        self.thread.join()

    def _work(self) -> None:
        settings = self.settings
        while (batch := self.queue.take(settings.batch_tokens, settings.batch_rows)) is not None:
            began = time.monotonic()
            for part in jobs_of(batch).values():
                self._answer(part)
            self.queue.served(len(batch), time.monotonic() - began)

    def _answer(self, part: Sequence[Waiting]) -> None:
        """Answer requests over one base."""
        together = [w for w in part if isinstance(w.what, RowsJob | FeaturesJob) and shared(w.what)]
        for waiting in part:
            if waiting not in together:
                settle(waiting, lambda waiting=waiting: self._alone(waiting.what))
        if together:
            self._together(together)

    def _alone(self, job: RowsJob | WriteJob) -> Any:
        if isinstance(job, WriteJob):
            return write_one(job)
        with job.stage.answering(job.seat) as answerer:
            return answers(job, answerer, self.settings.batch_tokens)

    def _together(self, part: Sequence[Waiting]) -> None:
        """Answer requests in one pass; where it fails, each in a pass of its own."""
        jobs: list[Job] = [waiting.what for waiting in part]
        try:
            states = hidden(jobs[0].stage, jobs)
        except Exception as error:  # noqa: BLE001 - the edge: it is raised where a future is asked
            if len(part) == 1:
                part[0].future.set_exception(error)
                return
            for waiting in part:
                self._together([waiting])
            return
        for waiting, rows in zip(part, states, strict=True):
            settle(waiting, lambda job=waiting.what, rows=rows: self._said(job, rows))

    def _said(self, job: Job, rows: Sequence[Any]) -> Any:
        if isinstance(job, FeaturesJob):
            return vectors(job, rows)
        return replies(job, rows, self.settings.batch_tokens)


def shared(job: Job) -> bool:
    """Whether a job's rows can share a pass with those of others."""
    return isinstance(job, FeaturesJob) or not (job.seat.apart or job.seat.handle.manifest.writes)


def settle(waiting: Waiting, compute: Callable[[], Any]) -> None:
    """Give a request its answer, or the error that it met."""
    try:
        result = compute()
    except Exception as error:  # noqa: BLE001 - the edge: it is raised where the future is asked
        waiting.future.set_exception(error)
    else:
        waiting.future.set_result(result)
