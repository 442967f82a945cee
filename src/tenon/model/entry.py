"""Entry: where hidden states that were computed before come into a frozen base.

Below the lowest layer with an adapter a base gives the same states for the same rows, however often
they are seen. A base that runs from stored states calls its lower layers as ever, and each of them
gives what is stored instead of computing: so positions, masks and all else that a base makes
outside of its layers are made by itself. Whether that holds is found out by proof, not by name.

Legend: B rows, T real tokens, P tokens of the longest row, D channels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from tenon.adapters.wrapped import INSIDE, standing
from tenon.text.batch import Batch

LOWEST = "the lowest layer has an adapter, or what is below it"
SEQ2SEQ = "an encoder-decoder has two stacks"
_KNOWN: WeakKeyDictionary[nn.Module, dict[str, nn.Module]] = WeakKeyDictionary()
"""The layers of a base, which stay the same: to find them, all modules are gone through."""

_FIRST: WeakKeyDictionary[nn.Module, tuple[str, ...]] = WeakKeyDictionary()
"""The names of what makes the states that enter a base's first layer, where a pass has shown that
nothing but that layer reads them: there is no need to make them either."""


@dataclass(frozen=True)
class Entry:
    """Where a base can be entered.

    Args:
        layers: how many layers lie below, none of them changed by training; 0 where it cannot.
        of: layers in all.
        channels: of a state.
        why: why it cannot, one clause; empty where it can.
    """

    layers: int
    of: int
    channels: int = 0
    why: str = ""


class Enough(Exception):  # noqa: N818 - no error: it ends a pass that has given what is wanted
    """Ends a pass whose upper layers nobody asks for."""


def blocks(model: nn.Module) -> list[nn.Module]:
    """Give the layers of a base in its order, none of them inside of another."""
    return list(_known(model).values())


def names(model: nn.Module) -> list[str]:
    """Give the base's names of its layers, in its order."""
    return list(_known(model))


def _known(model: nn.Module) -> dict[str, nn.Module]:
    if model not in _KNOWN:
        _KNOWN[model] = _found(model)
    return _KNOWN[model]


def _found(model: nn.Module) -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {}
    inside: set[nn.Module] = set()
    for path, module in model.named_modules():
        if isinstance(module, GradientCheckpointingLayer) and module not in inside:
            found[path.replace(INSIDE, "")] = module
            inside.update(module.modules())
    return found


def spared(
    model: PreTrainedModel, batch: Batch, *, packed: bool
) -> contextlib.AbstractContextManager[None]:
    """Let the lower layers give what is stored of a batch for one pass; nothing where none is."""
    if batch.below is None:
        return contextlib.nullcontext()
    states_TD = batch.below.states_TD.to(model.dtype)
    rows = torch.split(states_TD, list(batch.lengths))
    laid = states_TD[None] if packed else pad_sequence(list(rows), batch_first=True)
    return entered(model, batch.below.layers, laid)


@contextlib.contextmanager
def entered(model: PreTrainedModel, layers: int, states: Tensor) -> Iterator[None]:
    """Let the lower layers of a base give stored states for one pass.

    What adapters have put around a layer is passed over with it.

    Args:
        model: the base.
        layers: how many of them.
        states: in the form in which a layer gives them: [1, T, D] packed, [B, P, D] padded.
    """

    def stored(*_given: Any, **_named: Any) -> Tensor:
        return states

    with contextlib.ExitStack() as stack:
        for path in (*_FIRST.get(model, ()), *names(model)[:layers]):
            stack.enter_context(_instead(standing(model, path), stored))
        yield


@contextlib.contextmanager
def _instead(block: nn.Module, forward: Any) -> Iterator[None]:
    before = vars(block).get("forward")
    vars(block)["forward"] = forward
    try:
        yield
    finally:
        del vars(block)["forward"]
        if before is not None:
            vars(block)["forward"] = before


@contextlib.contextmanager
def left(model: PreTrainedModel, layers: int) -> Iterator[list[Tensor]]:
    """End passes behind so many layers; yield a list that is given the states that leave them.

    What adapters have put around a layer belongs to it.
    """
    found: list[Tensor] = []

    def leave(_block: nn.Module, _given: Any, states: Tensor) -> None:
        found.append(states)
        raise Enough

    hook = standing(model, names(model)[layers - 1]).register_forward_hook(leave)
    try:
        with contextlib.suppress(Enough):
            yield found
    finally:
        hook.remove()


