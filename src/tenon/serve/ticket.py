"""Ticket: a text that is being written, which may be given up."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field

from tenon.evaluate.running import Piece


@dataclass(eq=False)
class Ticket:
    """A text that is being written.

    Args:
        future: of the last piece.
    """

    future: Future[Piece]
    _cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Give it up: nothing more is written, and its last piece says so."""
        self._cancelled.set()
        self.future.cancel()

    @property
    def cancelled(self) -> bool:
        """Whether it was given up."""
        return self._cancelled.is_set()
