"""Names: of the sites, which mean the same on every architecture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

Sort = Literal["linear", "transposed", "embedding", "norm", "attention"]
"""Of a module: what an adapter may sit on. Transposed is GPT-2's linear layer, Conv1D; attention is
where queries meet keys and values."""

WRAPPED: tuple[Sort, ...] = ("linear", "transposed", "embedding")
"""What LoRA and the bottlenecks sit on."""

_ATTENTION = ("attention.query", "attention.key", "attention.value", "attention.out")
_CROSS = ("cross.query", "cross.key", "cross.value", "cross.out")
_MLP = ("mlp.in", "mlp.gate", "mlp.out")
LINEAR = (*_ATTENTION, *_CROSS, *_MLP)
"""Sites that are linear layers."""

CORE = ("attention.core", "cross.core")
"""Sites that are whole attention modules, with the layers of the other sites inside."""

GROUPS: dict[str, tuple[str, ...]] = {
    "attention": _ATTENTION,
    "cross": _CROSS,
    "mlp": _MLP,
    "linear": LINEAR,
    "core": CORE,
}
WEIGHTED = (*LINEAR, "embeddings")
"""Sites that are one module with one weight matrix."""

NAMES = (*LINEAR, *CORE, "layer", "embeddings", "norms")
STACKS = ("encoder", "decoder")
"""What may stand before a site's name where a base has both: `decoder.mlp`."""


def modules(targets: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Give all module names of `targets`, by site, once, in order."""
    return tuple(dict.fromkeys(name for names in targets.values() for name in names))


def members(site: str) -> tuple[str, ...]:
    """Give the sites that a name stands for: those of a group, or itself; of its stack alone."""
    stack, plain = split(site)
    found = GROUPS.get(plain, (plain,))
    return tuple(f"{stack}.{name}" for name in found) if stack else found


def split(site: str) -> tuple[str, str]:
    """Give a name's stack, empty for both, and the name without it; patterns have no stack."""
    stack, dot, plain = site.partition(".")
    return (stack, plain) if dot and stack in STACKS and _is_plain(plain) else ("", site)


def is_name(site: str) -> bool:
    """Whether `site` is the name of a site or of a group of them, and no pattern of modules."""
    return _is_plain(split(site)[1])


def _is_plain(site: str) -> bool:
    return site in NAMES or site in GROUPS