@dataclass
class Seen:
    """What a pass through a base has met, in order.

    Args:
        blocks: of the base.
        returned: number and states of each layer that has come to its end.
        before: how many layers had come to their ends when the first trained module was called;
            None where none was called.
        odd: whether a layer gave something else than states.
        called: the trained modules that were called.
        made: what each part of the base beside its layers gave.
        entering: the states that entered the first layer.
    """

    blocks: list[nn.Module]
    returned: list[tuple[int, Tensor]] = field(default_factory=list[tuple[int, Tensor]])
    before: int | None = None
    odd: bool = False
    called: set[nn.Module] = field(default_factory=set[nn.Module])
    made: dict[nn.Module, Any] = field(default_factory=dict[nn.Module, Any])
    entering: Any = None

    def touched(self, module: nn.Module, *_: object) -> None:
        """Note that a trained module is called."""
        self.called.add(module)
        self.before = len(self.returned) if self.before is None else self.before

    def unknown(self, model: nn.Module) -> bool:
        """Whether something outside of the layers is trained that this pass has not called."""
        inside = {module for block in self.blocks for module in block.modules()}
        return any(
            _trained(m) and m not in inside and m not in self.called for m in model.modules()
        )

    @contextlib.contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Look at the passes through a base."""
        hooks = [m.register_forward_pre_hook(self.touched) for m in model.modules() if _trained(m)]
        for number, block in enumerate(self.blocks):
            hooks.append(block.register_forward_hook(self._noting(number)))
        parts = [part for part in model.children() if not _holds(part, self.blocks)]
        hooks += [part.register_forward_hook(self._making) for part in parts]
        if self.blocks:
            first = self.blocks[0]
            hooks.append(first.register_forward_pre_hook(self._enters, with_kwargs=True))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _making(self, part: nn.Module, _given: Any, made: Any) -> None:
        self.made[part] = made

    def _enters(self, _block: nn.Module, given: Any, named: Any) -> None:
        self.entering = given[0] if given else named.get("hidden_states")

    @property
    def first(self) -> tuple[nn.Module, ...]:
        """What made the states that entered the first layer, if it is one part of the base."""
        if not isinstance(self.entering, Tensor):
            return ()
        return tuple(part for part, made in self.made.items() if made is self.entering)

    def _noting(self, number: int) -> Any:
        def note(_block: nn.Module, _given: Any, states: Any) -> None:
            self.odd = self.odd or not isinstance(states, Tensor)
            self.returned.append((number, states))

        return note

    @property
    def lowest(self) -> int:
        """How many layers lie below all that is trained."""
        inside = (n for n, block in enumerate(self.blocks) if any(map(_trained, block.modules())))
        free = next(inside, len(self.blocks))
        return free if self.before is None else min(free, self.before)


def _holds(part: nn.Module, layers: list[nn.Module]) -> bool:
    inside = set(part.modules())
    return any(layer in inside for layer in layers)


def spare_first(model: PreTrainedModel, first: tuple[nn.Module, ...]) -> None:
    """Let passes from stored states spare what makes the states that enter the first layer."""
    named = {part: name for name, part in model.named_children()}
    _FIRST[model] = tuple(named[part] for part in first)


def _trained(module: nn.Module) -> bool:
    """Whether a module is an adapter's, or holds something that is trained."""
    return isinstance(module, BaseTunerLayer) or any(
        parameter.requires_grad for parameter in module.parameters(recurse=False)
    )


def faults_of(model: PreTrainedModel, seen: Seen) -> str:
    """Say why a base cannot be entered, from a pass through it; empty where it may be."""
    if model.config.is_encoder_decoder:
        return SEQ2SEQ
    if not seen.blocks:
        return "it has no layers that are known here"
    if [number for number, _ in seen.returned] != list(range(len(seen.blocks))):
        return "its layers do not run one after the other, each once"
    if seen.odd:
        return "its layers hand on more than hidden states"
    if not seen.lowest or seen.unknown(model):
        return LOWEST
    return ""


def same(first: Tensor, second: Tensor, tolerance: float) -> bool:
    """Whether two tensors are equal within a share of the larger one's largest number."""
    size = max(float(first.abs().max()), float(second.abs().max()), torch.finfo(torch.float32).tiny)
    return float((first.float() - second.float()).abs().max()) <= tolerance * size


def depth_of(seen: Seen, why: str) -> Entry:
    """Give what a pass has shown of a base's layers."""
    count = len(seen.blocks)
    if why:
        return Entry(0, count, why=why)
    states = seen.returned[seen.lowest - 1][1]
    return Entry(seen.lowest, count, int(states.shape[-1]))
