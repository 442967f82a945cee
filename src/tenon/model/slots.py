"""Slots: adapters stacked in preallocated tensors, so that rows of many share one product.

Legend: S slots, W rank or width, I inputs, O outputs, N rows of a part, T tokens of a row, A
adapters, C their ranks or widths one behind the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tenon.adapters.bottleneck_config import ACTIVATIONS
from tenon.core.errors import RunError
from tenon.model.kernels import agree, trusted
from tenon.model.stacked import Form, Stacked

FIRST_SLOTS = 4


@dataclass(frozen=True, eq=False)
class Mixed:
    """Tokens of several adapters, computed at once: each adapter's part is kept by its own tokens.

    Args:
        slots_A: of the adapters, each once.
        mine_T: of each token the number of its adapter among these.
    """

    slots_A: Tensor
    mine_T: Tensor

    @cached_property
    def slots_T(self) -> Tensor:
        """Of each token its slot."""
        return self.slots_A[self.mine_T]

    @cached_property
    def others_TA(self) -> Tensor:
        """Of each token the adapters that are not its own."""
        numbers_A = torch.arange(len(self.slots_A), device=self.slots_A.device)
        return self.mine_T[:, None] != numbers_A

    def only_own(self, narrow_TC: Tensor) -> Tensor:
        """Keep of the narrow states of all adapters those of each token's own, in place.

        Args:
            narrow_TC: C is A times W; what others would give may be anything, also no number.
        """
        narrow_TAW = narrow_TC.unflatten(1, (len(self.slots_A), -1))
        return narrow_TAW.masked_fill_(self.others_TA[:, :, None], 0.0).flatten(1)


@dataclass
class Stack:
    """The slots at one module.

    Args:
        down_SWI, up_SOW: matrices.
        bias_SW, bias_SO: biases, or None.
        gain_SO: gains of the output, or None.
    """

    down_SWI: Tensor
    up_SOW: Tensor
    bias_SW: Tensor | None
    bias_SO: Tensor | None
    gain_SO: Tensor | None

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """All of it."""
        return self.down_SWI, self.up_SOW, self.bias_SW, self.bias_SO, self.gain_SO


class Pool:
    """Adapters of one form.

    Args:
        form: of them.
        device: where they lie.
    """

    def __init__(self, form: Form, device: torch.device) -> None:
        self.form = form
        self.device = device
        self.numbers: dict[str, int] = {}
        self.capacity = 0
        self.stamp = object()
        """Of the tensors that are there now: another one when they lie elsewhere."""
        self.places = {spot.path: spot.place for spot in form.spots}
        self.stacks: dict[str, Stack] = {}
        self.activation: nn.Module | None = (
            ACTIVATIONS[form.activation]() if form.activation else None
        )

    @property
    def empty(self) -> int:
        """A slot behind all others, which changes nothing."""
        return self.capacity

    @property
    def bytes(self) -> int:
        """What all its slots take, those that are free as well, but for the empty one."""
        return self.capacity * self.form.bytes

    def put(self, key: str, adapter: Stacked) -> None:
        """Copy an adapter into a free slot.

        Raises:
            RunError: there is none; `resize` first.
        """
        taken = set(self.numbers.values())
        number = next((n for n in range(self.capacity) if n not in taken), None)
        if number is None:
            raise RunError("all slots are taken")
        for path, delta in adapter.deltas.items():
            parts = (delta.down_WI, delta.up_OW, delta.bias_W, delta.bias_O, delta.gain_O)
            for stack, part in zip(self.stacks[path].tensors, parts, strict=True):
                if stack is not None and part is not None:
                    stack[number].copy_(part)
        self.numbers[key] = number

    def drop(self, key: str) -> None:
        """Free the slot of an adapter."""
        del self.numbers[key]

    def resize(self, capacity: int) -> None:
        """Give the pool so many slots, at least those that are taken, which move together."""
        kept = list(self.numbers.values())
        for spot in self.form.spots:
            old = self.stacks.get(spot.path)
            new = self._stack(capacity + 1, spot.inputs, spot.outputs)
            if old is not None:
                for source, target in zip(old.tensors, new.tensors, strict=True):
                    if source is not None and target is not None:
                        target[: len(kept)] = source[kept]
            self.stacks[spot.path] = new
        self.numbers = {key: place for place, key in enumerate(self.numbers)}
        self.capacity = capacity
        self.stamp = object()

    def _stack(self, slots: int, inputs: int, outputs: int) -> Stack:
        def zeros(*sizes: int) -> Tensor:
            return torch.zeros(slots, *sizes, device=self.device)

        width, biased = self.form.width, bool(self.form.activation)
        return Stack(
            zeros(width, inputs),
            zeros(outputs, width),
            zeros(width) if biased else None,
            zeros(outputs) if biased else None,
            zeros(outputs) if self.form.gained else None,
        )

    def delta(
        self, path: str, slots_N: Tensor | Mixed | int, states_NTI: Tensor, said_NTO: Tensor | None
    ) -> Tensor:
        """Give what is added to the output of a module, [N, T, O] in float32.

        Args:
            slots_N: of each row its slot; or one for all of them; or those of the tokens of one.
            states_NTI: what is read.
            said_NTO: the output without the module's bias, where the form has gains beside
                matrices.
        """
        stack, states_NTI = self.stacks[path], states_NTI.float()
        if not self.form.width and stack.gain_SO is not None:
            return states_NTI * _gain(stack.gain_SO, slots_N)
        if isinstance(slots_N, int):
            delta_NTO = self._of_one(stack, slots_N, states_NTI)
        elif isinstance(slots_N, Mixed):
            delta_NTO = self._of_mixed(stack, slots_N, states_NTI)
        else:
            delta_NTO = self._of_each(stack, slots_N, states_NTI)
        if stack.gain_SO is None or said_NTO is None:
            return delta_NTO
        return torch.addcmul(delta_NTO, said_NTO.float(), _gain(stack.gain_SO, slots_N))

    def add(self, path: str, slots_N: Tensor, states_NI: Tensor, said_NO: Tensor) -> bool:
        """Add what slots say of single tokens to the output of a module, in place, by a kernel.

        Args:
            slots_N: of each row its slot.
            states_NI: what is read.
            said_NO: the output.

        Returns:
            Whether it was done: there is a kernel on CUDA alone, and none for gains.
        """
        stack = self.stacks[path]
        dense = states_NI.stride(1) == said_NO.stride(1) == 1
        fit = said_NO.is_cuda and stack.gain_SO is None and dense
        kernel: Any = fit and trusted("slot_kernel", said_NO.device, said_NO.dtype, _agrees)
        if not kernel:
            return False
        narrow_NW = kernel.narrowed(states_NI, slots_N, stack.down_SWI, stack.bias_SW)
        if self.activation is not None:
            narrow_NW = self.activation(narrow_NW)
        kernel.widen(narrow_NW, slots_N, stack.up_SOW, stack.bias_SO, said_NO)
        return True

    def _of_each(self, stack: Stack, slots_N: Tensor, states_NTI: Tensor) -> Tensor:
        narrow_NTW = torch.bmm(states_NTI, stack.down_SWI[slots_N].mT)
        up_NWO = stack.up_SOW[slots_N].mT
        if self.activation is None or stack.bias_SW is None or stack.bias_SO is None:
            return torch.bmm(narrow_NTW, up_NWO)
        narrow_NTW = self.activation(narrow_NTW + stack.bias_SW[slots_N, None])
        return torch.baddbmm(stack.bias_SO[slots_N, None], narrow_NTW, up_NWO)

    def _of_mixed(self, stack: Stack, mixed: Mixed, states_1TI: Tensor) -> Tensor:
        slots_A = mixed.slots_A
        bias_C = None if stack.bias_SW is None else stack.bias_SW[slots_A].flatten()
        down_CI = stack.down_SWI[slots_A].flatten(0, 1)
        narrow_TC = functional.linear(states_1TI[0], down_CI, bias_C)
        if self.activation is not None:
            narrow_TC = self.activation(narrow_TC)
        up_OC = stack.up_SOW[slots_A].transpose(0, 1).flatten(1)
        delta_TO = functional.linear(mixed.only_own(narrow_TC), up_OC)
        if stack.bias_SO is not None:
            delta_TO += stack.bias_SO[mixed.slots_T]
        return delta_TO[None]

    def _of_one(self, stack: Stack, slot: int, states_NTI: Tensor) -> Tensor:
        bias_W = None if stack.bias_SW is None else stack.bias_SW[slot]
        bias_O = None if stack.bias_SO is None else stack.bias_SO[slot]
        narrow_NTW = functional.linear(states_NTI, stack.down_SWI[slot], bias_W)
        if self.activation is not None:
            narrow_NTW = self.activation(narrow_NTW)
        return functional.linear(narrow_NTW, stack.up_SOW[slot], bias_O)


def _gain(gain_SO: Tensor, slots_N: Tensor | Mixed | int) -> Tensor:
    """Give the gains of rows or tokens, as they are multiplied with states."""
    if isinstance(slots_N, int):
        return gain_SO[slots_N]
    return gain_SO[slots_N.slots_T] if isinstance(slots_N, Mixed) else gain_SO[slots_N, None]


def _agrees(kernels: Any, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernel gives what torch does."""
    numbers = torch.sin(torch.arange(4096.0, device=device))
    down_SWI, up_SOW = numbers[:1024].view(2, 16, 32), numbers[1024:3072].view(2, 64, 16)
    states_NI, said_NO = (numbers[:n].clone().view(3, -1).to(dtype) for n in (96, 192))
    slots_N = torch.tensor([1, 0, 1], device=device)
    narrow_NW = torch.einsum("ni,nwi->nw", states_NI.float(), down_SWI[slots_N])
    expected_NO = said_NO.float() + torch.einsum("nw,now->no", narrow_NW, up_SOW[slots_N])
    narrow_NW = kernels.narrowed(states_NI, slots_N, down_SWI, None)
    kernels.widen(narrow_NW, slots_N, up_SOW, None, said_NO)
    return agree(said_NO, expected_NO)


