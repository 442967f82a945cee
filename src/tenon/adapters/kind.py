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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from tenon.adapters.extent import read_layers
from tenon.adapters.names import CORE, LINEAR, WRAPPED, Sort, is_name, members, split
from tenon.adapters.refused import REFUSED, SETTINGS
from tenon.adapters.settings import AdapterSettings
from tenon.core.errors import PlanError, did_you_mean
from tenon.core.manual import Setting, manual
from tenon.core.registry import Registry
from tenon.core.settings import Settings

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedConfig

Targets = Mapping[str, tuple[str, ...]]
"""A site, or a pattern of module names, to the full names of the modules that it means."""

Configure = Callable[[Any, Targets, "PreTrainedConfig"], "PeftConfig"]

Side = Literal["in", "out", "both"]
"""Of a linear layer: the size of its input, of its output, or each of them."""

MEASURED = "measured here, MiniLM on short texts (docs/log.md)"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
OF_A_TABLE = ("kind", "sites", "layers")


@dataclass(frozen=True)
class Compound:
    """How a kind is made of other adapters.

    Args:
        parts: gives, from the settings, the adapters that it is made of.
        gather: gives, from a table of a plan file and what makes a path absolute, the table with
            all that it names outside of the file.
        fill: puts its parts' weights into a fresh adapter, from the settings.
    """

    parts: Callable[[Any], tuple[AdapterSettings, ...]]
    gather: Callable[[Mapping[str, Any], Callable[[str], str]], dict[str, Any]]
    fill: Callable[[PeftModel, Any], None]


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
        wraps: the sorts of modules that it can sit on.
        divides: settings that must divide a layer's sizes, to which of them.
        names_modules: fields of the PEFT config that hold names of modules, and so follow from the
            sites alone.
        start: what a fresh adapter changes, one clause; empty where it changes no bit.
        rate_source: where `learning_rate` is from.
        quantized_why: why it cannot sit on layers whose weight is held in few bits, one clause;
            empty where it can.
        reads_weights: whether its size follows from the base's weights, not from its shapes alone.
        choose_sites: default sites where they depend on the settings.
        choose_factors: gives, from the settings, part of a parameter's name to the factor on the
            learning rate that it takes; none unless given.
        choose_places: the named sites that it can be put on, where they depend on the settings;
            those of the sorts that it wraps unless given.
        choose_sorts: the sorts of modules that it can sit on, where they depend on the settings;
            `wraps` unless given.
        choose_start: gives, from the settings, the name of the start that its first weights are
            computed by (`tenon.adapters.starts`, `tenon.model.inputs`); empty where PEFT draws all.
        presets: value of the setting `preset` to the values that it gives to other settings.
        compound: how it is made of other adapters, whose places are its own; None if it is not.
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
    wraps: tuple[Sort, ...] = WRAPPED
    divides: Mapping[str, Side] = field(default_factory=dict[str, Side])
    names_modules: tuple[str, ...] = ("target_modules",)
    start: str = ""
    rate_source: str = MEASURED
    quantized_why: str = ""
    reads_weights: bool = False
    choose_sites: Callable[[Any], tuple[str, ...]] | None = None
    choose_places: Callable[[Any], tuple[str, ...]] | None = None
    choose_factors: Callable[[Any], dict[str, float]] | None = None
    choose_sorts: Callable[[Any], tuple[Sort, ...]] | None = None
    choose_start: Callable[[Any], str] | None = None
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    compound: Compound | None = None

    def sites(self, settings: Settings) -> tuple[str, ...]:
        """Give the sites that an adapter with `settings` takes when none are named."""
        return self.choose_sites(settings) if self.choose_sites else self.default_sites

    def places(self, settings: Settings) -> tuple[str, ...]:
        """Give the named sites that an adapter with `settings` can be put on."""
        return self.choose_places(settings) if self.choose_places else self.sites_of_sort(settings)

    def sorts(self, settings: Settings) -> tuple[Sort, ...]:
        """Give the sorts of modules that an adapter with `settings` can sit on."""
        return self.choose_sorts(settings) if self.choose_sorts else self.wraps

    def sites_of_sort(self, settings: Settings) -> tuple[str, ...]:
        """Give the named sites whose modules are of a sort that it can sit on."""
        sorts = set(self.sorts(settings))
        linear = LINEAR if {"linear", "transposed"} & sorts else ()
        tables = ("embeddings",) if "embedding" in sorts else ()
        norms = ("norms",) if "norm" in sorts else ()
        return (*linear, *tables, *norms, *(CORE if "attention" in sorts else ()))

    def begins_from(self, own: Mapping[str, Any]) -> str:
        """Give the name of the start that its first weights are computed by; empty where drawn.

        Args:
            own: the kind's own settings, as `AdapterSettings.own` has them.
        """
        return self.choose_start(self.settings(**own)) if self.choose_start else ""

    def factors(self, own: Mapping[str, Any]) -> dict[str, float]:
        """Give part of a parameter's name to the factor on the learning rate that it takes.

        Args:
            own: the kind's own settings, as `AdapterSettings.own` has them.
        """
        return self.choose_factors(self.settings(**own)) if self.choose_factors else {}

    def manual(self) -> tuple[Setting, ...]:
        """Give its own settings; one that a preset decides has no default, but `by_preset`."""
        decided = {name for values in self.presets.values() for name in values}
        return tuple(
            replace(setting, default=None, by_preset=True) if setting.name in decided else setting
            for setting in manual(self.settings)
        )

    def by_preset(self) -> dict[str, dict[str, Any]]:
        """Give what each preset decides: the sites, then each setting."""
        return {
            preset: {"sites": self.sites(self.settings.model_validate({"preset": preset})), **given}
            for preset, given in self.presets.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Give the kind as JSON-able values, its settings and presets included."""
        told = ("name", "title", "summary", "paper", "learning_rate", "rate_source", "mergeable")
        more = ("mergeable_why", "rowwise", "start", "quantized_why")
        return {
            **{name: getattr(self, name) for name in (*told, *more)},
            "default_sites": list(self.default_sites),
            "settings": [
                {**asdict(setting), "choices": list(setting.choices)} for setting in self.manual()
            ],
            "presets": {
                preset: {**values, "sites": list(values["sites"])}
                for preset, values in self.by_preset().items()
            },
        }


KINDS: Registry[Kind] = Registry(
    "kind",
    "tenon.kinds",
    modules=(
        "tenon.adapters.lora_kinds",
        "tenon.adapters.factor_kinds",
        "tenon.adapters.product_kinds",
        "tenon.adapters.shared_kinds",
        "tenon.adapters.rotation_kinds",
        "tenon.adapters.spectrum_kinds",
        "tenon.adapters.vector_kinds",
        "tenon.adapters.sparse_kinds",
        "tenon.adapters.bottleneck_kind",
        "tenon.adapters.fusion_kind",
        "tenon.adapters.prefix_kind",
    ),
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
    wraps: tuple[Sort, ...] = WRAPPED,
    divides: Mapping[str, Side] | None = None,
    names_modules: tuple[str, ...] = ("target_modules",),
    start: str = "",
    rate_source: str = MEASURED,
    quantized_why: str = "",
    reads_weights: bool = False,
    choose_sites: Callable[[Any], tuple[str, ...]] | None = None,
    choose_places: Callable[[Any], tuple[str, ...]] | None = None,
    choose_factors: Callable[[Any], dict[str, float]] | None = None,
    choose_sorts: Callable[[Any], tuple[Sort, ...]] | None = None,
    choose_start: Callable[[Any], str] | None = None,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    compound: Compound | None = None,
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
            wraps=wraps,
            divides=divides or {},
            names_modules=names_modules,
            start=start,
            rate_source=rate_source,
            quantized_why=quantized_why,
            reads_weights=reads_weights,
            choose_sites=choose_sites,
            choose_places=choose_places,
            choose_factors=choose_factors,
            choose_sorts=choose_sorts,
            choose_start=choose_start,
            presets=presets or {},
            compound=compound,
        )
        return KINDS.add(name, made)

    return decorate


def settle(name: str, table: Mapping[str, Any]) -> AdapterSettings:
    """Validate one `[adapters.NAME]` table and fill in what it leaves out.

    Args:
        name: the adapter's name.
        table: `kind`, optionally `sites` and `layers`, and the kind's own settings.

    Raises:
        PlanError: every fault of the table, one a line.
    """
    where = f"adapters.{name}"
    faults = _name_faults(name)
    if not isinstance(table.get("kind"), str):
        faults.append(f'{where}.kind is missing; write kind = "{KINDS.names()[-1]}", for example')
        raise PlanError("\n".join(faults))
    _refuse_by_name(table["kind"], where)
    chosen = KINDS.get(table["kind"])
    own = {key: value for key, value in table.items() if key not in OF_A_TABLE}
    settings = _own(chosen, own, where, faults)
    sites = _sites(table.get("sites"), where, faults)
    faults += [] if settings is None else _misplaced(chosen, settings, sites, where)
    layers = read_layers(table.get("layers"), where, faults)
    if chosen.compound is not None:
        faults += [
            f"{where}.{name} has no effect: its places are those of its parts; leave it out"
            for name, value in (("sites", sites), ("layers", layers))
            if value
        ]
    if faults or settings is None:
        raise PlanError("\n".join(faults))
    return AdapterSettings(
        name=name,
        kind=chosen.name,
        sites=sites or chosen.sites(settings),
        own=settings.model_dump(),
        layers=layers,
    )


def _refuse_by_name(name: str, where: str) -> None:
    plain = name.partition(".")[0].lower().replace("-", "_")
    if plain in SETTINGS:
        raise PlanError(
            f"{where}.kind: {name} is a setting of LoRA; write "
            f'kind = "lora.v1" and {SETTINGS[plain]}'
        )
    refused = REFUSED.get(plain)
    if refused:
        instead = f"; take {refused.instead}" if refused.instead else ""
        raise PlanError(f"{where}.kind: {refused.title} is refused: {refused.why}{instead}")


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
        f"{where}.{key} is not a setting of {chosen.name}; "
        f"{did_you_mean(key, choices, before=f'{where}.')}"
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


def said(chosen: Kind, settings: Settings) -> str:
    """Say what of the settings decides where a kind can sit; empty where nothing does."""
    if chosen.presets:
        return f" with preset {getattr(settings, 'preset', '')}"
    narrowed = chosen.sorts(settings) != chosen.wraps
    return f" with init {getattr(settings, 'init', '')}" if narrowed else ""


def _misplaced(
    chosen: Kind, settings: Settings, sites: tuple[str, ...], where: str
) -> Iterator[str]:
    """Yield a fault for each named site that the kind cannot be put on, whatever the base."""
    if chosen.compound is not None:
        return
    can = chosen.places(settings)
    preset = said(chosen, settings)
    for site in sites:
        if is_name(site) and not {split(each)[1] for each in members(site)} <= set(can):
            yield (
                f"{where}.sites: {site} is no place for {chosen.name}{preset}; "
                f"it can be put on {', '.join(can)}"
            )
