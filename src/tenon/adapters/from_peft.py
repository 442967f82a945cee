"""From PEFT: adapters that PEFT wrote, for whatever base and by whomever, in our terms.

The tensors say which modules an adapter sits on. What its config says of them is held against
that, and no pattern of it is run in this process. Legend: D hidden, L labels, R rank, I inputs,
O outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from peft import LoraConfig
from torch import nn
from transformers import PreTrainedModel

from tenon.adapters import sites
from tenon.adapters.adopted import (
    PEFT_PREFIX,
    Adopted,
    Use,
    modules_of,
    placed,
    shown,
)
from tenon.adapters.bottleneck_kind import PRESETS
from tenon.adapters.directory import MODULE
from tenon.adapters.fit import fit
from tenon.adapters.foreign import Foreign
from tenon.adapters.kind import KINDS, settle
from tenon.adapters.lora_form import widened
from tenon.adapters.peft_heads import HEADS
from tenon.core.apart import matching
from tenon.core.errors import AdapterError, Faults, PlanError

PREFIXES = {"LORA": "lora_", "BOTTLENECK": "bottleneck_"}
"""Methods that are adopted, to what the names of their tensors begin with."""
SELECTING = ("exclude_modules", "layers_to_transform", "layers_pattern", "target_parameters")
"""Fields of a config that restrict `target_modules`, so that it does not tell all alone."""
OF_THE_FILE = {
    "peft_type",
    "task_type",
    "auto_mapping",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "peft_version",
    "runtime_config",
    "target_modules",
    "modules_to_save",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "init_lora_weights",
    "r",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "use_dora",
    "fan_in_fan_out",
    "rank_pattern",
    "alpha_pattern",
}
STARTS = (True, False, "gaussian", "eva", "orthogonal", None)
"""Values of `init_lora_weights` that leave the base's weights as they are."""
LORA_TENSORS = ("lora_A.weight", "lora_B.weight", "lora_embedding_A", "lora_embedding_B")
DORA_TENSORS = ("lora_magnitude_vector", "lora_magnitude_vector.weight")
FIRST = ("lora_A.weight", "lora_embedding_A")


def adopt(foreign: Foreign, name: str, trunk: PreTrainedModel, prefix: str, use: Use) -> Adopted:
    """Give the adapter in our terms.

    Args:
        trunk: the base, without an adapter.
        prefix: the trunk's name inside of the model that PEFT had; empty where it had the trunk.
        use: of the adapter.

    Raises:
        AdapterError: a tensor is left over, missing, or of another shape than the base asks for; or
            the config asks for what no kind of ours has. All faults of one sort at once.
    """
    method = str(foreign.config["peft_type"])
    if method not in PREFIXES:
        raise AdapterError(
            f"{foreign.folder}: peft_type {method} is none that can be imported; there are "
            f"{', '.join(PREFIXES)}"
        )
    held = _by_module(foreign, trunk, prefix, PREFIXES[method], use)
    _check_targets(foreign, held, trunk, prefix)
    make = _lora if method == "LORA" else _bottleneck
    return make(foreign, name, held, trunk, prefix)


Held = dict[str, dict[str, torch.Tensor]]
"""Module of the trunk to its tensors, under what follows its name."""


def _by_module(
    foreign: Foreign, trunk: PreTrainedModel, prefix: str, marker: str, use: Use
) -> Held:
    """Sort the tensors by the modules they sit on; those of the head are left out."""
    faults, found, modules = Faults(), Held(), modules_of(trunk)
    head = HEADS.get(str(trunk.config.model_type))
    of_head = tuple(f"{PEFT_PREFIX}{n}." for n in (head.last, head.dense) if n) if head else ()
    for key, tensor in foreign.weights.items():
        if use.tensors and of_head and key.startswith(of_head):
            continue
        inside = key.removeprefix(PEFT_PREFIX)
        module, mark, part = inside.partition(f".{marker}")
        plain = module.removeprefix(f"{prefix}.") if prefix else module
        if inside == key or not mark or not MODULE.fullmatch(inside):
            faults.add(key, "is no tensor of such an adapter", "nothing would use it")
        elif plain not in modules:
            faults.add(key, "sits on a module that this base has not", "is it the right base?")
        else:
            found.setdefault(plain, {})[f"{marker}{part}"] = tensor
    faults.raise_if_any(AdapterError)
    if not found:
        raise AdapterError(f"{foreign.folder}: has no tensors of an adapter; copy it again")
    return found


