"""Last: the last block of a base, computed for the tokens that are read alone.

A row's vector that is the hidden state of one of its tokens needs of the last block only what that
token is computed from: keys and values of all tokens, everything else of the token itself. Modules
that compute each token by itself are given the tokens that are read; at the others' places their
output is 0, and what the base makes of it there is read by none. It is the same arithmetic for the
tokens that are read, but for the order of sums. Which modules these are is known by their sites,
and proved by hidden states on every base.

Legend: T tokens, U tokens that are read, D channels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tenon.adapters.blocks import Block, block_of
from tenon.adapters.sites import places
from tenon.core.errors import RunError
from tenon.model.encoded import Encoded
from tenon.model.entry import blocks
from tenon.model.loading import quiet
from tenon.model.trunk import PROOF_LENGTHS, TOLERANCE, Trunk, proof_row
from tenon.text.batch import of_ids

ALONE = ("attention.query", "attention.out", "mlp.in", "mlp.gate", "mlp.out")
"""Sites whose modules compute each token by itself, and no key or value."""
READ_BY_ALL = ("attention.key", "attention.value")


def proved(trunk: Trunk) -> Trunk:
    """Give a trunk with the modules of its last block that may compute read tokens alone, if any.

    They are those that `alone` finds, if the first and the last token of some rows have the same
    hidden states with them as without.

    Args:
        trunk: without an adapter.
    """
    names = alone(trunk.model) if trunk.packed else ()
    if not names:
        return trunk
    batch = of_ids([proof_row(trunk, length) for length in PROOF_LENGTHS]).to(trunk.device)
    ends_B = torch.tensor(batch.lengths, device=trunk.device).cumsum(0)
    starts_B = ends_B - torch.tensor(batch.lengths, device=trunk.device)
    for places_B in (starts_B, ends_B - 1):
        with torch.no_grad(), quiet():
            expected_BD = trunk.hidden_TD(batch)[places_B].float()
            try:
                with narrowed(trunk.model, names, places_B):
                    found_BD = trunk.hidden_TD(batch)[places_B].float()
            except (RunError, TypeError, ValueError, IndexError, RuntimeError):
                return trunk
        error = float((found_BD - expected_BD).abs().max() / expected_BD.abs().max())
        if not error <= TOLERANCE[trunk.model.dtype]:
            return trunk
    return replace(trunk, alone=names)


def alone(model: PreTrainedModel) -> tuple[str, ...]:
    """Give the modules of the last block that need no token but those that are read.

    A module is taken with what stands around it, as far as that holds nothing else with weights.
    """
    modules = places(model).modules
    shared = {name for site in READ_BY_ALL for name in modules.get(site, ())}
    found = [name for site in ALONE for name in modules.get(site, ()) if name not in shared]
    blocks = [block for name in (*found, *shared) if (block := block_of(name))]
    last = max(blocks, default=None, key=lambda block: block.number)
    if last is None or len({block.stack for block in blocks}) > 1:
        return ()
    return _widest(model, [name for name in dict.fromkeys(found) if block_of(name) == last], last)


def _widest(model: nn.Module, names: Sequence[str], last: Block) -> tuple[str, ...]:
    """Give the largest modules of a block whose weights are all of such modules."""
    inside = {id(p) for name in names for p in model.get_submodule(name).parameters()}
    found: list[str] = []
    for name in names:
        while True:
            around = name.rpartition(".")[0]
            parent = model.get_submodule(around)
            held = {id(p) for p in parent.parameters()}
            # A block's own name ends with its number.
            if around.rpartition(".")[2] == str(last.number) or not held <= inside:
                break
            name = around  # noqa: PLW2901 - it climbs
        found.append(name)
    return tuple(dict.fromkeys(found))


class Narrow:
    """The forward pass of a module over the tokens that are read.

    Args:
        module: it computes each token by itself.
        places_U: int64, the tokens that are read.
    """

    def __init__(self, module: nn.Module, places_U: Tensor) -> None:
        self.module, self.places_U = module, places_U

    def __call__(self, states_1TD: Tensor, *given: Any, **named: Any) -> Tensor:
        """Give the module's output at the places that are read, and 0 elsewhere."""
        forward = type(self.module).forward
        read_1UD = states_1TD.index_select(1, self.places_U)
        made_1UD: Tensor = forward(self.module, read_1UD, *given, **named)
        shape = (1, states_1TD.shape[1], made_1UD.shape[-1])
        return made_1UD.new_zeros(shape).index_copy(1, self.places_U, made_1UD)


@contextlib.contextmanager
def narrowed(model: nn.Module, names: Sequence[str], places_U: Tensor) -> Iterator[None]:
    """Let some modules compute the tokens that are read, for a forward pass.

    Args:
        model: the base, with or without an adapter on it.
        names: what `alone` gave.
        places_U: int64, the tokens that are read.
    """
    found = _found(model, names)
    for module in found:
        vars(module)["forward"] = Narrow(module, places_U)
    layer = vars(blocks(model)[-1]).get("forward") if found else None
    reading = layer.reading(places_U) if isinstance(layer, Encoded) else contextlib.nullcontext()
    try:
        with reading:
            yield
    finally:
        for module in found:
            vars(module).pop("forward", None)


def _found(model: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Give the modules of such names; none where something else goes by what they are given.

    That is a hook, which would be given all tokens, or the forward pass of the block or of one of
    the modules being another one already: a block that is computed again is so without `narrowed`.
    An adapter may have put a module elsewhere; that one is computed for all tokens.
    """
    found: list[nn.Module] = []
    for name in names:
        module: nn.Module | None = model
        for part in name.split("."):
            module = module._modules.get(part) if module is not None else None  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            if module is not None and _otherwise(module):
                return []
        if module is not None:
            found.append(module)
    return [] if any(_hooked(module) for module in found) else found


def _otherwise(module: nn.Module) -> bool:
    """Whether another forward pass than its class's has been given to a module.

    A layer that is computed as one function reads by itself the tokens that are read.
    """
    given = vars(module).get("forward")
    other = given is not None and not isinstance(given, Encoded)
    return other or vars(module).get("_compiled_call_impl") is not None


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
