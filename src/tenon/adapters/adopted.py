"""Adopted: an adapter of another library in our terms.

Legend: D hidden, L labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from peft import PeftConfig
from torch import nn
from transformers import PreTrainedModel

from tenon.adapters import sites
from tenon.adapters.kind import KINDS, NAME, settle
from tenon.adapters.manifest import HeadSort, Pooling
from tenon.adapters.settings import AdapterSettings
from tenon.core.errors import AdapterError, PlanError

PEFT_PREFIX = "base_model.model."
SHOWN = 3


@dataclass(frozen=True)
class Use:
    """What an adapter is for, known before its base is loaded.

    Args:
        task: as the hub names it.
        head: what reads the hidden states.
        pooling: hidden states to what the head reads.
        labels: L names; none where the base writes.
        tensors: of the head, as `tenon.model.head.Head.put` takes them.
        constants: what else turns scores into answers.
        notes: what was taken for granted.
    """

    task: str
    head: HeadSort = "classes"
    pooling: Pooling = field(default_factory=lambda: Pooling(mode="tokens"))
    labels: tuple[str, ...] = ()
    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])
    constants: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    notes: tuple[str, ...] = ()


class Adopted(NamedTuple):
    """An adapter that our kinds have.

    Args:
        settings: its name, kind, sites and own settings.
        config: what PEFT is told.
        weights: PEFT's names over AutoModel to tensors.
        notes: what was changed on the way, without changing what it computes.
    """

    settings: AdapterSettings
    config: PeftConfig
    weights: dict[str, torch.Tensor]
    notes: tuple[str, ...] = ()


def written_by_base(*, seq2seq: bool, notes: Sequence[str] = ()) -> Use:
    """Give the use of an adapter without a head, on a base that writes."""
    head: HeadSort = "seq2seq" if seq2seq else "language"
    return Use("text-generation", head, notes=tuple(notes))


def without_head(where: object, model_type: str) -> AdapterError:
    """Say that nothing reads the hidden states."""
    return AdapterError(
        f"{where}: has no head, and a {model_type} does not write answers itself, so nothing reads "
        "what the adapter computes; import a folder with its head, or train one: tenon train"
    )


def labels_of(given: Sequence[str], named: Sequence[str], count: int) -> tuple[str, ...]:
    """Choose the names of L labels: those the user gives, those of the files, else LABEL_0 ...

    Raises:
        AdapterError: the user gives another number of them, or one twice.
    """
    if given and (len(given) != count or len(set(given)) != count):
        raise AdapterError(
            f"--labels: {len(given)} are named ({', '.join(given)}); the head has {count}, each "
            "with a name of its own, in the order of its rows"
        )
    return tuple(given or named or [f"LABEL_{row}" for row in range(count)])


def name_for(wanted: str, found: str) -> str:
    """Give the adapter's name: the user's, or what was found, made a name."""
    if wanted:
        return wanted
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", found).strip("-_")[:64]
    return (
        plain if NAME.fullmatch(plain) else f"a-{plain}"[:64].rstrip("-") if plain else "imported"
    )


def modules_of(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Give the modules of a trunk that can be named, by full name."""
    return {name: module for name, module in model.named_modules() if name}


def placed(
    name: str, kind: str, own: Mapping[str, Any], modules: Sequence[str], trunk: PreTrainedModel
) -> tuple[AdapterSettings, PeftConfig]:
    """Settle an adapter that sits on the linear layers and embeddings `modules`.

    Raises:
        AdapterError: the kind refuses the settings, or these modules.
    """
    try:
        settings = settle(name, {"kind": kind, "sites": sites_of(trunk, modules), **own})
        chosen = KINDS.get(kind)
        targets = {"": tuple(modules)}
        return settings, chosen.config(chosen.settings(**settings.own), targets, trunk.config)
    except PlanError as error:
        raise AdapterError(f"{kind} has no such adapter: {error}") from error


def sites_of(trunk: PreTrainedModel, modules: Iterable[str]) -> list[str]:
    """Give the sites that mean exactly `modules`: names of ours where they fit, else the modules'.

    A site whose modules are all among them is named; what is left stands by its own name.
    """
    wanted = set(modules)
    named = {
        site: set(found)
        for site, found in sites.places(trunk).modules.items()
        if site != "layer" and set(found) <= wanted
    }
    covered = set[str]().union(*named.values())
    return [*named, *sorted(wanted - covered)]


def shown(names: Iterable[str]) -> str:
    """Give the first of some names, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
