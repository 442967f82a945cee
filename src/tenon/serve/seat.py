"""Seat: an adapter that was admitted, with what turns hidden states into its answers."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from tenon.core.errors import Gone
from tenon.evaluate.answerer import Answerer
from tenon.model.relay import Relay
from tenon.serve.handle import Handle


@dataclass(eq=False)
class Seat:
    """An adapter on a stage.

    Args:
        handle: whose it is.
        key: its name in the rack.
        answerer: its head over the relay.
        relay: gives the head the hidden states that were computed for its rows.
        head: the tensors of the head.
        apart: why it shares no pass over the base with others; empty where it does.
        lowest: the level of the base below which it changes nothing, as far as rows may part there
            (`tenon.model.levels`).
    """

    handle: Handle
    key: str
    answerer: Answerer
    relay: Relay
    head: Mapping[str, Tensor]
    apart: str = ""
    lowest: int = 0
    _asked: int = 0
    _leaving: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> None:
        """Take note of a request.

        Raises:
            Gone: the adapter has been taken out, and no request waits for it any more.
        """
        with self._lock:
            if self._leaving and not self._asked:
                name = self.handle.name
                raise Gone(f"adapter {name}: has been taken out; ask for it by name")
            self._asked += 1

    def end(self) -> bool:
        """Take note that a request has ended; say whether the seat can be cleared now."""
        with self._lock:
            self._asked -= 1
            return self._leaving and not self._asked

    def leave(self) -> bool:
        """Let no more requests come; say whether the seat can be cleared now."""
        with self._lock:
            self._leaving = True
            return not self._asked
