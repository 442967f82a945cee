"""Budget: what a plan's adapter weighs, counted on the base's shapes before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import torch
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM, PreTrainedModel

from tenon.adapters.fusion_layer import numbers_of_parts
from tenon.adapters.kind import KINDS
from tenon.adapters.starts import fixed_numbers
from tenon.core.errors import FileError
from tenon.evaluate.settings import BY_TASK
from tenon.model.attach import attach, unchanged_random_state
from tenon.model.base import Base
from tenon.model.holding import Holding
from tenon.model.loading import ENCODERS, POOLERS
from tenon.model.trunk import DTYPES, Trunk, is_decoder, pick_device
from tenon.plan.plan import Plan

TRAINED_BYTES = 4
"""Adapters and heads are float32."""

PEFT_PREFIX = "base_model.model."
ADAMW_MOMENTS = 2
"""AdamW keeps two moments of each trained parameter, in its own format."""


@dataclass(frozen=True)
class Place:
    """What sits at one site.

    Args:
        site: its name, or the pattern that was given.
        modules: how many modules of the base it means.
        example: name of the first of them.
        parameters: trained at this site.
    """

    site: str
    modules: int
    example: str
    parameters: int


@dataclass(frozen=True)
class Budget:
    """Parameters and bytes of a plan.

    Args:
        model_type: the base's architecture.
        base_parameters: of the frozen base.
        base_bytes: of the base in memory, in the number format of the run.
        adapter_parameters: trained in the adapter.
        fixed_parameters: of the adapter that lie in its files and are not trained.
        head_parameters: trained in the head; 0 where the labels are not known.
        places: the adapter's parameters by site.
        holding: what the layers of a quantised base take; None for one in floats.
    """

    model_type: str
    base_parameters: int
    base_bytes: int
    adapter_parameters: int
    fixed_parameters: int
    head_parameters: int
    places: tuple[Place, ...]
    holding: Holding | None = None

    @property
    def trained(self) -> int:
        """Parameters that training changes."""
        return self.adapter_parameters + self.head_parameters

    @property
    def share(self) -> float:
        """Trained parameters as a share of the base's."""
        return self.trained / self.base_parameters

    @property
    def adapter_bytes(self) -> int:
        """What the adapter takes on disk, without its manifest."""
        return (self.trained + self.fixed_parameters) * TRAINED_BYTES

    @property
    def optimizer_bytes(self) -> int:
        """Gradients and AdamW's moments."""
        return self.trained * TRAINED_BYTES * (1 + ADAMW_MOMENTS)

    def to_json(self) -> dict[str, Any]:
        """Give the budget as JSON-able values, the derived ones included."""
        return {
            **asdict(self),
            "trained_parameters": self.trained,
            "share": self.share,
            "adapter_bytes": self.adapter_bytes,
            "optimizer_bytes": self.optimizer_bytes,
        }


def budget(plan: Plan, base: Base, labels: int, holding: Holding | None = None) -> Budget:
    """Count a plan's parameters on the shapes of its base; no weight is read.

    Args:
        base: where the plan's base lies.
        labels: how many labels the data have; 0 where that is not known.
        holding: what the layers of the base take as they are loaded; None for one in floats.

    Raises:
        FileError: the base's config is not one that transformers knows.
        PlanError: a site matches nothing, or the kind refuses the base.
    """
    on = "cpu" if KINDS.get(plan.adapter.kind).reads_weights else "meta"
    writes = BY_TASK[plan.data.task].writes
    trunk = shapes(base, pooler=plan.model.pooling == "pooler", writes=writes, device=on)
    sizes = {name: parameter.numel() for name, parameter in trunk.model.named_parameters()}
    dtype = _dtype(plan)
    attached = attach(replace(trunk, quantize=plan.model.quantize), plan.adapter, plan.seed)
    trained = {
        name: parameter.numel()
        for name, parameter in attached.peft.named_parameters()
        if parameter.requires_grad
    }
    bias = 0 if trunk.decoder else 1
    saved = holding.before_bytes - holding.after_bytes if holding else 0
    return Budget(
        model_type=str(trunk.model.config.model_type),
        base_parameters=sum(sizes.values()),
        base_bytes=sum(sizes.values()) * dtype.itemsize - saved,
        adapter_parameters=sum(trained.values()),
        fixed_parameters=fixed_numbers(attached.peft) + numbers_of_parts(attached.peft),
        head_parameters=labels * (trunk.hidden_size + bias),
        places=_places(attached.places, trained),
        holding=holding,
    )


def shapes(
    base: Base, *, pooler: bool = False, writes: bool = False, device: str = "meta"
) -> Trunk:
    """Give a base's trunk without its weights: every tensor has a shape and no data.

    Args:
        device: "cpu" for random data instead, which some kinds need to be counted on.

    Raises:
        FileError: the base's config is not one that transformers knows.
    """
    try:
        config = AutoConfig.from_pretrained(
            base.folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        what = f"transformers cannot read its config ({first})"
        raise FileError(f"base {base.name}: {what}") from error
    with torch.device(device), unchanged_random_state():
        model = _empty(config, pooler=pooler, writes=writes)
    model.requires_grad_(requires_grad=False)
    count = sum(parameter.numel() for parameter in model.parameters())
    decoder = is_decoder(model)
    return Trunk(model, decoder, packed=False, why="", offset=0, pad=0, parameters=count)


def _empty(config: Any, *, pooler: bool, writes: bool) -> PreTrainedModel:
    if config.is_encoder_decoder and writes:
        return cast(PreTrainedModel, AutoModelForSeq2SeqLM.from_config(config).base_model)
    if config.model_type in ENCODERS:
        return ENCODERS[config.model_type](config)
    if config.model_type in POOLERS:
        return AutoModel.from_config(config, add_pooling_layer=pooler)
    return AutoModel.from_config(config)


def _dtype(plan: Plan) -> torch.dtype:
    if plan.model.dtype != "auto":
        return DTYPES[plan.model.dtype]
    on_gpu = pick_device(plan.model.device).type == "cuda"
    return torch.bfloat16 if on_gpu else torch.float32


def _places(places: Mapping[str, Iterable[str]], trained: Mapping[str, int]) -> tuple[Place, ...]:
    """Share the trained parameters out to the sites; a module of two sites counts at the first."""
    modules = {site: tuple(names) for site, names in places.items()}
    counted = dict.fromkeys(modules, 0)
    for name, size in trained.items():
        counted[_nearest_site(name, modules)] += size
    return tuple(
        Place(site, len(names), names[0], counted[site]) for site, names in modules.items()
    )


def _nearest_site(parameter: str, modules: Mapping[str, tuple[str, ...]]) -> str:
    """Give the site with the module whose name begins most like the parameter's."""
    path = parameter.removeprefix(PEFT_PREFIX).split(".")
    return max(modules, key=lambda site: max(_shared(path, name) for name in modules[site]))


def _shared(path: list[str], name: str) -> int:
    parts = name.split(".")
    pairs = zip(path, parts, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(path), len(parts)))