def _check_targets(foreign: Foreign, held: Held, trunk: PreTrainedModel, prefix: str) -> None:
    """Hold what the config says of the modules against those that have tensors."""
    named, where = foreign.config.get("target_modules"), foreign.folder / "adapter_config.json"
    if named is None or any(foreign.config.get(key) for key in SELECTING):
        return
    full = {f"{prefix}.{name}" if prefix else name: name for name in modules_of(trunk)}
    wanted = {full[name] for name in _targeted(str(where), named, full, trunk)}
    if lacking := wanted - set(held):
        raise AdapterError(
            f"{where}: target_modules names {shown(lacking)}, which have no tensors; the weights "
            "are not whole: copy the adapter again"
        )
    if extra := set(held) - wanted:
        raise AdapterError(
            f"{where}: target_modules does not name {shown(extra)}, which have tensors; PEFT would "
            "leave them out: mend the config"
        )


def _targeted(
    where: str, named: object, full: Mapping[str, str], trunk: PreTrainedModel
) -> list[str]:
    """Give the full names that `target_modules` means."""
    if named == "all-linear":
        found = modules_of(trunk)
        return [name for name, plain in full.items() if sites.is_linear(found[plain])]
    if isinstance(named, str):
        return matching(f"{where}: target_modules", named, list(full))
    if not isinstance(named, list):
        raise AdapterError(f"{where}: target_modules is {named!r}; expected a list of names")
    ends = [str(name) for name in cast(list[object], named)]
    return [n for n in full if any(n == end or n.endswith(f".{end}") for end in ends)]


# LoRA -------------------------------------------------------------------------------------------


def _lora(foreign: Foreign, name: str, held: Held, trunk: PreTrainedModel, prefix: str) -> Adopted:
    config, notes = foreign.config, list[str]()
    _refuse_unknown(foreign)
    dora = bool(config.get("use_dora"))
    _check_lora(held, trunk, dora=dora)
    scales = _scales(foreign, held, prefix)
    ranks = {module: _rank(tensors) for module, tensors in held.items()}
    own: dict[str, Any] = {"dropout": float(config.get("lora_dropout") or 0.0)}
    if (
        len(set(ranks.values())) == 1
        and len(set(scales.values())) == 1
        and not config.get("alpha_pattern")
    ):
        own |= {"rank": int(config["r"]), "alpha": float(config["lora_alpha"])}
        own["rank_stabilized"] = bool(config.get("use_rslora"))
        own["rank"] = next(iter(ranks.values()))
    else:
        rank = max(ranks.values())
        held = {module: _normal(tensors, rank, scales[module]) for module, tensors in held.items()}
        own |= {"rank": rank, "alpha": float(rank)}
        notes.append(
            f"ranks {min(ranks.values())} to {rank} became {rank} by zeros, and all factors 1 by "
            "scaling B: what is computed is the same"
        )
    kind = "dora.v1" if dora else "lora.v1"
    settings, made = placed(name, kind, own, sorted(held), trunk)
    return Adopted(settings, made, _named(held), tuple(notes))


def _refuse_unknown(foreign: Foreign) -> None:
    """Refuse what no kind of ours has.

    Raises:
        AdapterError: every such field.
    """
    faults, config, plain = Faults(), foreign.config, LoraConfig().to_dict()
    where = str(foreign.folder / "adapter_config.json")
    if config.get("use_dora") and "dora.v1" not in KINDS.names():
        faults.add(where, "use_dora is true", "there is no kind for DoRA here")
    start = config.get("init_lora_weights", True)
    if start not in STARTS:
        faults.add(
            where,
            f"init_lora_weights is {start!r}, which changes the base's weights at the start",
            "save it with path_initial_model_for_weight_conversion, which makes it plain LoRA",
        )
    for key in sorted(config.keys() - OF_THE_FILE):
        value = config[key]
        if value and value != plain.get(key):
            faults.add(where, f"{key} is {str(value)[:60]}", "lora.v1 has nothing of that")
    for key in ("r", "lora_alpha"):
        value = config.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
            faults.add(where, f"{key} is {value!r}", "expected a number above 0")
    faults.raise_if_any(AdapterError)


def _check_lora(held: Held, trunk: PreTrainedModel, *, dora: bool) -> None:
    """Check the tensors of each module against the module's own size.

    Raises:
        AdapterError: a tensor is missing, unknown, or of another shape; all at once.
    """
    faults, modules = Faults(), modules_of(trunk)
    for name, tensors in held.items():
        base = modules[name]
        embedding = isinstance(base, nn.Embedding)
        if not (embedding or sites.is_linear(base)):
            faults.add(name, f"is a {type(base).__name__}", "lora.v1 sits on linear layers")
            continue
        parts = LORA_TENSORS[2:] if embedding else LORA_TENSORS[:2]
        strange = set(tensors) - set(parts) - set(DORA_TENSORS if dora else ())
        lacking = set(parts) - set(tensors)
        for part in sorted(strange | lacking):
            faults.add(f"{name}.{part}", "is missing" if part in lacking else "is unknown")
        if not lacking:
            _check_shapes(name, tensors, base, faults)
    faults.raise_if_any(AdapterError)


