"""Engine: many adapters over one base in memory, of any kinds, asked from any thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from tenon.adapters.fingerprint import fingerprint
from tenon.core.errors import Gone, RequestError, RunError, TenonError, did_you_mean
from tenon.evaluate.decoding import Passes
from tenon.evaluate.generate import clipped
from tenon.evaluate.running import Piece
from tenon.model.base import Base, locate
from tenon.serve.admission import Admission, admit, again
from tenon.serve.asked import Features, Prompt, Rows
from tenon.serve.handle import Handle
from tenon.serve.intake import Intake, longest, most_of_prompt, writer_of
from tenon.serve.passes import Job, costs
from tenon.serve.proof import ProofJob
from tenon.serve.queue import Lane, Queue, Waiting
from tenon.serve.seat import Seat
from tenon.serve.settings import EngineSettings
from tenon.serve.stage import Stage, Tally
from tenon.serve.ticket import Ticket
from tenon.serve.trunks import Sort, Trunks
from tenon.serve.worker import Worker
from tenon.serve.writing import Told
from tenon.text.render import Rendered, Renderer
from tenon.text.text_generation_render import WritingRenderer

SHORTEST_DIGEST = 6
LOCKS = 1024
"""Many, so that two names of which adapters change at once seldom share one."""


class Engine:
    """Adapters over one base, ready to answer.

    Every method may be called from any thread. One thread of the engine's own computes.

    Args:
        base: a base, or its folder, package or hub id.
        settings: what it may hold, queue and compute at once.

    Raises:
        FileError: the base is not there.
        AdapterError: its weights are damaged.
    """

    def __init__(self, base: Base | str, settings: EngineSettings | None = None) -> None:
        self.settings = settings or EngineSettings()
        self.base = locate(base) if isinstance(base, str) else base
        held = self.settings.quantize
        self.fingerprint = fingerprint(self.base.folder, self.base.name, self.base.revision, held)
        self._trunks = Trunks(
            self.base, self.settings, lambda handle: again(handle, self.fingerprint)
        )
        self._intake = Intake(self.base, self.settings.request_rows)
        self._seats: dict[Handle, tuple[Stage, Seat]] = {}
        self._names: dict[str, Handle] = {}
        self._owned: dict[Sort, Stage] = {}
        self._locks = tuple(threading.Lock() for _ in range(LOCKS))
        self._loading = threading.Lock()
        self._worker = Worker(Queue(self.settings.queue_requests), self.settings)

    @property
    def handles(self) -> Mapping[str, Handle]:
        """The adapters that may be asked now, by name; it does not change when they do."""
        return MappingProxyType(dict(self._names))

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return len(self._worker.queue)

    @property
    def passes(self) -> Passes:
        """How many passes have written texts, and how they were computed."""
        return self._worker.passes()

    @property
    def tally(self) -> Tally:
        """What layers computed for rows that were read, and what equal texts have spared them."""
        held = [stage.tally for stage in list(self._trunks.held.values())]
        return Tally(sum(each.computed for each in held), sum(each.spared for each in held))

    @property
    def slower(self) -> dict[str, str]:
        """What is answered more slowly than it could be, with why; from any thread."""
        held = [seat for _, seat in list(self._seats.values())]
        apart = {f"adapter {seat.handle.pinned}": seat.apart for seat in held if seat.apart}
        return {**apart, **self._worker.slower()}

    def watch(self, told: Callable[[Lane, int], None]) -> None:
        """Let something be told of each pass how many rows it had, in the engine's own thread."""
        self._worker.told = told

    def add(self, name: str, folder: Path | str) -> Handle:
        """Admit an adapter, or replace the one of this name; it is proved before it may answer.

        Requests that hold the old handle are still answered by the old adapter.

        Args:
            name: under which it is asked.
            folder: the adapter directory.

        Raises:
            AdapterError: it is damaged, belongs to another base, or does not give the scores that
                it gave when it was written. Nothing has changed.
            FileError: the folder is not there. Nothing has changed.
        """
        admission = admit(name, Path(folder), self.fingerprint)
        with self._changing(name):
            before = self._names.get(name)
            if before is not None and before.digest == admission.handle.digest:
                return before
            stage, seat = self._seated(admission)
            self._seats[seat.handle] = (stage, seat)
            self._names[name] = seat.handle
            if before is not None:
                self._drain(before)
        return seat.handle

    def remove(self, name: str) -> None:
        """Take an adapter out; what was asked of it before is still answered.

        Raises:
            RequestError: there is none of this name.
        """
        with self._changing(name):
            self._drain(self.handle(name))
            del self._names[name]

    def _drain(self, handle: Handle) -> None:
        """Forget an adapter once nothing waits for it."""
        if self._seats[handle][1].leave():
            self._clear(handle)

    def _clear(self, handle: Handle) -> None:
        self._unseat(*self._seats.pop(handle))

    def _unseat(self, stage: Stage, seat: Seat) -> None:
        with contextlib.suppress(RunError):  # an engine that is closed has forgotten all
            self._worker.queue.call(lambda: stage.unseat(seat))

    def handle(self, name: str) -> Handle:
        """Give the adapter of a name, or of a name and digest, `name@digest`.

        Raises:
            RequestError: there is none, or it has been replaced.
        """
        plain, _, digest = name.partition("@")
        found = self._names.get(plain)
        if found is None:
            raise RequestError(f"adapter {plain}: is not here; {did_you_mean(plain, self._names)}")
        if digest and not (len(digest) >= SHORTEST_DIGEST and found.digest.startswith(digest)):
            raise RequestError(
                f"adapter {plain}: is {found.digest[:12]}… now, {digest[:12]} was asked; ask by "
                "name alone for what is here"
            )
        return found

    def ask(self, asked: Rows | Features) -> Future[list[Any]]:
        """Ask for answers to rows, or for vectors of texts.

        Returns:
            Of the answers, in the order of the rows; `.cancel()` takes back what still waits.

        Raises:
            RequestError: something cannot be answered; Busy: too much waits already; Gone: the
                adapter has been replaced or taken out.
        """
        return self.ask_together([asked])[0]

    def ask_together(self, asked: Sequence[Rows | Features]) -> list[Future[list[Any]]]:
        """Ask for several things that are answered in the same passes, so that equal texts share.

        Args:
            asked: at least one; they take one turn in the queue, that of the first one's flow.

        Returns:
            A future for each, as `ask` gives it.

        Raises:
            RequestError: as of `ask`; nothing is asked then.
        """
        made = [self._job(each) for each in asked]
        keys = "\n".join(seat.key if seat else "" for _, seat in made)
        flow = f"{asked[0].flow}\n{keys}"
        waiting = [
            Waiting(job, flow, *costs(job), each.deadline, Future())
            for each, (job, _) in zip(asked, made, strict=True)
        ]
        tokens, rows = sum(each.tokens for each in waiting), sum(each.rows for each in waiting)
        first = replace(waiting[0], tokens=tokens, rows=rows, beside=tuple(waiting[1:]))
        self._put(first, "rows", [seat for _, seat in made])
        return [each.future for each in waiting]

    def _job(self, asked: Rows | Features) -> tuple[Job, Seat | None]:
        if isinstance(asked, Features):
            return self._intake.features(self._own("reads"), asked), None
        stage, seat = self._seat(asked.handle)
        return self._intake.rows(stage, seat, asked), seat

    def write(self, asked: Prompt, told: Told) -> Ticket:
        """Let an adapter, or the base itself, go on from a prompt.

        Args:
            asked: the prompt.
            told: gets the pieces, the last of which has a `finish`, in the engine's own thread: it
                must not take long.

        Raises:
            RequestError: it cannot be answered; Busy and Gone as for `ask`.
        """
        stage, seat = self._writer(asked.handle)
        ticket = Ticket(Future[Piece]())
        job = self._intake.prompt(stage, seat, asked, told, ticket)
        tokens = len(asked.ids) + job.prompt.sampling.max_new_tokens
        flow = f"{asked.flow}\n{seat.key if seat else ''}"
        self._put(Waiting(job, flow, tokens, 1, asked.deadline, ticket.future), "texts", [seat])
        return ticket

    def renderer(self, handle: Handle | None) -> WritingRenderer:
        """Give what makes prompts of conversations for an adapter, or for the base itself.

        Raises:
            RequestError: the adapter, or the base, writes no texts.
        """
        return writer_of(*self._writer(handle))

    def fitted(
        self, handle: Handle | None, ids: tuple[int, ...], max_new_tokens: int = 0
    ) -> tuple[int, ...]:
        """Give a prompt's last tokens that leave room for so many new ones; its begin token stays.

        Args:
            max_new_tokens: 0 for as many as the adapter writes when nothing is said.
        """
        stage, seat = self._writer(handle)
        renderer = writer_of(stage, seat)
        most = most_of_prompt(stage, renderer, max_new_tokens or longest(seat))
        begin = renderer.tokenizer.bos_token_id
        return tuple(clipped(ids, most, begin if isinstance(begin, int) else None))

    def close(self) -> None:
        """Answer what waits, take nothing more, and end."""
        self._worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _put(self, waiting: Waiting, lane: Lane, seats: Sequence[Seat | None]) -> None:
        try:
            for each, seat in zip(waiting.every, seats, strict=True):
                if seat is not None:
                    seat.begin()
                    each.future.add_done_callback(lambda _, seat=seat: self._end(seat))
            self._worker.queue.put(waiting, lane)
        except TenonError:
            for each in waiting.every:
                each.future.cancel()
            raise

    def _end(self, seat: Seat) -> None:
        if seat.end():
            self._clear(seat.handle)

    def _seat(self, handle: Handle) -> tuple[Stage, Seat]:
        found = self._seats.get(handle)
        if found is None:
            raise Gone(f"adapter {handle.name}: has been taken out; ask for it by name")
        return found

    def _writer(self, handle: Handle | None) -> tuple[Stage, Seat | None]:
        return (self._own("writes"), None) if handle is None else self._seat(handle)

    def _changing(self, name: str) -> threading.Lock:
        """Give the lock under which the adapter of a name changes; others may change beside it."""
        return self._locks[hash(name) % len(self._locks)]

    def _seated(self, admission: Admission) -> tuple[Stage, Seat]:
        """Put an adapter beside the others, and wait until it is proved, with rows of theirs."""
        manifest = admission.adapter.manifest
        stage = self._trunks.here(manifest) or self._worker.do(lambda: self._trunks.stage(manifest))
        renderer, rows = self._intake.probes(stage, admission.handle)
        # The worker is between two passes then, and reads the probes in the next one.
        seat, proof = self._worker.do(lambda: self._put_in(stage, admission, renderer, rows))
        try:
            proof.result()
        except BaseException:
            self._unseat(stage, seat)
            raise
        return stage, seat

    def _put_in(
        self, stage: Stage, admission: Admission, renderer: Renderer, rows: Rendered | None
    ) -> tuple[Seat, Future[None]]:
        """Put an adapter beside the others, to be proved next; for the worker's thread."""
        seat, proof = stage.seat(admission.handle, admission.adapter, renderer), Future[None]()
        if rows is None or stage.proved(seat.handle.digest):
            proof.set_result(None)
            return seat, proof
        job = ProofJob(stage, seat, rows)
        waiting = Waiting(job, f"\n{seat.key}", *costs(job), None, proof)
        self._worker.queue.put(waiting, "rows", ahead=True)
        return seat, proof

    def _own(self, sort: Sort) -> Stage:
        """Give the stage on which the base answers for itself."""
        with self._loading:
            if sort not in self._owned:
                self._owned[sort] = self._worker.do(lambda: self._trunks.own(sort))
            return self._owned[sort]
