"""Compiling: whether it pays to compile the base's blocks, from what it costs and what it saves.

Source of the figures: docs/performance.md, one H100, 28 like blocks of a base of 0.6 B parameters
with LoRA, steps of 6,200 tokens: compiled in 70 s, and then 113 ms a step instead of 171.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from tenon.model.entry import blocks
from tenon.model.fused import of_form
from tenon.plan.ways import COMPILE, Note

SECONDS = 70.0
"""Of compiling blocks of one sort, which is done once for all of them."""
SAVED = 1 - 113 / 171
"""Of a step's time."""
PAYS = 2.0
"""How many times what compiling takes it has to save: both are estimates."""
MOST_SORTS = 8
"""torch compiles no function for more sorts than these, and runs the others as they are.
Source: `torch._dynamo.config.recompile_limit`."""


@dataclass(frozen=True)
class Compiling:
    """What compiling the blocks of a base would do.

    Args:
        sorts: of blocks, each compiled once.
        plain: seconds of all steps as they are.
        why: why it cannot be done; empty where it can.
    """

    sorts: int
    plain: float
    why: str = ""

    @property
    def seconds(self) -> float:
        """What compiling takes."""
        return SECONDS * self.sorts

    @property
    def saved(self) -> float:
        """What it takes off all steps."""
        return SAVED * self.plain

    @property
    def pays(self) -> bool:
        """Whether it saves well more than it takes."""
        return not self.why and self.saved > PAYS * self.seconds

    def note(self) -> Note:
        """Say what is decided and why."""
        if self.why:
            return Note(COMPILE, value=False, why=self.why)
        took = f"compiling takes about {self.seconds:,.0f} s"
        rest = (
            f"{self.plain:,.0f} s of training by estimate would be {self.plain - self.saved:,.0f}"
        )
        rule = f"what is saved has to be {PAYS:g} times what it takes"
        return Note(COMPILE, value=self.pays, why=f"{took}, and {rest}; {rule}")


def compiling(model: nn.Module, device: str, plain: float, *, fused: bool = False) -> Compiling:
    """Find what compiling the blocks of a base would do.

    Args:
        model: the base with the adapter that is trained; it may be without data.
        device: "cpu" or "cuda".
        plain: seconds of all steps as they are.
        fused: whether blocks of Llama's form are computed in few kernels otherwise, which is
            faster than compiling them.
    """
    sorts = len({sort_of(block) for block in blocks(model)})
    why = ""
    if device != "cuda":
        why = "on a CPU compiling takes longer than it saves"
    elif not sorts:
        why = "the base has no blocks that are known here"
    elif fused and of_form(model):
        why = "blocks of Llama's form are faster in the kernels of `model.kernels`"
    elif sorts > MOST_SORTS:
        why = f"its blocks are of {sorts} sorts, and torch compiles {MOST_SORTS} at most"
    return Compiling(sorts, plain, why)


def sort_of(block: nn.Module) -> tuple[Any, ...]:
    """Give what decides whether a block is compiled as another one was: what is in it, and where.

    Its number is not among it, of which torch looks at no more than that it is one.
    """
    modules = tuple((name, type(module)) for name, module in block.named_modules())
    tensors = tuple(
        (name, tuple(each.shape), each.dtype, each.requires_grad)
        for name, each in block.named_parameters()
    )
    return type(block), getattr(block, "attention_type", ""), modules, tensors
