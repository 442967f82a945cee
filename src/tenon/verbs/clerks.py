"""Clerks: portions of rows answered by the workers of a Ray cluster.

The cluster's machines have this Tenon, the adapter and the base under the same paths; rows go to
them and lines come back.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from tenon.data.example import Row
from tenon.data.settings import Columns
from tenon.evaluate.answerer import open_answerer
from tenon.verbs.clerk import Clerk, Pace, device_of
from tenon.verbs.crew import Crew, told
from tenon.verbs.questions import Kept, Portion

AT_HAND = 2
"""Portions of each worker that are under way, so that none waits for its next one."""


@dataclass(frozen=True)
class Order:
    """What a clerk is hired for.

    Args:
        folder: the adapter directory.
        base: where the base is now; "" for where it was.
        columns: which column of a row holds what.
        kept: columns that are carried along.
        threads: that torch computes with; rounding depends on it.
        lenient: whether a row that cannot be asked is told in its place.
    """

    folder: str
    base: str
    columns: Columns
    kept: tuple[str, ...]
    threads: int
    lenient: bool

    def to_json(self) -> str:
        """Give it as a text."""
        columns = self.columns.model_dump(mode="json")
        return json.dumps({**vars(self), "columns": columns})

    @classmethod
    def from_json(cls, text: str) -> Order:
        """Read it."""
        held: dict[str, Any] = json.loads(text)
        held["columns"] = Columns.model_validate(held["columns"])
        held["kept"] = tuple(held["kept"])
        return cls(**held)


class Worker:
    """A clerk on a machine of the cluster.

    Args:
        order: what it is hired for, as a text.
    """

    def __init__(self, order: str) -> None:
        self.order = Order.from_json(order)
        self.held: list[Clerk] = []

    def device(self) -> str:
        """Load adapter and base; give what computes, or an error."""
        return told(lambda: device_of(self._clerk().answerer))

    def answer(self, rows: str) -> str:
        """Give the lines of a portion, or an error."""
        portion = Portion(0, [Row(values, origin) for origin, values in json.loads(rows)])
        return told(lambda: self._clerk().answer(portion))

    def _clerk(self) -> Clerk:
        if not self.held:
            order = self.order
            torch.set_num_threads(order.threads)
            answerer = open_answerer(Path(order.folder), order.base, dtype="trained")
            made = Clerk(answerer, order.columns, Kept(order.kept), lenient=order.lenient)
            self.held.append(made)
        return self.held[0]


class Remote:
    """The clerks of a cluster, an engine like the local one.

    Args:
        order: what they are hired for.
        pace: told of rows.
        address: of the cluster.
        workers: how many at most; 0 for as many as it has room for.
    """

    def __init__(self, order: Order, pace: Pace, address: str, workers: int) -> None:
        self.order, self.pace = order, pace
        self.crew = Crew("tenon predict --engine ray", address, workers)

    def __enter__(self) -> Self:
        self.crew.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.crew.__exit__(kind, error, trace)

    @property
    def device(self) -> str:
        """What the first worker computes with."""
        first = self.crew.hire(1, Worker, self.order.to_json())[0]
        return self.crew.got(first.device.remote())

    def answer(self, portions: Iterable[Portion]) -> Iterator[tuple[int, str]]:
        """Yield number and lines of each portion as it is done; rows are read when needed."""
        source, going, loads = iter(portions), dict[Any, tuple[Portion, int]](), Counter[int]()
        while True:
            while (place := self._free(loads)) >= 0 and (portion := next(source, None)) is not None:
                asked = json.dumps([[row.origin, row.values] for row in portion.rows])
                going[self.crew.workers[place].answer.remote(asked)] = portion, place
                loads[place] += 1
                self.pace.begin(len(portion.rows))
            if not going:
                return
            ready, _ = self.crew.ray.wait(list(going))
            portion, place = going.pop(ready[0])
            loads[place] -= 1
            lines = self.crew.got(ready[0])
            self.pace.advance(len(portion.rows))
            yield portion.number, lines

    def _free(self, loads: Counter[int]) -> int:
        """Give the place of the worker with the least to do, or -1 where all have enough."""
        workers = self.crew.hire(loads.total() + 1, Worker, self.order.to_json())
        place = min(range(len(workers)), key=lambda each: loads[each])
        return place if loads[place] < AT_HAND else -1
