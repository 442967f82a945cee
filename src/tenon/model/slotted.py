"""Slotted: a module of the base with the slots of adapters around it, and the rows that take them.

Rows of adapters in slots, and rows of the base as it is, lie before all others of a batch. A module
is run once for all of them; what each adapter adds is one product a pool and group of rows.

Legend: N rows, T tokens, D channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, cast

import torch
from torch import Tensor, nn

from tenon.adapters.transparent import Transparent, uncompiled
from tenon.core.errors import RunError
from tenon.model.groups import Group, groups_of
from tenon.model.slots import Mixed, Pool, Slots
from tenon.model.stacked import READ

NEAR_TOKENS = 8
"""Rows of a pool that differ by so many tokens are padded together: the products are small, and
each takes as long to ask for as some tokens to compute."""
NEEDLESS = 5_000_000
"""Multiplications at a module, of tokens with adapters that are not theirs, from which on rows are
computed each with its own: to gather those takes as long."""
ARGUMENTS = {READ: 0, "residual": 1}
"""Places where adapters change what a module is given: which of its arguments."""


@dataclass(frozen=True, eq=False)
class Part:
    """Neighbouring rows whose adapters are in one pool.

    Args:
        pool: theirs.
        slots: of each row.
        lengths: tokens of each row.
        start, size: the tokens of the part within the batch, where rows are packed; else its rows.
        packed: whether they are.
        device: of the batch.
        whole: whether there are no other rows in the batch.
    """

    pool: Pool
    slots: tuple[int, ...]
    lengths: tuple[int, ...]
    start: int
    size: int
    packed: bool
    device: torch.device
    whole: bool = False

    @property
    def alone(self) -> bool:
        """Whether one adapter has the whole batch, so that no row must be told from another."""
        return self.whole and len(set(self.slots)) == 1

    @cached_property
    def runs(self) -> tuple[tuple[Group | None, Tensor | Mixed | int], ...]:
        """Groups of rows that are computed at once, with the slots of their rows."""
        if len(set(self.slots)) == 1:
            return ((None, self.slots[0]),)
        slots_N = torch.tensor(self.slots, device=self.device)
        if not self.packed:
            return ((None, slots_N),)
        if self._beside():
            slots_A, mine_N = slots_N.unique(return_inverse=True)
            lengths_N = torch.tensor(self.lengths, device=self.device)
            return ((None, Mixed(slots_A, mine_N.repeat_interleave(lengths_N))),)
        found: list[tuple[Group | None, Tensor | Mixed | int]] = []
        first = 0
        for group in groups_of(self.lengths, self.device, NEAR_TOKENS):
            found.append((group, slots_N[first : first + group.rows]))
            first += group.rows
        return tuple(found)

    def _beside(self) -> bool:
        """Whether all tokens go through all adapters of the part, as they are few and narrow."""
        spots = self.pool.form.spots
        most = max((spot.inputs + spot.outputs for spot in spots), default=0)
        others = (len(set(self.slots)) - 1) * self.pool.form.width
        return sum(self.lengths) * most * others <= NEEDLESS

    def of(self, states: Tensor) -> Tensor:
        """Give the part of a tensor that has all rows."""
        return (
            states if self.whole else states.narrow(1 if self.packed else 0, self.start, self.size)
        )

    def delta(self, path: str, states: Tensor, said: Tensor | None = None) -> Tensor:
        """Give what the adapters add at a module.

        Args:
            states: of the part: [1, T, D] where rows are packed, else [N, T, D].
            said: the module's output without its bias, likewise; where the form has gains.
        """
        found: list[Tensor] = []
        for group, slots in self.runs:
            if group is None:
                return self.pool.delta(path, slots, states, said)
            read_NTD = _padded(states, group)
            said_NTD = None if said is None else _padded(said, group)
            delta_TD = self.pool.delta(path, slots, read_NTD, said_NTD).flatten(0, 1)
            found.append(delta_TD if group.place_T is None else delta_TD[group.place_T])
        return torch.cat(found)[None]

    def add(self, path: str, states: Tensor, whole: Tensor, said: Tensor | None) -> None:
        """Add what the adapters add at a module to its output of the part, in place."""
        whole.add_(self.delta(path, states, said))


@dataclass(frozen=True, eq=False)
class Every:
    """All rows of a grid, each with a slot of one pool; it may be the empty one.

    Args:
        pool: it.
        slots_R: of each row; they may change, in their place, until the rows are computed.
        new: tokens of each row.
    """

    pool: Pool
    slots_R: Tensor
    new: int
    packed: bool = True
    alone: bool = False

    def of(self, states: Tensor) -> Tensor:
        """Give the part of a tensor that has all rows: all of it."""
        return states

    def delta(self, path: str, states: Tensor, said: Tensor | None = None) -> Tensor:
        """Give what the adapters add at a module, as `Part` does."""
        read_RQD = states[0].unflatten(0, (-1, self.new))
        said_RQD = None if said is None else said[0].unflatten(0, (-1, self.new))
        return self.pool.delta(path, self.slots_R, read_RQD, said_RQD).flatten(0, 1)[None]

    def add(self, path: str, states: Tensor, whole: Tensor, said: Tensor | None) -> None:
        """Add what the adapters add at a module to its output, in place."""
        single = self.new == 1 and said is None
        if not single or not self.pool.add(path, self.slots_R, states[0], whole[0]):
            whole.add_(self.delta(path, states, said))


Rows = Part | Every
"""Rows whose adapters are in one pool."""


def _padded(states_1TD: Tensor, group: Group) -> Tensor:
    states_TD = states_1TD[0, group.start : group.stop]
    if group.token_GL is not None:
        states_TD = states_TD[group.token_GL.flatten()]
    return states_TD.unflatten(0, (group.rows, group.longest))


def parts_of(
    slots: Slots, owners: Sequence[str | None], lengths: Sequence[int], *, packed: bool
) -> tuple[Part, ...]:
    """Give the parts of a batch.

    Args:
        owners: of each row its adapter; those that are in no slot are passed over.
        lengths: tokens of each row.
    """
    parts: list[Part] = []
    start = row = 0
    for pool, run in groupby(owners, lambda owner: slots.held.get(owner) if owner else None):
        keys = list(run)
        sizes = tuple(lengths[row : row + len(keys)])
        row += len(keys)
        size = sum(sizes) if packed else len(keys)
        if pool is not None:
            numbers = tuple(pool.numbers[key] for key in keys if key is not None)
            whole = len(keys) == len(owners)
            parts.append(Part(pool, numbers, sizes, start, size, packed, slots.device, whole))
        start += size
    return tuple(parts)


class Slotted(Transparent):
    """A module of the base with slots around it.

    Args:
        base_layer: the module; frozen.
        path: its name.
        parts: gives the parts of the rows that are being computed, and how many there are of all.
    """

    def __init__(
        self,
        base_layer: nn.Module,
        path: str,
        parts: Callable[[], tuple[tuple[Rows, ...], int]],
    ) -> None:
        super().__init__(base_layer)
        self.path = path
        self.parts = parts

    def forward(self, *given: Any, **named: Any) -> Any:
        """Run the module for all rows, and add what the adapters of each do."""
        return uncompiled(self._changed)(given, named)

    def _changed(self, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        parts, size = self.parts()
        here = [(part, part.pool.places[self.path]) for part in parts if self._has(part)]
        if not here:
            return self.base_layer(*given, **named)
        values = [*given, *named.values()]
        self._refuse_other(values[0], here[0][0], size)
        for where, number in ARGUMENTS.items():
            if any(place == where for _, place in here):
                given, named = self._shifted(here, given, named, where, number)
        output = self.base_layer(*given, **named)
        whole: Tensor = output[0] if isinstance(output, tuple) else output
        for part, place in here:
            if place == "around":
                total = part.of(values[0])
                total = (total + part.delta(self.path, part.of(whole))).to(total.dtype)
                part.of(whole).copy_(self.base_layer(total))
            elif place not in ARGUMENTS:
                read = part.of(values[0] if place == "beside" else whole)
                part.add(self.path, read, part.of(whole), self._unbiased(part, whole))
        return output

    def _unbiased(self, part: Rows, whole: Tensor) -> Tensor | None:
        """Give a part of what the module gave, without its bias, where the adapters multiply it."""
        if not part.pool.form.gained or not part.pool.form.width:
            return None
        bias = cast("Tensor | None", getattr(self.base_layer, "bias", None))
        return part.of(whole) if bias is None else part.of(whole) - bias

    def _has(self, part: Rows) -> bool:
        return self.path in part.pool.places

    def _shifted(
        self,
        here: Sequence[tuple[Rows, str]],
        given: tuple[Any, ...],
        named: dict[str, Any],
        where: str,
        number: int,
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Add to one of the module's arguments what the adapters say of it, in their rows.

        Args:
            where: the place of these adapters.
            number: of the argument; the residual has a name, what is read comes first.
        """
        by_place = len(given) > number
        name = "input_tensor" if number else next(iter(named), "")
        value: Tensor = (given[number] if by_place else named[name]).clone()
        for part, place in here:
            if place == where:
                part.of(value).add_(part.delta(self.path, part.of(value)))
        if by_place:
            return (*given[:number], value, *given[number + 1 :]), named
        return given, {**named, name: value}

    def _refuse_other(self, value: Any, part: Rows, size: int) -> None:
        dim = 1 if part.packed else 0
        if part.alone:
            return
        if not isinstance(value, Tensor) or value.dim() <= dim or value.shape[dim] != size:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise RunError(
                f"{self.path}: reads {shape}, which does not have the {size} rows of the route; "
                "let one adapter alone answer a batch"
            )
