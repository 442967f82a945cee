"""Watch: breaks the connections of clients that are too slow to send or to take anything.

It looks at what uvicorn keeps of each connection; `tests/upstream` states what that is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tenon.serve.http.settings import ServerSettings
from tenon.serve.http.telemetry import Telemetry

LOOK_SECONDS = 0.5


@dataclass
class Seen:
    """What was seen of a connection.

    Args:
        idle: since when no request of it is open; None while one is.
        left: bytes that it has not taken.
        stuck: since when it has taken none of them; None where nothing is left.
    """

    idle: float | None = None
    left: int = 0
    stuck: float | None = None


@dataclass
class Watch:
    """The connections of a server.

    Args:
        settings: the limits.
        telemetry: counts what is broken.
        seen: what was seen of each connection when it was looked at last.
    """

    settings: ServerSettings
    telemetry: Telemetry
    seen: dict[Any, Seen] = field(default_factory=dict[Any, Seen])

    async def run(self, connections: Iterable[Any]) -> None:
        """Look at all connections again and again.

        Args:
            connections: those that are open, a set that uvicorn changes.
        """
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look(list(connections), time.monotonic())

    def look(self, connections: list[Any], now: float) -> None:
        """Look at all connections once, and break those that are too slow.

        Args:
            now: by `time.monotonic()`.
        """
        self.telemetry.connections.set(len(connections))
        self.seen = {each: self._looked(each, now) for each in connections}
        for connection, seen in self.seen.items():
            if cause := self._cause(seen, now):
                self.telemetry.broken.labels(cause).inc()
                connection.transport.abort()

    def _looked(self, connection: Any, now: float) -> Seen:
        before = self.seen.get(connection) or Seen()
        open_request = connection.cycle is not None and not connection.cycle.response_complete
        left = connection.transport.get_write_buffer_size()
        moved = left < before.left or not before.left
        idle = None if open_request else before.idle if before.idle is not None else now
        stuck = None if not left else now if moved or before.stuck is None else before.stuck
        return Seen(idle, left, stuck)

    def _cause(self, seen: Seen, now: float) -> str:
        if seen.stuck is not None and now - seen.stuck > self.settings.write_seconds:
            return "takes nothing"
        if seen.idle is not None and now - seen.idle > self.settings.header_seconds:
            return "sends no request"
        return ""
