"""Structure: the sites of a model outside the table, read off its repeated blocks.

Within a block the linear layers are told apart by their names and shapes. What lies under a module
named like attention is query, key, value or fused by its name and else the output; it is of the
cross-attention where a part of its name says so. Elsewhere the layers that narrow are `mlp.out`,
the others `mlp.in`, or `mlp.gate` by name; one twice as wide as `mlp.out` takes in is both. The
router of a mixture of experts is none of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import nn

from tenon.adapters.layers import features, is_linear, is_norm
from tenon.adapters.names import GROUPS, NAMES, STACKS

_FUSED = re.compile(r"(?i)^(?:.*qkv.*|c_attn|query_key_value|in_proj)$")
_PART = {
    "query": re.compile(r"(?i)^(?:w?q|query|q_proj|q_lin|query_proj|wq)$"),
    "key": re.compile(r"(?i)^(?:w?k|key|k_proj|k_lin|key_proj|wk)$"),
    "value": re.compile(r"(?i)^(?:w?v|value|v_proj|v_lin|value_proj|wv)$"),
}
_ATTENTION = re.compile(r"(?i)attn|attention")
_CROSS = re.compile(r"(?i)cross|enc(?:oder)?_?(?:dec(?:oder)?)?_?att")
_GATE = re.compile(r"(?i)gate|^(?:w1|wi_0)$")
_ROUTER = re.compile(r"(?i)^(?:gate|router|wg)$")


def by_structure(trunk: nn.Module) -> dict[str, tuple[str, ...]]:
    """Find the sites of `trunk` without the table; norms are left out."""
    found: dict[str, list[str]] = {}
    for name, block in _blocks(trunk):
        found.setdefault("layer", []).append(name)
        linears = {
            key: module
            for key, module in block.named_modules()
            if is_linear(module) and not is_router(key, block)
        }
        inner = _inner_width(linears)
        for key, module in linears.items():
            for site in _classify(key, module, inner):
                found.setdefault(site, []).append(f"{name}.{key}")
    found["embeddings"] = list(word_embeddings(trunk))
    return {site: tuple(found[site]) for site in NAMES if found.get(site)}


def norms(trunk: nn.Module) -> tuple[str, ...]:
    """Give the names of all norms of `trunk`."""
    return tuple(name for name, module in trunk.named_modules() if is_norm(module))


def stack_of(name: str) -> str:
    """Give the stack that a module of an encoder-decoder lies in; empty for one outside of both."""
    return next((part for part in name.split(".") if part in STACKS), "")


def experts(trunk: nn.Module) -> tuple[str, ...]:
    """Give the names of the tensors that hold the experts of each layer, all in one."""
    return tuple(name for name, p in trunk.named_parameters() if p.dim() == 3)  # noqa: PLR2004


def word_embeddings(trunk: nn.Module) -> tuple[str, ...]:
    """Give the word embeddings that are in use: of one table under several names, a stack's own."""
    tables = [(n, m) for n, m in trunk.named_modules() if isinstance(m, nn.Embedding)]
    largest = max((table.num_embeddings for _, table in tables), default=0)
    words = [name for name, table in tables if table.num_embeddings == largest]
    return tuple(name for name in words if stack_of(name)) or tuple(words[-1:])


def _blocks(trunk: nn.Module) -> list[tuple[str, nn.Module]]:
    """The elements of the outermost lists of equal modules that hold linear layers."""
    blocks: list[tuple[str, nn.Module]] = []
    inside: tuple[str, ...] = ()
    for name, module in trunk.named_modules():
        if not isinstance(module, nn.ModuleList) or name.startswith(inside or ("\0",)):
            continue
        children = list(module.named_children())
        alike = len({type(child) for _, child in children}) == 1
        if alike and any(is_linear(part) for _, child in children for part in child.modules()):
            blocks += [(f"{name}.{key}", child) for key, child in children]
            inside = (*inside, f"{name}.")
    return blocks


def is_router(name: str, block: nn.Module) -> bool:
    """Whether a linear layer of a block chooses between the experts that lie beside it."""
    parent, _, last = name.rpartition(".")
    return bool(_ROUTER.match(last)) and hasattr(block.get_submodule(parent), "experts")


def _inner_width(linears: Mapping[str, nn.Module]) -> int:
    return max(
        (features(linear)[0] for name, linear in linears.items() if not _ATTENTION.search(name)),
        default=0,
    )


def _classify(name: str, linear: nn.Module, inner: int) -> tuple[str, ...]:
    last = name.rpartition(".")[2]
    group = "cross" if _CROSS.search(name) else "attention"
    if _FUSED.match(last):
        return GROUPS[group][:3]
    for part, pattern in _PART.items():
        if pattern.match(last):
            return (f"{group}.{part}",)
    if _ATTENTION.search(name):
        return (f"{group}.out",)
    width_in, width_out = features(linear)
    if width_in == inner and width_out < inner:
        return ("mlp.out",)
    if width_out == 2 * inner:
        return ("mlp.in", "mlp.gate")
    return ("mlp.gate",) if _GATE.search(last) else ("mlp.in",)
