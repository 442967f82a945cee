"""Residence: which adapters are in the base, which in memory, and which on disk alone.

What was asked longest ago goes first: out of the base into memory, and out of memory for good, as
its files are still there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from tenon.adapters.pack import Adapter
from tenon.core.errors import PlanError
from tenon.model.attach import restore
from tenon.model.rack import Rack
from tenon.model.slots import FIRST_SLOTS, Pool
from tenon.model.stacked import Form, stacked
from tenon.serve.handle import Handle
from tenon.serve.seat import Seat
from tenon.serve.settings import EngineSettings

POOLER = "pooler."
SPARE = 4
"""A pool from which adapters go one by one is halved once it has so many slots for each that is
taken: others that come after them find room, without all slots being copied each time."""


@dataclass
class Residence:
    """Where the adapters of a base are.

    Args:
        rack: the base.
        settings: what may be held where.
        reload: reads an adapter's files again, and proves that they are those that were admitted.
        close: takes the adapters out of the base, before the layers of one come or go.
    """

    rack: Rack
    settings: EngineSettings
    reload: Callable[[Handle], Adapter]
    close: Callable[[], None]
    inside: OrderedDict[Seat, int] = field(default_factory=OrderedDict[Seat, int])
    memory: OrderedDict[Seat, Adapter] = field(default_factory=OrderedDict[Seat, Adapter])
    memory_bytes: int = 0
    loads: int = 0
    reads: int = 0

    @property
    def bytes(self) -> int:
        """What adapters in the base take: all slots, and layers."""
        return self.rack.slots.bytes + sum(self.inside.values())

    def bring(self, seats: Collection[Seat]) -> None:
        """Put adapters into the base that are not in it; they fit together, whatever they take.

        Raises:
            AdapterError: the files of one have changed.
            FileError: the files of one are gone.
        """
        wanted = set(seats)
        for seat in seats:
            if seat in self.inside:
                self.inside.move_to_end(seat)
                continue
            adapter = self.memory.get(seat)
            if adapter is None:
                adapter = self.reload(seat.handle)
                self.reads += 1
            self.put(seat, adapter, wanted)

    def put(self, seat: Seat, adapter: Adapter, wanted: Collection[Seat] = ()) -> None:
        """Put one adapter into the base, and keep it in memory as well.

        Args:
            wanted: seats that must stay in the base.
        """
        self.loads += 1
        trunk = self.rack.trunk
        made = None if trunk.seq2seq else stacked(trunk.model, adapter)
        if made is not None:
            known = self.rack.slots.paths
            self._make_slot(made.form, wanted)
            if self.rack.slots.paths - known:
                self.close()
            self.rack.slots.put(seat.key, made)
            self.inside[seat] = 0
        else:
            size = sum(each.nbytes for each in adapter.weights.values())
            while self.bytes + size > self.settings.slot_bytes and self._evict(wanted):
                pass
            self.close()
            self._put_layers(seat, adapter)
            self.inside[seat] = size
        self._remember(seat, adapter)

    def drop(self, seat: Seat) -> None:
        """Forget an adapter."""
        self._forget(seat)
        if seat in self.inside:
            self._take_out(seat)
            self.rack.slots.trim(SPARE)

    def _put_layers(self, seat: Seat, adapter: Adapter) -> None:
        try:
            peft = restore(self.rack.trunk, adapter).eval()
        except BaseException:
            self.rack.strip()
            raise
        if not seat.apart:
            try:
                self.rack.keep(seat.key, adapter.kind, peft)
            except PlanError as error:
                seat.apart = str(error)
        if seat.apart:
            self.rack.keep_apart(seat.key, peft)
        elif any(path.startswith(POOLER) for path in self.rack.fittings[seat.key].layers):
            self.rack.set_apart(seat.key)
            seat.apart = "it changes the base's pooler, which reads after the base"

    def _make_slot(self, form: Form, wanted: Collection[Seat]) -> None:
        """Let a pool have a free slot: by growing, or by taking out what was asked longest ago."""
        while True:
            pool = self.rack.slots.pool(form)
            if len(pool.numbers) < pool.capacity:
                return
            growth = self._growth(pool)
            if growth or not self._evict(wanted):
                pool = self.rack.slots.pool(form)
                pool.resize(pool.capacity + max(1, growth))

    def _growth(self, pool: Pool) -> int:
        """Give by how many slots a pool may grow: at most twofold, and within the budget."""
        room = max(0, self.settings.slot_bytes - self.bytes) // pool.form.bytes
        return min(room, max(FIRST_SLOTS, pool.capacity))

    def _evict(self, wanted: Collection[Seat]) -> bool:
        """Take out what was asked longest ago; say whether there was any."""
        for seat in self.inside:
            if seat not in wanted:
                self._take_out(seat)
                self.rack.slots.trim()
                return True
        return False

    def _take_out(self, seat: Seat) -> None:
        del self.inside[seat]
        if seat.key in self.rack.slots.held:
            self.rack.slots.drop(seat.key)
        else:
            self.close()
            self.rack.drop(seat.key)

    def _remember(self, seat: Seat, adapter: Adapter) -> None:
        self._forget(seat)
        self.memory[seat] = adapter
        self.memory_bytes += _bytes(adapter)
        while self.memory_bytes > self.settings.memory_bytes and self.memory:
            self._forget(next(iter(self.memory)))

    def _forget(self, seat: Seat) -> None:
        adapter = self.memory.pop(seat, None)
        self.memory_bytes -= 0 if adapter is None else _bytes(adapter)


def _bytes(adapter: Adapter) -> int:
    return sum(tensor.nbytes for tensor in adapter.weights.values())
