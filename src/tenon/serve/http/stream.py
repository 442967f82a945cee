"""Stream: the pieces of an answer, from the thread that writes to a client that may be slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from tenon.core.errors import Late
from tenon.evaluate.running import Piece
from tenon.serve.http.refusal import Refused
from tenon.serve.ticket import Ticket


@dataclass
class Stream:
    """Pieces that wait for their client, no more than so many.

    Args:
        most: pieces that may wait; where they are more, the answer is given up.
        ticket: of the answer, once it is asked for.
    """

    most: int
    ticket: Ticket | None = None
    lost: bool = False
    _waiting: asyncio.Queue[Piece | BaseException] = field(
        default_factory=asyncio.Queue[Piece | BaseException]
    )
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def begin(self, ask: Callable[[Callable[[Piece], None]], Ticket]) -> None:
        """Ask for the answer; runs in a thread.

        Args:
            ask: takes what is told of each piece, and gives the ticket.
        """
        self.ticket = ask(self.told)
        self.ticket.future.add_done_callback(self._ended)
        if self.lost:
            self.ticket.cancel()

    def told(self, piece: Piece) -> None:
        """Take a piece; runs in the thread that writes."""
        self._loop.call_soon_threadsafe(self._take, piece)

    def give_up(self) -> None:
        """Have nothing more written."""
        self.lost = True
        if self.ticket is not None:
            self.ticket.cancel()

    async def pieces(self) -> AsyncIterator[Piece]:
        """Give pieces as they come, through the one that has a `finish`.

        Raises:
            Refused: 503, the client took them too slowly; 504, the time is over.
            TenonError: what the engine met.
        """
        while True:
            item = await self._waiting.get()
            if isinstance(item, BaseException):
                raise item
            if item.finish == "deadline":
                raise Late("the answer was not written within the time that a request has")
            if item.finish == "cancelled":
                raise _lost()
            yield item
            if item.finish is not None:
                return

    def _take(self, item: Piece | BaseException) -> None:
        if self._waiting.qsize() < self.most:
            self._waiting.put_nowait(item)
        elif not self.lost:
            self.give_up()
            self._waiting.put_nowait(_lost())

    def _ended(self, future: Future[Any]) -> None:
        error = _lost() if future.cancelled() else future.exception()
        if error is not None:
            self._loop.call_soon_threadsafe(self._take, error)


def _lost() -> Refused:
    return Refused(503, "the answer was given up; ask again", code="given_up", retry_seconds=1)
