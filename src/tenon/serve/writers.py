"""Writers: the texts that are being written over one base, many at once where it can be.

An adapter that answers apart, or a base whose rows cannot be continued together, writes one text
after another.
"""

from __future__ import annotations

from collections.abc import Iterator

from tenon.core.errors import PlanError, RequestError
from tenon.evaluate.decoding import Decoding
from tenon.evaluate.running import Piece, Running
from tenon.serve.queue import Waiting, settle
from tenon.serve.seat import Seat
from tenon.serve.settings import EngineSettings
from tenon.serve.stage import Stage
from tenon.serve.writing import WriteJob, write_one


class Writers:
    """The texts of one base.

    Args:
        stage: the base.
        settings: how many are written at once.
    """

    def __init__(self, stage: Stage, settings: EngineSettings) -> None:
        self.stage = stage
        self.decoding: Decoding | None = None
        self.why = ""
        self.running: dict[Running, Waiting] = {}
        stage.close()  # what is proved of a base is proved without adapters
        try:
            self.decoding = Decoding(stage.rack, settings, stage.opened)
        except PlanError as error:
            self.why = str(error)

    @property
    def slower(self) -> dict[str, str]:
        """What of the base's texts is written more slowly than it could be, with why."""
        held = self.decoding
        if held is None:
            return {"texts, which are written one after another": self.why}
        found = {"texts, which are written without grids": held.why}
        if held.turns is not None:
            found = {"texts, whose passes are not replayed": held.turns.recordings.why}
        return {what: why for what, why in found.items() if why}

    def fits(self, job: WriteJob) -> bool:
        """Whether a text could begin now; one that never can is told so when it begins."""
        if self.decoding is None or _apart(job):
            return True
        try:
            return self.decoding.room(job.prompt)
        except RequestError:
            return True

    def begin(self, waiting: Waiting) -> None:
        """Begin a text; one that is written apart is written to its end."""
        job: WriteJob = waiting.what
        if self.decoding is None or _apart(job):
            settle(lambda: write_one(job), waiting.future)
            return
        owner = None if job.seat is None else job.seat.key
        row = Running(owner, job.prompt, job.renderer.answer, job.renderer.stop_ids)
        try:
            self.decoding.begin(row)
        except RequestError as error:
            waiting.future.set_exception(error)
        else:
            self.running[row] = waiting

    def step(self) -> None:
        """Write the next token of every text, and tell what is new."""
        if self.decoding is None:
            return
        for row, waiting in list(self.running.items()):
            if waiting.what.ticket.cancelled:
                self._tell(row, self.decoding.cancel(row))
        self._bring()
        for row, said in self.decoding.step() if self.running else ():
            if isinstance(said, Piece):
                self._tell(row, said)
            else:
                self.running.pop(row).future.set_exception(said)

    def fail(self, error: Exception) -> None:
        """Give up all texts."""
        while self.running:
            self.running.popitem()[1].future.set_exception(error)

    def _tell(self, row: Running, piece: Piece) -> None:
        waiting = self.running[row]
        if piece.finish is not None:
            del self.running[row]
        try:
            waiting.what.told(piece)
        except Exception as error:  # noqa: BLE001 - the edge: what who asked does of its own
            self._give_up(row, waiting, error)
        else:
            if piece.finish is not None:
                waiting.future.set_result(piece)

    def _give_up(self, row: Running, waiting: Waiting, error: Exception) -> None:
        if self.running.pop(row, None) and self.decoding is not None and row.finish is None:
            self.decoding.cancel(row)
        waiting.future.set_exception(error)

    def _bring(self) -> None:
        """Put the adapters of all texts into the base; texts of one that has gone are given up."""
        seats = dict.fromkeys(self._seats())
        try:
            self.stage.residence.bring(seats)
        except Exception:  # noqa: BLE001 - the edge: one adapter's files must not end other texts
            for seat in seats:
                self._bring_one(seat)

    def _bring_one(self, seat: Seat) -> None:
        try:
            self.stage.residence.bring([seat])
        except Exception as error:  # noqa: BLE001 - as above
            for row, waiting in list(self.running.items()):
                if waiting.what.seat is seat:
                    self._give_up(row, waiting, error)

    def _seats(self) -> Iterator[Seat]:
        for waiting in self.running.values():
            if waiting.what.seat is not None:
                yield waiting.what.seat


def _apart(job: WriteJob) -> bool:
    return job.seat is not None and bool(job.seat.apart)
