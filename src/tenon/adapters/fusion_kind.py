"""The kind `fusion.v1`: adapters that are trained already, mixed by an attention that is learned.

torch and PEFT are imported by the functions that need them, so that looking up
the kind and settling its settings stays quick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tenon.adapters.kind import KINDS, Compound, Targets, kind
from tenon.adapters.names import modules
from tenon.adapters.settings import AdapterSettings
from tenon.core.errors import PlanError
from tenon.core.settings import Settings

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedConfig

    from tenon.adapters.fusion_config import FusionConfig

LEAST = 2


class Part(BaseModel):
    """An adapter that a fusion mixes.

    Args:
        settings: its own, under the name that it has in the fusion.
        digest: sha256 of its manifest, which has those of all its files.
        folder: where it lies; empty in the adapter that was made, which holds its weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: AdapterSettings
    digest: str
    folder: str = ""


class FusionSettings(Settings):
    """What can be set of a fusion.

    Args:
        parts: runs or adapter directories of the same base, at least two.
        size: units of the attention's query and key.
        value: pass the mixture through a trained matrix as well, as the paper does.
        dropout: share of the attention's weights that is zeroed while training.
    """

    parts: tuple[Part, ...] = Field(min_length=LEAST)
    size: int = Field(default=64, ge=1, le=4096)
    value: bool = True
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @field_validator("parts")
    @classmethod
    def _check(cls, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        for part in parts:
            why = unfit(part.settings)
            if why:
                raise ValueError(f"{part.settings.name}: {why}; leave it out")
        digests, names = [p.digest for p in parts], [p.settings.name for p in parts]
        for place, part in enumerate(parts):
            if part.digest in digests[:place] or part.settings.name in names[:place]:
                raise ValueError(f"{part.settings.name} stands twice; name it once")
        return parts


def unfit(settings: AdapterSettings) -> str:
    """Give why an adapter cannot be a part of a fusion; empty where it can."""
    chosen = KINDS.get(settings.kind)
    if chosen.compound is not None:
        return f"is a {settings.kind} itself; name its parts"
    if not chosen.rowwise:
        return f"is of kind {settings.kind}, which cannot stand beside others"
    if settings.kind == "prefix.v1":
        return "is of kind prefix.v1, which acts inside of attention and gives no output to weigh"
    if chosen.reads_weights:
        return f"is of kind {settings.kind}, whose size is known on the weights of the base alone"
    if settings.kind in SHARED:
        return f"is of kind {settings.kind}, of which PEFT keeps a part outside of its layers"
    return ""


def apart(settings: AdapterSettings) -> AdapterSettings:
    """Give the settings as an adapter keeps them: where its parts lay says nothing of it."""
    if KINDS.get(settings.kind).compound is None:
        return settings
    parts = [{**part, "folder": ""} for part in settings.own["parts"]]
    return settings.model_copy(update={"own": {**settings.own, "parts": parts}})


SHARED = (
    "pvera.v1", "randlora.v1", "shira.v1", "tinylora.v1", "unilora.v1", "vblora.v1", "vera.v1",
)  # fmt: skip
"""Kinds of which PEFT keeps a part outside of the layers, where there is place for one adapter."""


def _parts(settings: FusionSettings) -> tuple[AdapterSettings, ...]:
    return tuple(part.settings for part in settings.parts)


def _gather(own: Mapping[str, Any], place: Callable[[str], str]) -> dict[str, Any]:
    """Read the adapters that a plan file names."""
    from tenon.adapters.fusion_parts import read_parts

    named = own.get("parts")
    if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
        return {**own}
    folders = [place(str(each)) for each in named]
    return {**own, "parts": [part.model_dump(mode="json") for part in read_parts(folders)]}


def _fill(peft: PeftModel, settings: FusionSettings) -> None:
    from tenon.adapters.fusion_parts import fill

    fill(peft, settings.parts)


@kind(
    "fusion.v1",
    title="AdapterFusion",
    settings=FusionSettings,
    default_sites=(),
    learning_rate=1e-3,
    mergeable=False,
    mergeable_why="its attention weighs the adapters for each token by itself",
    rowwise=True,
    start="it is the average of its parts with equal weights",
    paper=(
        "Pfeiffer et al. 2021, AdapterFusion: Non-Destructive Task Composition for Transfer "
        "Learning (arXiv:2005.00247)"
    ),
    summary="Mixes adapters that are trained already, by an attention that is learned.",
    names_modules=("target_modules", "part_modules"),
    compound=Compound(parts=_parts, gather=_gather, fill=_fill),
)
def fusion(settings: FusionSettings, targets: Targets, base: PreTrainedConfig) -> FusionConfig:
    """Make the PEFT config, which holds those of the parts.

    Args:
        targets: `part: site` to the modules of a part.

    Raises:
        PlanError: a part is refused by its kind.
    """
    from tenon.adapters.fusion import FusionConfig, parted

    parts: dict[str, Any] = {}
    apart: dict[str, list[str]] = {}
    for part in settings.parts:
        own, name = part.settings, part.settings.name
        chosen = KINDS.get(own.kind)
        places = {
            key.removeprefix(f"{name}: "): held
            for key, held in targets.items()
            if key.startswith(f"{name}: ")
        }
        try:
            config = chosen.config(chosen.settings(**own.own), places, base)
        except PlanError as error:
            raise PlanError(f"parts: {name}: {error}") from error
        parts[name], found = parted(name, config, chosen.names_modules)
        apart |= found
    return FusionConfig(
        target_modules=[*modules({key: held for key, held in apart.items() if _is_target(key)})],
        parts=parts,
        part_modules=apart,
        size=settings.size,
        value=settings.value,
        dropout=settings.dropout,
    )


def _is_target(key: str) -> bool:
    return key.endswith(".target_modules")
