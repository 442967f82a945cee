"""Compose: a composition of adapters, written as one adapter or loaded to be run as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import tenon
from tenon.adapters import pack
from tenon.adapters.blend import ComposeSettings
from tenon.adapters.compose import Made, Parents
from tenon.adapters.compose import compose as compose_adapters
from tenon.adapters.composition import Composition, names, text
from tenon.adapters.expression import parse
from tenon.adapters.files import MANIFEST
from tenon.adapters.fingerprint import fingerprint, refuse_other
from tenon.adapters.manifest import Manifest
from tenon.core.errors import FileError, PlanError, did_you_mean
from tenon.core.progress import Progress
from tenon.evaluate.card import card
from tenon.evaluate.ensemble import Ensemble, open_ensemble
from tenon.evaluate.ground import put_on
from tenon.evaluate.probes import probe
from tenon.model.base import locate
from tenon.model.settings import ModelSettings
from tenon.plan import override
from tenon.verbs.folder import adapter_folder
from tenon.verbs.home import refuse_own


@dataclass(frozen=True)
class Written:
    """An adapter that was composed and written.

    Args:
        folder: the adapter directory.
        manifest: its manifest; parents, method and rank are in it.
        error: size of what cutting to a rank took from all changes, relative to them.
        errors: the same of each module.
    """

    folder: Path
    manifest: Manifest
    error: float
    errors: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Give what was made as JSON-able values."""
        manifest = self.manifest.model_dump(mode="json", include={"name", "kind", "task", "labels"})
        parents = [parent.model_dump() for parent in self.manifest.parents]
        told = {"folder": str(self.folder), **manifest, "parents": parents}
        return {**told, **self.manifest.composed, "error": self.error, "errors": self.errors}


def compose(
    composition: str | Composition,
    out: Path | str,
    settings: Sequence[str] | ComposeSettings = (),
    *,
    base: str = "",
    device: str = "auto",
    progress: Progress | None = None,
) -> Written:
    """Write a composition as one adapter, where one adapter can do what it does.

    Args:
        composition: such as `average(runs/a:0.7, runs/b:0.3)`, over runs or adapter directories.
        out: folder of the adapter; it must be new, empty, or hold one that was composed.
        settings: `key=value` of `ComposeSettings`: name, method, rank, density, seed, head.
        base: where the base is now, if not under the name that the adapters were trained on.
        device: where the probes are computed.
        progress: told of every stage.

    Raises:
        PlanError: the composition or a setting is refused.
        AdapterError: no one adapter does what it does; nothing is written.
        FileError: an adapter or the base is not there, or `out` lies among the files of a run.
    """
    out = Path(out)
    refuse_own(out)
    wanted = parse(composition) if isinstance(composition, str) else composition
    chosen = settings if isinstance(settings, ComposeSettings) else read_settings(settings)
    if progress:
        progress.start("reading the adapters", None)
    _refuse_adapter(out)
    parents = read_parents(wanted)
    made = compose_adapters(wanted, parents, chosen)
    if progress:
        progress.start("probes on the base", None)
    adapter = _probed(made, base, device)
    pack.write(out, adapter, card=card(adapter.manifest, None))
    return Written(out, adapter.manifest, made.error, made.errors)


def load_composition(
    composition: str | Composition, base: str = "", *, head: str = "", device: str = "auto"
) -> Ensemble:
    """Load the adapters of a composition with their base; `.predict([...])` answers texts.

    Args:
        composition: such as `average(runs/a:0.5, runs/b:0.5)`, over runs or adapter directories.
        base: where the base is now, if not under the name that the adapters were trained on.
        head: the adapter whose head is taken; the mean of those that answer unless given.
        device: where answers are computed.

    Raises:
        PlanError: the composition is refused.
        AdapterError: an adapter cannot be trusted, or they do not belong together.
        FileError: an adapter or the base is not there.
    """
    wanted = parse(composition) if isinstance(composition, str) else composition
    return open_ensemble(wanted, folders_of(wanted), base=base, device=device, head=head)


def read_settings(arguments: Sequence[str]) -> ComposeSettings:
    """Read `key=value` settings of composing.

    Raises:
        PlanError: every fault of them, one a line.
    """
    given = {held.key: held for held in override.parse(arguments)}
    fields = ComposeSettings.model_fields
    faults = [
        f"{key} is not a setting of compose; {did_you_mean(key, fields)}"
        for key in given
        if key not in fields
    ]
    values = {
        key: held.literal if fields[key].annotation is str else held.value
        for key, held in given.items()
        if key in fields
    }
    try:
        made = ComposeSettings.model_validate(values)
    except ValidationError as error:
        faults += [
            f"{fault['loc'][0]} = {fault['input']!r}: {fault['msg']}" for fault in error.errors()
        ]
        raise PlanError("\n".join(faults)) from error
    if faults:
        raise PlanError("\n".join(faults))
    return made


def folders_of(composition: Composition) -> dict[str, Path]:
    """Give the adapter directories that a composition names: a run stands for its adapter.

    Raises:
        FileError: one is not there.
        RunError: a run has no adapter yet.
        PlanError: two names are one folder.
    """
    found = {name: adapter_folder(name) for name in names(composition)}
    places: dict[Path, str] = {}
    for name, folder in found.items():
        before = places.setdefault(folder.resolve(), name)
        if before != name:
            raise PlanError(
                f"{text(composition)}: {text(before)} and {text(name)} are one adapter, {folder}; "
                "name it once"
            )
    return found


def read_parents(composition: Composition) -> Parents:
    """Read the adapters that a composition names, with the digests of their directories."""
    folders = folders_of(composition)
    held = {name: pack.read(folder) for name, folder in folders.items()}
    return Parents(held, {name: pack.digest(folder) for name, folder in folders.items()})


def _refuse_adapter(out: Path) -> None:
    """Refuse to write over an adapter that took a training.

    Raises:
        FileError: there is one.
        AdapterError: there is something that cannot be read as an adapter.
    """
    if (out / MANIFEST).is_file() and not pack.read(out).manifest.parents:
        raise FileError(f"{out}: holds an adapter that was trained; choose another --out")


def _probed(made: Made, base: str, device: str) -> pack.Adapter:
    """Give the adapter with probes made on its base, as those of its parents say nothing of it."""
    adapter = made.adapter
    manifest = adapter.manifest
    located = locate(base or manifest.base.name, manifest.base.revision)
    quantize = manifest.base.quantize
    print_of_base = fingerprint(located.folder, located.name, quantize=quantize)
    refuse_other(manifest.name, manifest.base, print_of_base)
    model, renderer = put_on(adapter, located, ModelSettings(device=device, quantize=quantize))
    probes = probe(manifest.task, model, renderer)
    told: Mapping[str, Any] = {
        "settings": adapter.settings,
        "probes": probes,
        "tenon": tenon.__version__,
    }
    return replace(adapter, manifest=manifest.model_copy(update=dict(told)))
