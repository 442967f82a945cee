"""Fit: where the settings of an adapter put it in one model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from peft import PeftConfig
from transformers import PreTrainedModel

from tenon.adapters import extent, sites
from tenon.adapters.kind import KINDS, Compound, Kind, Side, Targets, said
from tenon.adapters.layers import SAID, features, is_linear, sort_of
from tenon.adapters.names import modules
from tenon.adapters.settings import AdapterSettings
from tenon.core.errors import PlanError
from tenon.core.settings import Settings


class Fit(NamedTuple):
    """An adapter's place in a model.

    Args:
        places: the module names that each site stands for.
        config: what PEFT is told.
    """

    places: dict[str, tuple[str, ...]]
    config: PeftConfig


def fit(trunk: PreTrainedModel, settings: AdapterSettings) -> Fit:
    """Find the modules of `trunk` that an adapter will sit on; nothing is changed.

    Raises:
        PlanError: a site matches nothing, or the kind refuses the trunk. Every line begins with
            the setting's full name, `adapters.mood.sites`.
    """
    kind = KINDS.get(settings.kind)
    if kind.compound is not None:
        return _of_parts(trunk, settings, kind, kind.compound)
    try:
        own = kind.settings(**settings.own)
        places = sites.resolve(trunk, settings.sites, kind.sorts(own))
        if settings.layers:
            names = (name for name, _ in trunk.named_modules())
            places = extent.kept(places, extent.labels_of(settings.layers, names))
        _refuse_sorts(trunk, places, kind, own)
        _refuse_sizes(trunk, places, kind, settings.own)
        _refuse_ranks(trunk, places, kind, settings.own)
        return Fit(places, kind.config(own, places, trunk.config))
    except PlanError as error:
        lines = str(error).splitlines()
        prefix = f"adapters.{settings.name}."
        raise PlanError("\n".join(f"{prefix}{line}" for line in lines)) from error


def _of_parts(
    trunk: PreTrainedModel, settings: AdapterSettings, kind: Kind, compound: Compound
) -> Fit:
    """Find the modules of all parts of an adapter; its kind is told them as `part: site`."""
    own = kind.settings(**settings.own)
    where = f"adapters.{settings.name}.parts"
    targets: dict[str, tuple[str, ...]] = {}
    places: dict[str, tuple[str, ...]] = {}
    for part in compound.parts(own):
        try:
            found = fit(trunk, part).places
        except PlanError as error:
            told = str(error).replace(f"adapters.{part.name}.", f"{where}: {part.name}: ")
            raise PlanError(told) from error
        for site, names in found.items():
            targets[f"{part.name}: {site}"] = names
            places[site] = tuple(dict.fromkeys((*places.get(site, ()), *names)))
    return Fit(places, kind.config(own, targets, trunk.config))


def _refuse_sorts(trunk: PreTrainedModel, places: Targets, kind: Kind, own: Settings) -> None:
    """Refuse sites whose modules are of a sort that the kind cannot wrap."""
    faults: list[str] = []
    sorts = kind.sorts(own)
    allowed = " or ".join(SAID[each] for each in sorts)
    for site, names in places.items():
        for name in names:
            module = trunk.get_submodule(name)
            sort = sort_of(module)
            if sort in sorts:
                continue
            what = SAID[sort] if sort else f"a {type(module).__name__}"
            faults.append(
                f"sites: {site} of this {trunk.config.model_type} model is {what} ({name}), and "
                f"{kind.name}{said(kind, own)} sits on {allowed}; "
                "choose other sites, or lora.v1"
            )
            break
    if faults:
        raise PlanError("\n".join(faults))


def _refuse_sizes(
    trunk: PreTrainedModel, places: Targets, kind: Kind, own: Mapping[str, Any]
) -> None:
    """Refuse settings that do not divide the sizes of the layers, as the kind cuts them up."""
    faults: dict[str, str] = {}
    held = {name: trunk.get_submodule(name) for name in modules(places)}
    sizes = {name: features(module) for name, module in held.items() if is_linear(module)}
    for setting, side in kind.divides.items():
        for name, (inner, outer) in sizes.items():
            indivisible = any(size % own[setting] for size in _sides([(inner, outer)], side))
            if indivisible and setting not in faults:
                faults[setting] = (
                    f"{setting}: {own[setting]} does not divide the size of {name}, {inner} to "
                    f"{outer}; {math.gcd(*_sides(sizes.values(), side))} divides all of them"
                )
    if faults:
        raise PlanError("\n".join(faults.values()))


def _refuse_ranks(
    trunk: PreTrainedModel, places: Targets, kind: Kind, own: Mapping[str, Any]
) -> None:
    """Refuse a rank that a start cannot fill: a weight has no more directions than its sides."""
    start = kind.begins_from(own)
    if not start:
        return
    for name in modules(places):
        sizes = features(trunk.get_submodule(name))
        if own["rank"] > min(sizes):
            inner, outer = sizes
            raise PlanError(
                f"rank: {own['rank']} is more than {name}, {inner} to {outer}, has directions for "
                f"init {start} to begin with; at most {min(sizes)}"
            )


def _sides(sizes: Iterable[tuple[int, int]], side: Side) -> list[int]:
    keep = {"in": slice(0, 1), "out": slice(1, 2), "both": slice(0, 2)}[side]
    return [size for pair in sizes for size in pair[keep]]
