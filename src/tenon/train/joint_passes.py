"""Joint passes: passes over micro-batches of several adapters, replayed as CUDA graphs if possible.

LoRA layers of all adapters are computed as those of one wide adapter (`tenon.adapters.wide`), with
rows laid out in one of few sizes (`tenon.model.shared`): what such a pass asks of the device does
not depend on whose rows are where, so that it can be recorded (`tenon.train.recorded`). All
adapters take part in every pass, those without rows in vain. Anything but LoRA without dropout asks
for other kernels for each border between adapters, and is computed as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor, nn

from tenon.adapters.lean import Lean
from tenon.adapters.wide import Part, Wides
from tenon.model.compiled import FAST
from tenon.model.model import Model
from tenon.model.rack import Rack
from tenon.model.shared import Shared
from tenon.model.sized import sized_nats_U
from tenon.model.writer import Writer
from tenon.text.batch import Batch, joined
from tenon.train.passes import unrecordable
from tenon.train.recorded import Kept, Recorded

Backward = Callable[[Tensor], None]


class JointPasses:
    """Passes of several adapters over one trunk.

    Args:
        rack: holds all of them.
        models: adapter to its model.
        trained: adapter to all that is trained of it, by name.
        why: why nothing is to be recorded; empty where it may be.
        sizes: lay batches out in sizes even where nothing is recorded.
    """

    def __init__(
        self,
        rack: Rack,
        models: Mapping[str, Model],
        trained: Mapping[str, Mapping[str, nn.Parameter]],
        why: str = "",
        *,
        sizes: bool = False,
    ) -> None:
        self.rack, self.models = rack, models
        self.numbers = {name: number for number, name in enumerate(models)}
        self.trained = {name: list(held.values()) for name, held in trained.items()}
        self.recorded = Recorded(rack.trunk.device, why or self._unfit())
        self.sizes = sizes or not self.recorded.why
        self._wides: Wides | None = None
        self._slots: dict[str, list[tuple[nn.Parameter, Tensor]]] = {}

    def _unfit(self) -> str:
        if not all(isinstance(model, Writer) for model in self.models.values()):
            return "those of several adapters are for decoders that write"
        if FAST in vars(self.rack.trunk.model):
            return "blocks are compiled"
        return unrecordable(self.rack.trunk, writes=True)

    def begin(self, steps: Mapping[str, Sequence[Batch]]) -> bool:
        """Begin a step: gradients are 0, in memory of their own. Or say that it is none of these.

        It is asked when the adapters are in training mode, and no layer is in the trunk.

        Args:
            steps: adapter to its micro-batches.

        Returns:
            Whether the step's micro-batches are to be laid out in sizes.
        """
        if self.sizes and self._wides is None:
            made = wides_of(self.rack, self.trained)
            if isinstance(made, str):
                self.recorded.why, self.sizes = self.recorded.why or made, False
            else:
                self._wides = made
                self._slots = {
                    name: [(each, made.slots[each]) for each in held]
                    for name, held in self.trained.items()
                }
        if not self.sizes or any(b.below is not None for held in steps.values() for b in held):
            self.release()
            return False
        assert self._wides is not None  # noqa: S101 - it has just been made
        self._wides.gradients_M.zero_()
        for name in steps:
            for each, slot in self._slots[name]:
                if each.grad is not slot:
                    each.grad = slot
        return True

    def passed(
        self, part: Mapping[str, Batch], targets: Mapping[str, int], backward: Backward
    ) -> dict[str, Tensor]:
        """Add the gradients of a micro-batch of each, in a step that has begun; give their losses.

        Args:
            part: adapter to its batch, on the host.
            targets: of the whole step of each; its loss is divided by them.
            backward: computes the gradients of a loss.
        """
        whole = joined(list(part.values()))
        count, why, device = len(self.models), self.recorded.why, self.rack.trunk.device
        size = self.recorded.size(whole)
        kept = self.recorded.kept(
            size,
            whole.tokens,
            lambda: Kept(Shared(size, count, device), torch.zeros(count, device=device)),
        )
        kept.laid.fill({self.numbers[n]: (batch, targets[n]) for n, batch in part.items()})
        losses_A = self.recorded.run(
            kept, lambda: self._compute(kept, backward), lambda: None, nullcontext
        )
        if self.recorded.why != why:
            self.sizes = False
        return {name: losses_A[self.numbers[name]] for name in part}

    def _compute(self, kept: Kept, backward: Backward) -> None:
        wides, shared = self._wides, kept.laid
        assert wides is not None  # noqa: S101 - a step has begun
        with self.rack.holding(wides.layers), wides.within(shared.owners_T):
            losses_A = shared.losses_A(sized_nats_U(self.rack.trunk, shared.laid))
            backward(losses_A.sum())
            kept.loss.copy_(losses_A.detach())

    def release(self) -> None:
        """Let go of the memory of gradients, which other passes do not add to."""
        for held in self._slots.values():
            for each, slot in held:
                if each.grad is slot:
                    each.grad = None

    def make_room(self) -> None:
        """Let go of what is recorded where the device has little left for other work."""
        self.recorded.make_room()


def wides_of(rack: Rack, trained: Mapping[str, Sequence[nn.Parameter]]) -> Wides | str:
    """Give the layers of a rack's adapters as wide ones, or say why not.

    Args:
        trained: adapter to all that is trained of it.
    """
    parts: dict[str, list[Part]] = {}
    for number, (name, parameters) in enumerate(trained.items()):
        fitting = rack.fittings[name]
        why = unshared(name, {} if fitting.apart else fitting.layers)
        held = {p: _part(number, layer) for p, layer in ({} if why else fitting.layers).items()}
        known = {each for part in held.values() for each in (part.down, part.up)}
        if why or known != set(parameters):
            return why or f"adapter {name} trains more than its LoRA layers"
        for path, part in held.items():
            parts.setdefault(path, []).append(part)
    order = [path for path, _ in rack.trunk.model.named_modules() if path in parts]
    return Wides({path: parts[path] for path in order}, rack.bases, rack.trunk.model.dtype)


def unshared(name: str, layers: Mapping[str, object]) -> str:
    """Say why an adapter cannot be a part of wide layers; empty where it can.

    Args:
        name: the adapter's.
        layers: name of a module to what the adapter has put around it.
    """
    odd = [path for path, layer in layers.items() if not _plain(layer)]
    if odd:
        return f"adapter {name} has other layers than LoRA without dropout ({odd[0]})"
    return "" if layers else f"adapter {name} shares no pass with others"


def _plain(layer: object) -> bool:
    """Whether a layer is computed as plain LoRA, in training as well."""
    if not isinstance(layer, Lean) or "forward" in vars(layer):
        return False
    name = layer.plain(cast(Tensor, layer.base_layer.weight).new_empty(0))
    return name is not None and isinstance(layer.lora_dropout[name], nn.Identity)


def _part(number: int, layer: nn.Module) -> Part:
    lean = cast(Lean, layer)
    return Part(number, lean, next(name for name in lean.active_adapters if name in lean.lora_A))