@dataclass
class Slots:
    """Pools of all forms.

    Args:
        device: where they lie.
    """

    device: torch.device
    pools: dict[Form, Pool] = field(default_factory=dict[Form, Pool])
    held: dict[str, Pool] = field(default_factory=dict[str, Pool])

    @property
    def bytes(self) -> int:
        """What all pools take."""
        return sum(pool.bytes for pool in self.pools.values())

    @property
    def paths(self) -> set[str]:
        """The modules that any pool changes."""
        return {path for pool in self.pools.values() for path in pool.places}

    def pool(self, form: Form) -> Pool:
        """Give the pool of a form; it may have no slot yet."""
        if form not in self.pools:
            self.pools[form] = Pool(form, self.device)
        return self.pools[form]

    def put(self, key: str, adapter: Stacked) -> None:
        """Copy an adapter into a free slot, which there must be."""
        pool = self.pool(adapter.form)
        pool.put(key, adapter)
        self.held[key] = pool

    def drop(self, key: str) -> None:
        """Free the slot of an adapter."""
        self.held.pop(key).drop(key)

    def trim(self, spare: int = 2) -> None:
        """Halve pools that have too many slots, and let go of those that are empty.

        Args:
            spare: slots for each that is taken, from which on they are too many.
        """
        for form, pool in list(self.pools.items()):
            if not pool.numbers:
                del self.pools[form]
            elif pool.capacity > FIRST_SLOTS and spare * len(pool.numbers) <= pool.capacity:
                pool.resize(max(FIRST_SLOTS, spare * len(pool.numbers) // 2))

    def order(self, key: str) -> int:
        """Give the number of an adapter's pool, by which rows are sorted."""
        return list(self.pools.values()).index(self.held[key])

    def numbers(self, keys: Iterable[str]) -> list[int]:
        """Give the slots of adapters."""
        return [self.held[key].numbers[key] for key in keys]
