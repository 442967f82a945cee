"""Sites: names for places in a model that mean the same on every architecture.

They are found by a table of model types (`architectures`), or by structure (`structure`). In an
encoder-decoder `attention` is the self-attention of both stacks, `cross` the attention of the
decoder to the encoder's output, and `encoder.attention` or `decoder.mlp` a place in one of the two.
A mixture of experts whose experts lie together in one tensor has no `mlp`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, cast

from torch import nn

from tenon.adapters.architectures import SITES, Patterns, matches
from tenon.adapters.layers import SAID, features, is_linear, sort_of
from tenon.adapters.names import (
    GROUPS,
    NAMES,
    STACKS,
    WEIGHTED,
    WRAPPED,
    Sort,
    is_name,
    members,
    split,
)
from tenon.adapters.structure import by_structure, experts, norms, stack_of
from tenon.core.errors import PlanError, did_you_mean, nearest

__all__ = ["SITES", "by_structure", "features", "is_linear", "matches", "resolve"]
SHOWN = 3
_MLP = re.compile(r"(?i)\.(?:mlp|moe|feed_forward|block_sparse_moe)\.")


@dataclass(frozen=True)
class Places:
    """The sites of one model.

    Args:
        model_type: as its config says.
        source: "table" where `SITES` knows the model type, else "structure".
        modules: site name to full module names, in the model's order; a site that it lacks is
            absent.
        stacked: whether the model is an encoder with a decoder.
    """

    model_type: str
    source: str
    modules: dict[str, tuple[str, ...]]
    stacked: bool = False

    def named(self, site: str) -> tuple[str, ...]:
        """Give the modules of a site, of one stack alone where its name says so."""
        stack, plain = split(site)
        found = self.modules.get(plain, ())
        if not stack:
            return found
        return tuple(name for name in found if self.stacked and stack_of(name) == stack)


def places(trunk: nn.Module) -> Places:
    """Find every site of `trunk`, by the table or, for unknown model types, by structure."""
    config = cast(Any, trunk).config
    model_type = str(getattr(config, "model_type", ""))
    known = SITES.get(model_type)
    found = _by_table(trunk, known) if known else by_structure(trunk)
    if experts(trunk):
        # PEFT takes the names of a dense MLP beside fused experts for those of the experts
        found = {site: names for site, names in found.items() if site not in GROUPS["mlp"]}
    for group in ("attention", "cross"):
        around = [name.rpartition(".")[0] for name in found.get(f"{group}.query", ())]
        if cores := tuple(dict.fromkeys(filter(None, around))):
            found[f"{group}.core"] = cores
    if normed := norms(trunk):
        found["norms"] = normed
    stacked = bool(getattr(config, "is_encoder_decoder", False))
    return Places(model_type, "table" if known else "structure", found, stacked)


def resolve(
    trunk: nn.Module, sites: Sequence[str], wrapped: Collection[Sort] = WRAPPED
) -> dict[str, tuple[str, ...]]:
    """Give the modules that each of `sites` means in `trunk`.

    Args:
        trunk: a model with a `config`.
        sites: names of sites or of groups of them (`attention`, `mlp`), or globs (`fnmatch`, in
            which `*` also crosses dots) over the names of modules.
        wrapped: the sorts of modules that a glob may match.

    Returns:
        Site or glob to full module names, in the model's order.

    Raises:
        PlanError: a site or glob matches nothing; all faults at once, each with what would match.
    """
    here = places(trunk)
    found: dict[str, tuple[str, ...]] = {}
    faults: list[str] = []
    for site in _expanded(sites, here):
        names = here.named(site) if is_name(site) else _glob(trunk, site, wrapped)
        if names:
            found[site] = names
        else:
            faults.append(_nothing(trunk, site, here, wrapped))
    if faults:
        raise PlanError("\n".join(faults))
    return found


def _expanded(sites: Sequence[str], here: Places) -> list[str]:
    out: list[str] = []
    for site in sites:
        out += [name for name in members(site) if here.named(name)] or [site]
    return list(dict.fromkeys(out))


def _by_table(trunk: nn.Module, patterns: Patterns) -> dict[str, tuple[str, ...]]:
    names = [name for name, _ in trunk.named_modules()]
    found: dict[str, tuple[str, ...]] = {}
    for site, spelled in patterns.items():
        hits = tuple(name for name in names if any(matches(name, pattern) for pattern in spelled))
        if hits:
            found[site] = hits
    return found


def _glob(trunk: nn.Module, pattern: str, wrapped: Collection[Sort]) -> tuple[str, ...]:
    return tuple(name for name in _adaptable(trunk, wrapped) if fnmatchcase(name, pattern))


def _adaptable(trunk: nn.Module, wrapped: Collection[Sort]) -> list[str]:
    """Give the modules of such sorts; of embeddings with one table, those in use."""
    named = [(n, m) for n, m in trunk.named_modules() if sort_of(m) in wrapped]
    if experts(trunk):
        named = [(name, module) for name, module in named if not _MLP.search(name)]
    tables: dict[object, list[str]] = {}
    for name, module in named:
        if isinstance(module, nn.Embedding):
            tables.setdefault(module.weight, []).append(name)
    idle = {
        name
        for names in tables.values()
        for name in names
        if name not in ([n for n in names if stack_of(n)] or names[-1:])
    }
    return [name for name, _ in named if name not in idle]


def _nothing(trunk: nn.Module, site: str, here: Places, wrapped: Collection[Sort]) -> str:
    stack, plain = split(site)
    if site == "head":
        return "sites: head is trained with every adapter and is no site; leave it out"
    if stack and not here.stacked:
        return (
            f"sites: {site} is of one of two stacks, and this {here.model_type} model has but one; "
            f"write {plain}"
        )
    if is_name(site):
        return _absent(trunk, site, here)
    if not any(mark in site for mark in "*?[") and (site.count(".") < 2 or _of_stack(site, here)):
        return (
            f"sites: {site} is no site and no module of this {here.model_type} model; "
            f"{did_you_mean(site, _known(here))}"
        )
    sorts = " or ".join(SAID[sort].split(" ", 1)[1] for sort in SAID if sort in wrapped)
    near = _near(_adaptable(trunk, wrapped), site)
    return f"sites: pattern {site} matches no {sorts}; {near}"


def _absent(trunk: nn.Module, site: str, here: Places) -> str:
    has = ", ".join(each for each in WEIGHTED if each in here.modules)
    inside = experts(trunk)
    if inside and set(members(split(site)[1])) <= set(GROUPS["mlp"]):
        return (
            f"sites: {site} is nowhere in this {here.model_type} model: its experts lie together "
            f"in {inside[0]} and {len(inside) - 1} more tensors, on which no kind can sit; "
            "choose attention"
        )
    return (
        f"sites: {site} is nowhere in this {here.model_type} model; "
        f"it has {has or 'none that Tenon knows'}"
    )


def _of_stack(site: str, here: Places) -> bool:
    return here.stacked and site.partition(".")[0] in STACKS


def _known(here: Places) -> list[str]:
    plain = [*here.modules, *(group for group in GROUPS if group not in here.modules)]
    stacks = STACKS if here.stacked else ()
    return plain + [f"{stack}.{name}" for stack in stacks for name in (*NAMES, *GROUPS)]


def _near(names: Sequence[str], site: str) -> str:
    generic = list(dict.fromkeys(re.sub(r"\d+", "*", name) for name in names))
    ends = {name.rpartition(".")[2]: name for name in reversed(generic)}
    alike = nearest(site.rpartition(".")[2], ends, SHOWN)
    close = nearest(site, generic, SHOWN) or [ends[end] for end in alike]
    shown = close or generic[:SHOWN]
    return ("would match: " if close else "there are for example: ") + ", ".join(shown)
