"""Worker: the one thread that computes; all that touches a base in memory is done here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from tenon.core.errors import RunError
from tenon.evaluate.answerer import Answerer
from tenon.evaluate.decoding import Passes
from tenon.serve.passes import (
    FeaturesJob,
    Job,
    RowsJob,
    answers,
    costs,
    given,
    hidden,
    jobs_of,
    vectors,
)
from tenon.serve.proof import ProofJob, proved
from tenon.serve.queue import Lane, Queue, Waiting, settle
from tenon.serve.settings import EngineSettings
from tenon.serve.stage import Stage
from tenon.serve.writers import Writers


class Worker:
    """A thread that answers what waits in a queue.

    Args:
        queue: of requests.
        settings: how much is computed at once.
    """

    def __init__(self, queue: Queue, settings: EngineSettings) -> None:
        self.queue = queue
        self.settings = settings
        self.writers: dict[Stage, Writers] = {}
        self.told: Callable[[Lane, int], None] = lambda _lane, _rows: None
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
        try:
            while self.queue.attend(wait=not self._writing) or self._writing:
                self._rows()
                self._texts()
        except Exception as error:
            # Who waits for an answer must hear that none will come.
            told = RunError(f"the engine has stopped ({type(error).__name__}: {error})")
            self.queue.fail(told)
            for writers in self.writers.values():
                writers.fail(told)
            raise

    def passes(self) -> Passes:
        """Give how many passes have written texts, over all bases; from any thread."""
        held = [each.decoding.passes for each in list(self.writers.values()) if each.decoding]
        return Passes(
            sum(each.replayed for each in held),
            sum(each.grids for each in held),
            sum(each.others for each in held),
        )

    def slower(self) -> dict[str, str]:
        """Give which passes of texts are slower than they could be, and why; from any thread."""
        found: dict[str, str] = {}
        for each in list(self.writers.values()):
            found |= each.slower
        return found

    @property
    def _writing(self) -> bool:
        return any(each.running for each in self.writers.values())

    def _rows(self) -> None:
        batch = self.queue.rows(self.settings.batch_tokens, self.settings.batch_rows)
        if not batch:
            return
        began = time.monotonic()
        for part in jobs_of(batch).values():
            self._answer(part)
        self.queue.served(len(batch), time.monotonic() - began)

    def _texts(self) -> None:
        while waiting := self.queue.text(lambda each: self._writers(each).fits(each.what)):
            self._writers(waiting).begin(waiting)
        for writers in self.writers.values():
            if writers.running:
                self.told("texts", len(writers.running))
            writers.step()

    def _writers(self, waiting: Waiting) -> Writers:
        stage = waiting.what.stage
        if stage not in self.writers:
            self.writers[stage] = Writers(stage, self.settings)
        return self.writers[stage]

    def _answer(self, part: Sequence[Waiting]) -> None:
        """Answer requests over one base."""
        together = [waiting for waiting in part if shared(waiting.what)]
        for waiting in part:
            if not shared(waiting.what):
                settle(lambda job=waiting.what: self._alone(job), waiting.future)
        if together:
            self._together(together)

    def _alone(self, job: RowsJob | ProofJob) -> Any:
        with job.stage.answering(job.seat) as answerer:
            return self._asked(job, answerer)

    def _together(self, part: Sequence[Waiting]) -> None:
        """Answer requests in one pass; where it fails, each in a pass of its own."""
        jobs: list[Job] = [waiting.what for waiting in part]
        try:
            states = hidden(jobs[0].stage, jobs, self.settings)
            self.told("rows", sum(costs(job)[1] for job in jobs))
        except Exception as error:  # noqa: BLE001 - the edge: it is raised where a future is asked
            if len(part) == 1:
                part[0].future.set_exception(error)
                return
            for waiting in part:
                self._together([waiting])
            return
        for waiting, rows in zip(part, states, strict=True):
            settle(lambda job=waiting.what, rows=rows: self._said(job, rows), waiting.future)

    def _said(self, job: Job, rows: Sequence[Any]) -> Any:
        if isinstance(job, FeaturesJob):
            return vectors(job, rows)
        with given(job, rows) as answerer:
            return self._asked(job, answerer)

    def _asked(self, job: RowsJob | ProofJob, answerer: Answerer) -> Any:
        if isinstance(job, ProofJob):
            return proved(job, answerer)
        return answers(job, answerer, self.settings.batch_tokens)


def shared(job: Job) -> bool:
    """Whether a job's rows can share a pass with those of others."""
    if isinstance(job, FeaturesJob):
        return True
    written = isinstance(job, RowsJob) and job.seat.handle.manifest.writes
    return not (job.seat.apart or written)
