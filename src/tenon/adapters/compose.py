"""Compose: one adapter that does what a composition of several does, where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tenon.adapters.alike import answer_of, answering, coefficients, longest, refuse_unlike
from tenon.adapters.blend import METHODS, MOST_RANK, ComposeSettings, Cut, Part, cut, factored, lost
from tenon.adapters.composition import (
    FORMS,
    Average,
    Composition,
    Fuse,
    Parallel,
    Route,
    Stack,
    names,
    text,
)
from tenon.adapters.delta import Delta, deltas, why_not
from tenon.adapters.kind import NAME
from tenon.adapters.manifest import Layout, Manifest, Parent, Probes
from tenon.adapters.pack import Adapter
from tenon.adapters.portable import LORA, as_lora, plain
from tenon.core.errors import AdapterError, PlanError


@dataclass(frozen=True)
class Made:
    """An adapter that was composed.

    Args:
        adapter: without probes yet.
        errors: module to the size of what was cut off its change, relative to the change.
        error: the same of all modules together; 0 where nothing was cut off.
    """

    adapter: Adapter
    errors: dict[str, float]
    error: float


@dataclass(frozen=True)
class Parents:
    """The adapters that a composition names.

    Args:
        adapters: by the names that the composition has for them.
        digests: of their directories.
    """

    adapters: Mapping[str, Adapter]
    digests: Mapping[str, str]

    @property
    def manifests(self) -> dict[str, Manifest]:
        """What is known of each."""
        return {name: adapter.manifest for name, adapter in self.adapters.items()}

    @property
    def labels(self) -> dict[str, str]:
        """What each is called where folders mean nothing: its own name, made different."""
        found: dict[str, str] = {}
        for name, adapter in self.adapters.items():
            same = sum(other.name == adapter.name for other in self.adapters.values())
            place = sum(self.adapters[earlier].name == adapter.name for earlier in found) + 1
            found[name] = f"{adapter.name}-{place}" if same > 1 else adapter.name
        return found


def compose(composition: Composition, parents: Parents, settings: ComposeSettings) -> Made:
    """Make one adapter of a composition; nothing is written.

    Args:
        composition: of adapters whose changes are matrices: a weighted sum, however nested.
        parents: the adapters that it names.
        settings: how.

    Raises:
        AdapterError: the adapters do not belong together, or no one adapter does what they do.
        PlanError: a setting has no effect, or cannot be followed.
    """
    refuse_idle(settings)
    weights = {name: w for name, w in coefficients(composition).items() if w}
    if not weights:
        raise AdapterError(f"{text(composition)}: the weights cancel out; nothing would be changed")
    refuse_unlike(composition, parents.manifests, settings.head)
    if _is_one(weights, settings):
        return _one(composition, parents, settings)
    _refuse_unwritable(composition, parents)
    parts = _parts(parents, weights)
    rank = _rank(parts, settings)
    cuts = {module: _blended(held, rank, settings) for module, held in parts.items()}
    made = _adapter(composition, parents, settings, weights, rank, cuts)
    errors = {plain(module): lost([held]) for module, held in cuts.items()}
    return Made(made, errors, lost([*cuts.values()]))


def refuse_idle(settings: ComposeSettings) -> None:
    """Refuse settings that would change nothing, and a name that no adapter can have.

    Raises:
        PlanError: there is one.
    """
    if settings.density is not None and settings.method == "linear":
        raise PlanError("density has no effect with method linear; leave it out, or set method")
    if "seed" in settings.model_fields_set and settings.method != "dare":
        raise PlanError("seed has no effect: nothing is drawn at random but by method dare")
    if not NAME.fullmatch(settings.name):
        raise PlanError(
            f"name = {settings.name!r}: cannot be an adapter's name; take a letter, then at most "
            "63 letters, digits, _ or -"
        )


def _is_one(weights: Mapping[str, float], settings: ComposeSettings) -> bool:
    """Whether the composition is one of its adapters, as it is."""
    return [*weights.values()] == [1.0] and settings.method == "linear" and settings.rank is None


def _one(composition: Composition, parents: Parents, settings: ComposeSettings) -> Made:
    """Give the only adapter under its new name: of any kind, nothing of it is computed anew."""
    (name,) = [name for name, weight in coefficients(composition).items() if weight]
    adapter = parents.adapters[name]
    own = adapter.settings.model_copy(update={"name": settings.name})
    told = _told(composition, parents, settings, {})
    manifest = _manifest(composition, parents, settings, {name: 1.0}, adapter.kind, told)
    head = answer_of(composition, parents.adapters, settings.head).head
    made = replace(adapter, name=settings.name, settings=own, head=head, manifest=manifest)
    return Made(made, {}, 0.0)


def _refuse_unwritable(composition: Composition, parents: Parents) -> None:
    for name in names(composition):
        why = why_not(parents.adapters[name])
        if why:
            raise AdapterError(
                f"{text(name)}: {why}; run the composition as it is: "
                f"tenon eval {text(composition)!r} DATA"
            )


def _parts(parents: Parents, weights: Mapping[str, float]) -> dict[str, list[Part]]:
    """Give the deltas of each module, sorted by module."""
    found: dict[str, list[Part]] = {}
    for name, weight in weights.items():
        for module, delta in deltas(parents.adapters[name]).items():
            key = f"{parents.digests[name]} {module}"
            found.setdefault(module, []).append(Part(delta, weight, key))
    return dict(sorted(found.items()))


def _rank(parts: Mapping[str, Sequence[Part]], settings: ComposeSettings) -> int:
    """Give the rank of the adapter that is made.

    Raises:
        PlanError: the rank that is wanted has no effect, or the exact one is too large.
    """
    whole = max(sum(part.delta.rank for part in held) for held in parts.values())
    # A module cannot have a rank above its smaller side.
    sides = [held[0].delta for held in parts.values()]
    most = max(min(len(side.up_OR), side.down_RI.shape[1]) for side in sides)
    least = whole if settings.method == "linear" else most + 1
    wanted = settings.rank
    if wanted is not None and wanted >= least:
        why = (
            f"the sum is exact with {whole}"
            if least == whole
            else f"no module has more than {most}"
        )
        raise PlanError(f"rank = {wanted}: {why}, so that nothing would be cut; leave it out")
    if wanted is None and min(whole, least) > MOST_RANK:
        raise PlanError(
            f"rank: the exact sum takes {whole:,}, at most {MOST_RANK:,} can be; set it"
        )
    if wanted is not None:
        return wanted
    return whole if settings.method == "linear" else min(whole, most)


def _blended(parts: Sequence[Part], rank: int, settings: ComposeSettings) -> Cut:
    """Give the delta of a module with the rank that all modules have."""
    made: Any = METHODS[settings.method](parts, settings)
    if not isinstance(made, Delta):
        found = factored(made, rank, parts[0].delta.pair)
    elif made.rank <= rank:
        found = Cut(made, 0.0, made.square)
    else:
        found = cut(made, rank)
    return found


def _adapter(
    composition: Composition,
    parents: Parents,
    settings: ComposeSettings,
    weights: Mapping[str, float],
    rank: int,
    cuts: Mapping[str, Cut],
) -> Adapter:
    told = _told(composition, parents, settings, {"rank": rank, "error": lost([*cuts.values()])})
    manifest = _manifest(composition, parents, settings, weights, LORA, told)
    sites = [site for name in weights for site in parents.adapters[name].settings.sites]
    kept = {module: held.delta for module, held in cuts.items()}
    head = answer_of(composition, parents.adapters, settings.head).head
    return as_lora(manifest, tuple(dict.fromkeys(sites)), kept, rank, head)


def _manifest(
    composition: Composition,
    parents: Parents,
    settings: ComposeSettings,
    weights: Mapping[str, float],
    kind: str,
    told: dict[str, Any],
) -> Manifest:
    """Give the manifest: what the lead adapter's says of reading and answering, and the parents."""
    lead = answer_of(composition, parents.adapters, settings.head).lead
    known, labels = parents.manifests, parents.labels
    family = tuple(
        Parent(
            name=labels[name],
            kind=parents.adapters[name].kind,
            digest=parents.digests[name],
            weight=weights[name],
        )
        for name in weights
    )
    return known[lead].model_copy(
        update={
            "name": settings.name,
            "kind": kind,
            "settings": None,
            "text": longest(known[lead], known.values()),
            "plan_digest": "",
            "data_digest": "",
            "probes": Probes(),
            "report": {},
            "layout": _layout(composition, parents, settings.head),
            "parents": family,
            "composed": told,
            "tensors": {},
            "files": {},
        }
    )


