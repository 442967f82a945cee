"""Turns: rows that are written in grids, the next token of all before that of the last is told.

Rows that are being written go on in one grid, a token each in every turn. While who asked is told
of a turn, the next one is computed already, with the likeliest tokens of the last one: what has
ended meanwhile is computed once more, and nobody is told. Prompts are read in grids of their own,
several at once, for which they wait a few turns: reading one takes as long as reading many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from torch import Tensor

from tenon.evaluate.running import Running
from tenon.model.cells import Cells
from tenon.model.grid import BLOCKS, NEW, ROWS, Entry, Shape, size_of
from tenon.model.rack import Rack
from tenon.model.recording import Outcome, Recordings

PATIENCE = 8
"""Turns for which prompts wait for others, unless they are an eighth of what is written."""
Going = Sequence[tuple[Running, int]]
"""Rows of a pass, with how many tokens of each are read."""


@dataclass(frozen=True, eq=False)
class Landed:
    """Rows whose next token has been computed.

    Args:
        rows: they.
        ids: the likeliest token of each; None where its scores are not finite.
        logits_RV: scores, among others of these rows.
        places: of the rows in `logits_RV`.
    """

    rows: list[Running]
    ids: list[int | None]
    logits_RV: Tensor
    places: list[int]


@dataclass(frozen=True, eq=False)
class Flight:
    """A pass that was launched.

    Args:
        going: its rows.
        outcome: what it gives.
    """

    going: Going
    outcome: Outcome


class Turns:
    """Passes over rows in grids.

    Args:
        rack: the base, with adapters in slots.
        cells: in which rows lie.
        prompt_tokens: of prompts that are read at once.
        inside: puts the adapters of the rack in for a pass.
        recording: see `tenon.model.recording.Recordings`.
    """

    def __init__(
        self,
        rack: Rack,
        cells: Cells,
        prompt_tokens: int,
        inside: Callable[[], AbstractContextManager[object]],
        *,
        recording: bool = True,
    ) -> None:
        self.cells, self.prompt_tokens = cells, prompt_tokens
        self.recordings = Recordings(rack, cells, inside, recording=recording)
        self._flight: Flight | None = None
        self._held = self._reads = 0

    def take(self, rows: Sequence[Running]) -> list[Running]:
        """Give the rows that go in grids: all, or those whose adapters are in slots, or none."""
        held = self.recordings.rack.slots.held
        able = [row for row in rows if row.owner is None or row.owner in held]
        return able if self.recordings.pools([row.owner for row in able]) is not None else []

    def step(self, rows: Sequence[Running]) -> list[Landed]:
        """Compute a turn of rows that `take` has given; the state of each moves on."""
        writing = [row for row in rows if row.new]
        flight, self._flight = self._flight, None
        if flight is None and writing:
            flight = self._launched([(row, 1) for row in writing])
        reading = self._reading([row for row in rows if not row.new], len(writing))
        if flight and not reading and self._goes_on(flight, writing):
            self._flight = Flight(flight.going, self.recordings.again(flight.outcome))
        alive = set(rows)
        landed = [self._landed(flight, alive)] if flight else []
        if reading:
            landed.append(self._landed(self._launched(reading), alive))
        return landed

    def drop(self) -> None:
        """Forget what was launched, and begin anew: rows are as they were before it."""
        self._flight = None
        self._held = self._reads = 0

    def _launched(self, going: Going) -> Flight:
        # A row that is written may be computed once more before its grid is left.
        longest = max(row.past + count for row, count in going) + 1
        shape = Shape(
            size_of(ROWS, len(going)),
            size_of(NEW, max(count for _, count in going)),
            size_of(BLOCKS, self.cells.needed(longest)),
        )
        entries = [Entry(row.blocks, row.past, row.ids(count), row.owner) for row, count in going]
        pools = self.recordings.pools([row.owner for row, _ in going])
        assert pools is not None  # noqa: S101 - `take` has asked
        return Flight(going, self.recordings.launch(shape, entries, pools))

    def _landed(self, flight: Flight, alive: set[Running]) -> Landed:
        """Wait for a pass, and give what is known of rows that still run."""
        ids = flight.outcome.wait()
        there = [(place, row) for place, (row, _) in enumerate(flight.going) if row in alive]
        for place, row in there:
            row.past += flight.going[place][1]
        there = [(place, row) for place, row in there if not row.unread]
        return Landed(
            [row for _, row in there],
            [ids[place] for place, _ in there],
            flight.outcome.logits_RV,
            [place for place, _ in there],
        )

    def _goes_on(self, flight: Flight, writing: Sequence[Running]) -> bool:
        """Whether the next turn of a flight's rows can be computed before this one is told."""
        rows = [row for row, _ in flight.going]
        kept = flight.outcome.kept
        if rows != writing or not kept.valid or not all(row.plain for row in rows):
            return False
        room = kept.grid.shape.blocks * self.cells.size
        ending = sum(row.last for row in rows)
        return max(row.past for row in rows) + 2 <= room and ending * PATIENCE <= len(rows)

    def _reading(self, reading: list[Running], writing: int) -> list[tuple[Running, int]]:
        """Give the prompts that are read now, with how many tokens of each."""
        if not reading:
            return []
        self._held += 1
        if writing > len(reading) * PATIENCE and self._held < PATIENCE:
            return []
        self._held, self._reads = 0, self._reads + 1
        if self._reads % 2:
            # In every other turn the shortest go first, else who has waited longest.
            reading = sorted(reading, key=lambda row: row.unread)
        new = size_of(NEW, min(reading[0].unread, self.prompt_tokens, NEW[-1]))
        most = max(1, max((size for size in ROWS if size * new <= self.prompt_tokens), default=1))
        taken = [row for row in reading[1:] if row.unread <= new][: most - 1]
        return [(row, min(row.unread, new)) for row in (reading[0], *taken)]
