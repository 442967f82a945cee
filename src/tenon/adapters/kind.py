"""Kind: what a kind of adapter is, and the registry of them.

A kind is registered by decorating the function that makes its PEFT config:

    @kind("lora.v1", title="LoRA", settings=LoraSettings, ...)
    def lora(settings, targets, base): ...

An installed package adds its own with the entry-point group `tenon.kinds`.
This module imports neither torch nor PEFT; the modules that register the
built-in kinds do, and are imported when a kind is first looked up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tenon.adapters.settings import AdapterSettings
from tenon.core.errors import PlanError, did_you_mean
from tenon.core.registry import Registry
from tenon.core.settings import Settings

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedConfig

Targets = Mapping[str, tuple[str, ...]]
"""A site, or a pattern of module names, to the full names of the modules that it means."""

Configure = Callable[[Any, Targets, "PreTrainedConfig"], "PeftConfig"]

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
OF_A_TABLE = ("kind", "sites")


@dataclass(frozen=True)
class Kind:
    """One kind of adapter.

    Args:
        name: registered and versioned, `lora.v1`; a change of what it computes is a new version.
        title: its name in prose.
        settings: class of its own settings.
        config: gives the PEFT config from those settings, the targets, and the base's config.
            When an adapter is read it is asked again, without targets and with no more of the base
            than `model_type` and `hidden_size`, and what it gives must be what was written.
        default_sites: where it sits when nothing is said.
        learning_rate: peak rate that suits its weights, for AdamW.
        mergeable: whether it can be folded into the base's weights.
        mergeable_why: the reason, one sentence.
        rowwise: whether each row of one batch can have its own adapter.
        paper: authors, year and title.
        summary: what it does, one sentence.
        choose_sites: default sites where they depend on the settings.
    """

    name: str
    title: str
    settings: type[Settings]
    config: Configure
    default_sites: tuple[str, ...]
    learning_rate: float
    mergeable: bool
    mergeable_why: str
    rowwise: bool
    paper: str
    summary: str
    choose_sites: Callable[[Any], tuple[str, ...]] | None = None

    def sites(self, settings: Settings) -> tuple[str, ...]:
        """Give the sites that an adapter with `settings` takes when none are named."""
        return self.choose_sites(settings) if self.choose_sites else self.default_sites


KINDS: Registry[Kind] = Registry(
    "kind",
    "tenon.kinds",
    modules=("tenon.adapters.peft_kinds", "tenon.adapters.bottleneck_kind"),
)


def kind(
    name: str,
    *,
    title: str,
    settings: type[Settings],
    default_sites: tuple[str, ...],
    learning_rate: float,
    mergeable: bool,
    mergeable_why: str,
    rowwise: bool,
    paper: str,
    summary: str,
    choose_sites: Callable[[Any], tuple[str, ...]] | None = None,
) -> Callable[[Configure], Kind]:
    """Make the decorated function's kind and register it; the arguments are `Kind`'s."""

    def decorate(config: Configure) -> Kind:
        made = Kind(
            name=name,
            title=title,
            settings=settings,
            config=config,
            default_sites=default_sites,
            learning_rate=learning_rate,
            mergeable=mergeable,
            mergeable_why=mergeable_why,
            rowwise=rowwise,
            paper=paper,
            summary=summary,
            choose_sites=choose_sites,
        )
        return KINDS.add(name, made)

    return decorate


def settle(name: str, table: Mapping[str, Any]) -> AdapterSettings:
    """Validate one `[adapters.NAME]` table and fill in what it leaves out.

    Args:
        name: the adapter's name.
        table: `kind`, optionally `sites`, and the kind's own settings.

    Raises:
        PlanError: every fault of the table, one a line.
    """
    where = f"adapters.{name}"
    faults = _name_faults(name)
    if not isinstance(table.get("kind"), str):
        faults.append(f'{where}.kind is missing; write kind = "{KINDS.names()[-1]}", for example')
        raise PlanError("\n".join(faults))
    chosen = KINDS.get(table["kind"])
    own = {key: value for key, value in table.items() if key not in OF_A_TABLE}
    settings = _own(chosen, own, where, faults)
    sites = _sites(table.get("sites"), where, faults)
    if faults or settings is None:
        raise PlanError("\n".join(faults))
    return AdapterSettings(
        name=name,
        kind=chosen.name,
        sites=sites or chosen.sites(settings),
        own=settings.model_dump(),
    )


def _name_faults(name: str) -> list[str]:
    if NAME.fullmatch(name):
        return []
    return [
        f"adapters: {name!r} cannot be an adapter's name; "
        "take a letter, then at most 63 letters, digits, _ or -"
    ]


def _own(chosen: Kind, own: Mapping[str, Any], where: str, faults: list[str]) -> Settings | None:
    known = chosen.settings.model_fields
    unknown = [key for key in own if key not in known]
    choices = (*OF_A_TABLE, *known)
    faults += [
        f"{where}.{key} is not a setting of {chosen.name}; {did_you_mean(key, choices)}"
        for key in unknown
    ]
    try:
        return chosen.settings(**{key: own[key] for key in own if key in known})
    except ValidationError as error:
        for fault in error.errors():
            at = ".".join([where, *map(str, fault["loc"])])
            value = "" if not fault["loc"] else f" is {fault['input']!r}"
            faults.append(f"{at}{value}: {fault['msg'].removeprefix('Value error, ')}")
        return None


def _sites(value: object, where: str, faults: list[str]) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, list | tuple) and value and all(isinstance(site, str) for site in value):
        return tuple(dict.fromkeys(map(str, value)))
    faults.append(
        f"{where}.sites is {value!r}; expected a list of site names or patterns of module names, "
        'for example ["attention.out", "mlp.out"]'
    )
    return ()