def _layout(composition: Composition, parents: Parents, head: str) -> Layout:
    """Give the layout: one that any head of those that are averaged needs."""
    owners = (head,) if head else answering(composition)
    found: set[Layout] = {parents.adapters[name].manifest.layout for name in owners}
    return "trunk" if "trunk" in found else "transformers"


def _told(
    composition: Composition, parents: Parents, settings: ComposeSettings, more: dict[str, Any]
) -> dict[str, Any]:
    """Give what a manifest says of how the adapter came about."""
    labels = parents.labels
    random = {"seed": settings.seed} if settings.method == "dare" else {}
    share = {} if settings.method == "linear" else {"density": settings.kept}
    head = {"head": labels[settings.head]} if settings.head else {}
    said = {"composition": text(renamed(composition, labels)), "method": settings.method}
    return {**said, **share, **random, **head, **more}


def renamed(composition: Composition, labels: Mapping[str, str]) -> Composition:
    """Give the composition with other names for its adapters."""
    match composition:
        case str():
            return labels[composition]
        case Average(weighted=weighted):
            return Average([(renamed(part, labels), weight) for part, weight in weighted])
        case Route(routed=routed):
            return Route([(renamed(part, labels), rows) for part, rows in routed])
        case Stack() | Parallel() | Fuse():
            made: Any = FORMS[composition.form]
            return made(*(renamed(part, labels) for part in composition.parts))