def _check_shapes(
    name: str, tensors: Mapping[str, torch.Tensor], base: nn.Module, faults: Faults
) -> None:
    rank = _rank(tensors)
    if isinstance(base, nn.Embedding):
        inputs, outputs = base.num_embeddings, base.embedding_dim
        shapes = dict(zip(LORA_TENSORS[2:], ((rank, inputs), (outputs, rank)), strict=True))
    else:
        inputs, outputs = sites.features(base)
        shapes = dict(zip(LORA_TENSORS[:2], ((rank, inputs), (outputs, rank)), strict=True))
    for part, shape in shapes.items():
        if tuple(tensors[part].shape) != shape:
            faults.add(
                f"{name}.{part}",
                f"is {list(tensors[part].shape)}; on this base it is {list(shape)}",
                "is it the right base?",
            )


def _rank(tensors: Mapping[str, torch.Tensor]) -> int:
    return next(len(tensors[part]) for part in FIRST if part in tensors)


def _scales(foreign: Foreign, held: Held, prefix: str) -> dict[str, float]:
    """Give what each module's B A is multiplied by; refuse ranks other than the config's."""
    config, faults = foreign.config, Faults()
    full = {(f"{prefix}.{name}" if prefix else name): name for name in held}
    alphas = _by_pattern(foreign, "alpha_pattern", full)
    told = _by_pattern(foreign, "rank_pattern", full)
    scales: dict[str, float] = {}
    for name, tensors in held.items():
        rank, said = _rank(tensors), told.get(name, config["r"])
        if rank != said:
            faults.add(name, f"has rank {rank}, the config says {said}", "is it the right config?")
        root = rank**0.5 if config.get("use_rslora") else rank
        scales[name] = float(alphas[name] if name in alphas else config["lora_alpha"]) / root
    faults.raise_if_any(AdapterError)
    return scales


def _by_pattern(foreign: Foreign, key: str, full: Mapping[str, str]) -> dict[str, float]:
    """Give the values of `rank_pattern` or `alpha_pattern`; the first that matches holds.

    Source: PEFT, `get_pattern_key`.
    """
    found: dict[str, float] = {}
    where = f"{foreign.folder / 'adapter_config.json'}: {key}"
    given: Any = foreign.config.get(key) or {}
    for pattern, value in cast(dict[str, float], given).items():
        if MODULE.fullmatch(pattern):
            hits = [n for n in full if n == pattern or n.endswith(f".{pattern}")]
        else:
            hits = matching(where, rf"(.*\.)?({pattern})", list(full))
        for name in hits:
            found.setdefault(full[name], value)
    return found


def _normal(
    tensors: Mapping[str, torch.Tensor], rank: int, scale: float
) -> dict[str, torch.Tensor]:
    """Give the same update with rank `rank` and the factor 1."""
    first, second = (key for key in LORA_TENSORS if key in tensors)
    a_RI, b_OR = widened(tensors[first], tensors[second], rank, scale)
    return {**tensors, first: a_RI, second: b_OR}


def _named(held: Held) -> dict[str, torch.Tensor]:
    return {
        f"{PEFT_PREFIX}{module}.{part}": tensor
        for module, tensors in sorted(held.items())
        for part, tensor in sorted(tensors.items())
    }


# Bottlenecks ------------------------------------------------------------------------------------


def _bottleneck(
    foreign: Foreign, name: str, held: Held, trunk: PreTrainedModel, prefix: str
) -> Adopted:
    """Adopt a bottleneck of ours that lost its manifest: the preset that gives its config."""
    del prefix
    for preset in PRESETS:
        own = {"preset": preset, **_fields(foreign.config)}
        try:
            settings = settle(name, {"kind": "bottleneck.v1", **own})
            made = fit(trunk, settings).config
        except PlanError:
            continue
        if _same(made.to_dict(), foreign.config) and set(cast(Any, made).target_modules) == set(
            held
        ):
            return Adopted(settings, made, _named(held))
    raise AdapterError(
        f"{foreign.folder}: no preset of bottleneck.v1 sits on {shown(held)} with such settings"
    )


def _fields(config: Mapping[str, Any]) -> dict[str, Any]:
    names = ("width", "reduction", "activation", "scale", "dropout", "ln_before", "ln_after")
    more = ("init", "leave_out", "phm_dim", "phm_rank", "phm_shared", "invertible")
    return {key: config[key] for key in (*names, *more) if config.get(key) is not None}


def _same(made: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    told = set(made) & set(config) - OF_THE_FILE
    return all(made[key] == config[key] for key in told)
