"""Adapter page: what an adapter is, from its manifest."""

from __future__ import annotations

import math

import torch
from rich.console import Group, RenderableType
from rich.text import Text

from tenon.adapters.manifest import Manifest, TensorSpec
from tenon.plan.planfile import toml
from tenon.terminal.number import count, size
from tenon.terminal.sheet import heading, notes, page, sheet
from tenon.verbs.compose import Written

TOLD = ("method", "density", "seed", "head", "rank")


def adapter_page(manifest: Manifest) -> RenderableType:
    """Lay out what was trained, on which base, and how it reads a row."""
    return page(_facts(manifest), _settings(manifest))


def written_page(made: Written) -> RenderableType:
    """Lay out of what an adapter was composed, what was lost, and where it lies."""
    manifest = made.manifest
    rows = [
        (parent.name, parent.kind, f"{parent.weight:g}", parent.digest[:12])
        for parent in manifest.parents
    ]
    told = [f"{name} {value}" for name, value in manifest.composed.items() if name in TOLD]
    worst = max(made.errors, key=lambda module: made.errors[module], default="")
    lost = "exact: nothing was cut off"
    if made.error:
        lost = (
            f"cutting to rank {manifest.composed['rank']} took {made.error:.2%} of the change; "
            f"most at {worst}, {made.errors[worst]:.2%}"
        )
    return page(
        heading(manifest.name, manifest.kind),
        Text(str(manifest.composed["composition"])),
        sheet("adapter", "kind", "weight", "digest", rows=rows, numbers=("weight",)),
        notes([", ".join(told), lost]),
        sheet("", "", rows=[(Text("adapter", style="dim"), Text(str(made.folder)))]),
    )


def _facts(manifest: Manifest) -> RenderableType:
    base, labels = manifest.base, manifest.labels
    tensors = [spec for file in manifest.tensors.values() for spec in file.values()]
    parameters = sum(math.prod(spec.shape) for spec in tensors)
    weight = sum(bytes_of(spec) for spec in tensors)
    shown = ", ".join(labels[:8]) + (f", … ({len(labels)} in all)" if len(labels) > 8 else "")
    pooling = (
        f"{manifest.pooling.mode}{', scaled to length 1' if manifest.pooling.normalize else ''}"
    )
    facts = [
        ("task", manifest.task),
        ("labels", shown),
        ("base", f"{base.name}{f'@{base.revision}' if base.revision else ''}"),
        ("digest of the base", base.digest[:16] + ("" if manifest.proven else ", not proven")),
        ("pooling", pooling),
        ("longest row", f"{count(manifest.text.max_tokens)} tokens"),
        ("weights", f"{count(parameters)} parameters, {size(weight)}"),
        ("verdict", str(manifest.report.get("verdict", ""))),
        ("composed of", str(manifest.composed.get("composition", ""))),
        ("written by", f"Tenon {manifest.tenon}"),
    ]
    rows = [(Text(name, style="dim"), Text(text)) for name, text in facts if text]
    return Group(heading(manifest.name, manifest.kind), sheet("", "", rows=rows))


def bytes_of(spec: TensorSpec) -> int:
    """Give what a tensor takes; `pack.read` has seen that it is one of this format."""
    return getattr(torch, spec.dtype).itemsize * math.prod(spec.shape)


def _settings(manifest: Manifest) -> RenderableType | None:
    settings = manifest.settings
    if settings is None:
        return None
    layers = {"layers": list(settings.layers)} if settings.layers else {}
    own = {"sites": list(settings.sites), **layers, **settings.own}
    rows = [(name, toml(value)) for name, value in own.items() if value is not None]
    return Group(heading("Settings"), sheet("setting", "value", rows=rows))
