"""Extent: the layers of a model that an adapter is kept to.

They are told by labels of blocks (`tenon.adapters.blocks`), or as `last:2`, the last two of every
stack.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from tenon.adapters.blocks import LABEL, Block, block_of, is_among
from tenon.core.errors import PlanError

LAST = re.compile(r"last:([1-9][0-9]*)")
WANTED = 'expected "last:2" for the last two, or a list of their numbers, [4, 5]'


def read_layers(value: object, where: str, faults: list[str]) -> tuple[str, ...]:
    """Read what a plan file says of layers; nothing said is all of them, and gives ().

    Args:
        value: text, number or list of them; None where it is left out.
        where: the adapter, for messages.
        faults: is told what is wrong.
    """
    if value is None:
        return ()
    each = list(value) if isinstance(value, list | tuple) else [value]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    texts = [str(one) for one in each if isinstance(one, str | int) and not isinstance(one, bool)]  # pyright: ignore[reportUnknownVariableType]
    if len(texts) < len(each) or not texts or not all(map(_is_said_well, texts)):  # pyright: ignore[reportUnknownArgumentType]
        faults.append(f"{where}.layers is {value!r}; {WANTED}")
        return ()
    if len(set(texts)) < len(texts):
        faults.append(f"{where}.layers is {value!r}: names a layer twice; name it once")
    return tuple(dict.fromkeys(texts))


def _is_said_well(text: str) -> bool:
    return bool(LABEL.fullmatch(text) or LAST.fullmatch(text))


def labels_of(layers: Sequence[str], modules: Iterable[str]) -> tuple[str, ...]:
    """Give the labels of the blocks that `layers` mean in a model.

    Args:
        layers: as `read_layers` gave them.
        modules: full names of all modules of the model.

    Raises:
        PlanError: a label names no block, or more are asked for than there are; all at once.
    """
    blocks = sorted({block for name in modules if (block := block_of(name))})
    known = {label for block in blocks for label in block.labels}
    depth = _depth(blocks)
    faults: list[str] = []
    found: list[str] = []
    for text in layers:
        last = LAST.fullmatch(text)
        if last and int(last[1]) < max(depth.values(), default=0):
            found += _last(blocks, depth, int(last[1]))
        elif last:
            what = f"has no effect: the base has {max(depth.values(), default=0)} layers"
            faults.append(f"layers: {text} {what}; leave it out, or take fewer")
        elif text in known:
            found.append(text)
        else:
            faults.append(f"layers: {text} is no layer of this base; {_span(depth)}")
    if faults:
        raise PlanError("\n".join(faults))
    if all(not set(block.labels).isdisjoint(found) for block in blocks):
        raise PlanError("layers: names every layer, which has no effect; leave it out")
    return tuple(dict.fromkeys(found))


def kept(
    places: Mapping[str, tuple[str, ...]], labels: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Keep the modules of each site that lie in the named blocks.

    Raises:
        PlanError: of a site nothing is left; all such at once.
    """
    found = {
        site: tuple(name for name in names if is_among(name, labels))
        for site, names in places.items()
    }
    empty = [site for site, names in found.items() if not names]
    if empty:
        raise PlanError(
            "\n".join(
                f"layers: {site} lies in none of the layers {', '.join(labels)}; leave the site "
                "out, or choose other layers"
                for site in empty
            )
        )
    return found


def _depth(blocks: Sequence[Block]) -> dict[str, int]:
    """Give how many blocks each stack has."""
    return {stack: 1 + max(b.number for b in blocks if b.stack == stack) for stack, _ in blocks}


def _last(blocks: Sequence[Block], depth: Mapping[str, int], count: int) -> list[str]:
    place = 0 if len(depth) > 1 else -1
    return [b.labels[place] for b in blocks if b.number >= depth[b.stack] - count]


def _span(depth: Mapping[str, int]) -> str:
    if len(depth) == 1:
        return f"they are 0 to {max(depth.values()) - 1}"
    each = (f"those of the {stack} are 0 to {count - 1}" for stack, count in depth.items())
    return ", ".join(each) or "none has a number"
