"""Blocks: the numbered layers of a model, told from the names of its modules.

A label names a block: `3` is the block of that number in every stack, `decoder.3` the one of the
decoder alone. Numbers begin at 0, in the encoder and in the decoder of an encoder-decoder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tenon.core.errors import PlanError

DEFAULT = "default"
LABEL = re.compile(r"(?:(?:encoder|decoder)\.)?(?:0|[1-9][0-9]*)")
_NUMBER = re.compile(r"(?:^|\.)(\d+)(?=\.|$)")
_STACK = re.compile(r"(?:^|\.)(encoder|decoder)(?=\.)")


class Block(NamedTuple):
    """Where a module lies.

    Args:
        stack: "encoder" or "decoder" as its name says; empty where it does not.
        number: of the block, from 0.
    """

    stack: str
    number: int

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that name it, the closest first."""
        plain = str(self.number)
        return (f"{self.stack}.{plain}", plain) if self.stack else (plain,)


def block_of(module: str) -> Block | None:
    """Give the block of a module by its full name; None for one that lies in no block.

    The first number in a name is the block's; those behind it count sublayers or experts.
    """
    number = _NUMBER.search(module)
    if number is None:
        return None
    stacks = _STACK.findall(module[: number.start() + 1])
    return Block(stacks[-1] if stacks else "", int(number[1]))


def is_among(module: str, labels: Iterable[str]) -> bool:
    """Whether a module lies in one of the blocks that `labels` name."""
    block = block_of(module)
    return block is not None and not set(block.labels).isdisjoint(labels)


def choose(module: str, values: Mapping[str, float]) -> float:
    """Give the value of a module's block, by its closest label, else that of `default`.

    Raises:
        PlanError: neither its block nor `default` has a value.
    """
    block = block_of(module)
    for label in (*(block.labels if block else ()), DEFAULT):
        if label in values:
            return values[label]
    raise PlanError(
        f"reduction: says nothing of {module or 'a module outside of the blocks'}; it has "
        f'{", ".join(values) or "no entry"}; add the block\'s number, or "{DEFAULT}"'
    )


def check_labels(setting: str, labels: Iterable[str], modules: Iterable[str]) -> None:
    """Refuse a label that names no block among `modules`, or a default that nothing is left to.

    Args:
        setting: its name, for the message.
        labels: of blocks, or `default`.
        modules: full names.

    Raises:
        PlanError: every such label, one a line.
    """
    labels, found = list(labels), [block_of(name) for name in modules]
    blocks = sorted({block for block in found if block})
    known = {label for block in blocks for label in block.labels}
    faults = [
        f"{setting}: {label} has no effect, there is no such layer here; {_span(blocks)}"
        for label in labels
        if label not in known and label != DEFAULT
    ]
    named = all(block and not set(block.labels).isdisjoint(labels) for block in found)
    if found and named and DEFAULT in labels:
        faults.append(f"{setting}: {DEFAULT} has no effect, every layer has its own; remove it")
    if faults:
        raise PlanError("\n".join(faults))


def _span(blocks: list[Block]) -> str:
    if not blocks:
        return "none has a number"
    numbers = [block.number for block in blocks]
    return f"they are {min(numbers)} to {max(numbers)}"
