"""Queue: requests that wait for their turn: bounded, and fair between flows."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

from tenon.core.errors import Busy, Late, RunError

Lane = Literal["rows", "texts"]
SMOOTHING = 0.05
"""Weight of the newest request in the running mean of the time that one takes."""
LEAST_RETRY = 0.1


@dataclass(eq=False)
class Waiting:
    """A request in the queue.

    Args:
        what: is asked.
        flow: flows take turns.
        tokens, rows: what it costs.
        deadline: by `time.monotonic()`; None for none.
        future: of its answer.
        beside: requests that were asked together with it, and come with it when it is its turn;
            what they cost is in its own `tokens` and `rows`.
    """

    what: Any
    flow: str
    tokens: int
    rows: int
    deadline: float | None
    future: Future[Any]
    beside: tuple[Waiting, ...] = ()

    @property
    def every(self) -> tuple[Waiting, ...]:
        """It, and what comes with it."""
        return self, *self.beside

    def begin(self) -> bool:
        """Say whether it still wants an answer; one that is late is told so."""
        if not self.future.set_running_or_notify_cancel():
            return False
        if self.deadline is not None and time.monotonic() > self.deadline:
            self.future.set_exception(Late("the request waited longer than it may; ask again"))
            return False
        return True


class Queue:
    """Requests in two lanes by flow, and calls that go before all of them.

    Args:
        most: requests that may wait.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.closed = False
        self.seconds = LEAST_RETRY
        self._lanes: dict[Lane, OrderedDict[str, deque[Waiting]]] = {
            "rows": OrderedDict(),
            "texts": OrderedDict(),
        }
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._count = 0
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return self._count

    def put(self, waiting: Waiting, lane: Lane, *, ahead: bool = False) -> None:
        """Let a request wait.

        Args:
            ahead: of all others, however many they are; its flow has no other request.

        Raises:
            Busy: as many wait as may.
            RunError: the queue is closed.
        """
        with self._changed:
            self._refuse_closed()
            count = len(waiting.every)
            if self._count and self._count + count > self.most and not ahead:
                seconds = max(LEAST_RETRY, round(self.seconds * self._count, 1))
                raise Busy(
                    f"{self._count:,} requests wait already; ask again in {seconds:g} s", seconds
                )
            self._lanes[lane].setdefault(waiting.flow, deque()).append(waiting)
            if ahead:
                self._lanes[lane].move_to_end(waiting.flow, last=False)
            self._count += count
            self._changed.notify()

    def call(self, compute: Callable[[], Any]) -> Future[Any]:
        """Let the worker compute something before it takes the next requests.

        Raises:
            RunError: the queue is closed.
        """
        future: Future[Any] = Future()
        with self._changed:
            self._refuse_closed()
            self._calls.append((compute, future))
            self._changed.notify()
        return future

    def attend(self, *, wait: bool) -> bool:
        """Run the calls; say whether anything waits or may come yet.

        Args:
            wait: until something comes, where nothing does.
        """
        with self._changed:
            while wait and not (self._calls or self._count or self.closed):
                self._changed.wait()
            calls = list(self._calls)
            self._calls.clear()
        for compute, future in calls:
            run(compute, future)
        return bool(calls or self._count) or not self.closed

    def rows(self, tokens: int, rows: int) -> list[Waiting]:
        """Take requests for rows to be answered together, one of each flow in turn.

        Args:
            tokens, rows: most of all of them; a single request may have more.
        """
        with self._changed:
            found = self._turn(tokens, rows)
        return [waiting for waiting in found if waiting.begin()]

    def text(self, fits: Callable[[Waiting], bool]) -> Waiting | None:
        """Take the request for a text whose turn it is, if there is room for it."""
        while True:
            with self._changed:
                lane = self._lanes["texts"]
                if not lane or not fits(next(iter(lane.values()))[0]):
                    return None
                waiting = self._next("texts")
            if waiting.begin():
                return waiting

    def served(self, requests: int, seconds: float) -> None:
        """Take note of how long requests took, for those that must come again."""
        each = seconds / max(1, requests)
        self.seconds += SMOOTHING * (each - self.seconds)

    def close(self) -> None:
        """Take no more; what waits is still given."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def fail(self, error: Exception) -> None:
        """Take no more, and let all that waits fail."""
        self.close()
        with self._changed:
            calls = [future for _, future in self._calls]
            lanes = [flow for lane in self._lanes.values() for flow in lane.values()]
            waiting = [one.future for flow in lanes for each in flow for one in each.every]
            self._calls.clear()
            for lane in self._lanes.values():
                lane.clear()
        for future in (*calls, *waiting):
            if future.set_running_or_notify_cancel():
                future.set_exception(error)

    def _refuse_closed(self) -> None:
        if self.closed:
            raise RunError("the engine is closed; open another")

    def _turn(self, tokens: int, rows: int) -> list[Waiting]:
        found: list[Waiting] = []
        while lane := self._lanes["rows"]:
            first = next(iter(lane.values()))[0]
            if found and (first.tokens > tokens or first.rows > rows):
                break
            found += self._next("rows").every
            tokens, rows = tokens - first.tokens, rows - first.rows
        return found

    def _next(self, lane: Lane) -> Waiting:
        """Take the request whose turn it is; its flow stands behind all others then."""
        flows = self._lanes[lane]
        flow, waiting = next(iter(flows.items()))
        found = waiting.popleft()
        self._count -= len(found.every)
        if waiting:
            flows.move_to_end(flow)
        else:
            del flows[flow]
        return found


def run(compute: Callable[[], Any], future: Future[Any]) -> None:
    """Compute something for a future, which gets the result or the error."""
    if future.set_running_or_notify_cancel():
        settle(compute, future)


def settle(compute: Callable[[], Any], future: Future[Any]) -> None:
    """Give a future that runs its result, or the error that was met."""
    try:
        result = compute()
    except Exception as error:  # noqa: BLE001 - the edge: it is raised where the future is asked
        future.set_exception(error)
    else:
        future.set_result(result)
