"""From the hub: checkpoints of AdapterHub's library, in our terms.

A checkpoint names its tensors by where its library put its modules; each has one place in ours.
Legend: D hidden, W width, R rank, I inputs, O outputs.

Source: AdapterHub `adapters`: `Adapter.pre_forward`, `forward` and `post_forward`,
`ParallelAdapter`, `LoRALinear`, `LoRAMergedLinear`, the mixins of each model (names), and
`AdapterLoader` (names of older files; the factor of LoRA before version 1.1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import torch
from transformers import PreTrainedModel

from tenon.adapters.adopted import PEFT_PREFIX, Adopted, modules_of, placed, shown
from tenon.adapters.bottleneck_faults import ACTIVATIONS, IDENTITIES
from tenon.adapters.bottleneck_kind import NORMS
from tenon.adapters.bottleneck_places import POST_NORM
from tenon.adapters.foreign import Foreign
from tenon.adapters.lora_form import unfused, widened
from tenon.core.errors import AdapterError, Faults

Config = Mapping[str, Any]


class Spot(NamedTuple):
    """A place of AdapterHub's bottlenecks in a model.

    Args:
        block: pattern of the name of a block or sublayer.
        module: what follows it in AdapterHub's names, before `.adapters.NAME.`.
        linear: what follows it in the name of the linear layer that the bottleneck is behind.
        location: which field of the config switches it on.
    """

    block: str
    module: str
    linear: str
    location: str

    def linear_of(self, before: str) -> str | None:
        """Give the linear layer of what stands before `.adapters.NAME.`."""
        found = re.fullmatch(rf"(?:.*\.)?({self.block}){re.escape(self.module)}", before)
        return None if found is None else f"{found[1]}{self.linear}"

    def has(self, linear: str) -> bool:
        """Whether a linear layer is one of this place."""
        return re.fullmatch(f"{self.block}{re.escape(self.linear)}", linear) is not None


_BLOCK = r"encoder\.layer\.\d+"
_BERT = (
    Spot(_BLOCK, ".attention.output", ".attention.output.dense", "mh_adapter"),
    Spot(_BLOCK, ".output", ".output.dense", "output_adapter"),
)
SPOTS: dict[str, tuple[Spot, ...]] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "gpt2": (
        Spot(r"h\.\d+", ".attention_adapters", ".attn.c_proj", "mh_adapter"),
        Spot(r"h\.\d+", ".output_adapters", ".mlp.c_proj", "output_adapter"),
    ),
    "t5": (
        Spot(r"(?:en|de)coder\.block\.\d+\.layer\.0", "", ".SelfAttention.o", "mh_adapter"),
        Spot(r"decoder\.block\.\d+\.layer\.1", "", ".EncDecAttention.o", "cross_adapter"),
        Spot(r"encoder\.block\.\d+\.layer\.1", "", ".DenseReluDense.wo", "output_adapter"),
        Spot(r"decoder\.block\.\d+\.layer\.2", "", ".DenseReluDense.wo", "output_adapter"),
    ),
}
"""Model type to the places of bottlenecks."""
OLD = re.compile(r"\.(?:attention|layer)_text_(?:task|lang)_adapters\.")
HOOKED = "adapters"
BEHIND_NAME = {
    "adapter_up.weight": "bottleneck_up.weight",
    "adapter_up.bias": "bottleneck_up.bias",
    "adapter_norm_after.weight": "bottleneck_norm_after.weight",
    "adapter_norm_after.bias": "bottleneck_norm_after.bias",
    "scaling": "bottleneck_scale",
}
UNKNOWN: dict[str, str] = {
    "use_gating": "a gate",
    "phm_layer": "Kronecker matrices in AdapterHub's form",
    "inv_adapter": "an invertible adapter in AdapterHub's form",
    "stochastic_depth": "layers that are left out by chance",
    "use_dora": "DoRA",
    "vera_d": "VeRA",
    "vera_b": "VeRA",
}
"""Fields of a config that, when set, ask for what is not imported."""
FUSED = "attn.c_attn"
"""Query, key and value in one layer, each with a LoRA of its own."""
FAULTY = re.compile(r"adapters\.(?:0|1\.0)\..*")
"""Versions whose LoRA was not multiplied by alpha / r."""


def adopt_hub(foreign: Foreign, name: str, trunk: PreTrainedModel) -> Adopted:
    """Give a checkpoint in our terms.

    Args:
        trunk: the base, without an adapter.

    Raises:
        AdapterError: it is of another model, a tensor is left over or missing, or its config asks
            for what no kind of ours has. All faults of one sort at once.
    """
    _refuse_other_model(foreign, trunk)
    config = cast(dict[str, Any], foreign.config["config"])
    where = str(foreign.folder / "adapter_config.json")
    faults, sort = Faults(), config.get("architecture")
    for key, what in UNKNOWN.items():
        if config.get(key):
            faults.add(where, f"{key} is {config[key]!r}", f"{what} cannot be imported")
    if sort not in (None, "lora"):
        faults.add(where, f"architecture is {sort}", "there are bottlenecks and lora")
    faults.raise_if_any(AdapterError)
    if sort == "lora":
        return _lora(foreign, config, name, trunk)
    return _bottleneck(foreign, config, name, trunk)


def _refuse_other_model(foreign: Foreign, trunk: PreTrainedModel) -> None:
    faults, where = Faults(), str(foreign.folder / "adapter_config.json")
    here = str(trunk.config.model_type)
    for key, value in (("model_type", here), ("hidden_size", _hidden(trunk))):
        told = foreign.config.get(key)
        if told is not None and told != value:
            faults.add(where, f"{key} is {told}, the base's is {value}", "name its base: --base")
    if here not in SPOTS:
        known = ", ".join(SPOTS)
        faults.add(where, f"model_type is {here}", f"checkpoints are imported for {known}")
    faults.raise_if_any(AdapterError)


def _hidden(trunk: PreTrainedModel) -> int:
    return int(getattr(trunk.config, "hidden_size", 0) or trunk.config.d_model)


def _inside(foreign: Foreign, marker: str) -> dict[str, tuple[str, torch.Tensor]]:
    """Give each tensor's name to what stands before the adapter's name, and the tensor.

    Returns:
        (before, part) joined by a blank, to the pair; see the caller.
    """
    own = f".{marker}.{foreign.config.get('name')}."
    found: dict[str, tuple[str, torch.Tensor]] = {}
    faults = Faults()
    for key, tensor in foreign.weights.items():
        before, mark, part = OLD.sub(f".{HOOKED}.", key).partition(own)
        if mark:
            found[f"{before} {part}"] = (before, tensor)
        else:
            faults.add(key, "is no tensor of this adapter", "nothing would use it")
    faults.raise_if_any(AdapterError)
    return found


# Bottlenecks ------------------------------------------------------------------------------------


def _bottleneck(foreign: Foreign, config: Config, name: str, trunk: PreTrainedModel) -> Adopted:
    model_type = str(trunk.config.model_type)
    own = _own(config, model_type, str(foreign.folder / "adapter_config.json"), trunk)
    parts: dict[str, dict[str, torch.Tensor]] = {}
    faults = Faults()
    for key, (before, tensor) in _inside(foreign, HOOKED).items():
        linear = _linear(before, config, model_type)
        part = _part(key.rpartition(" ")[2], ln_before=bool(config.get("ln_before")))
        if linear is None or part is None:
            faults.add(key.replace(" ", " ... "), "has no place in our bottleneck")
        elif part:
            parts.setdefault(linear, {})[part] = tensor
    faults.raise_if_any(AdapterError)
    _check_places(foreign, config, parts, trunk)
    settings, made = placed(name, "bottleneck.v1", own, sorted(parts), trunk)
    wrapped = {linear: _wrapped(linear, cast(Any, made).target_modules) for linear in parts}
    weights = {
        f"{PEFT_PREFIX}{wrapped[linear]}.{part}": _scale(part, tensor, config)
        for linear, tensors in parts.items()
        for part, tensor in tensors.items()
    }
    return Adopted(settings, made, weights)


def _linear(before: str, config: Config, model_type: str) -> str | None:
    spots = (spot for spot in SPOTS[model_type] if config.get(spot.location))
    return next((found for spot in spots if (found := spot.linear_of(before))), None)


def _part(part: str, *, ln_before: bool) -> str | None:
    """Give our name of a tensor; empty for one that stands there twice."""
    down, norm = ("1", "0") if ln_before else ("0", None)
    for end in ("weight", "bias"):
        if part == f"adapter_down.{down}.{end}":
            return f"bottleneck_down.{end}"
        if ln_before and part == f"adapter_norm_before.{end}":
            return f"bottleneck_norm.{end}"
        if norm and part == f"adapter_down.{norm}.{end}":
            return ""
    return BEHIND_NAME.get(part)


def _scale(part: str, tensor: torch.Tensor, config: Config) -> torch.Tensor:
    learned = part == "bottleneck_scale" and config.get("scaling") == "learned"
    return tensor.reshape(()) if learned else tensor


def _wrapped(linear: str, targets: set[str]) -> str:
    """Give the wrapped module that stands for a linear layer: itself, its norm, block or MLP."""
    parent, grand = linear.rpartition(".")[0], linear.rpartition(".")[0].rpartition(".")[0]
    for name in (linear, f"{parent}.LayerNorm", parent, grand):
        if name in targets:
            return name
    raise AdapterError(f"{linear}: has no place in our bottleneck on this base")


def _check_places(
    foreign: Foreign, config: Config, parts: Mapping[str, object], trunk: PreTrainedModel
) -> None:
    """Refuse a checkpoint that lacks the tensors of a place, or has more than the base."""
    named = modules_of(trunk)
    if extra := set(parts) - set(named):
        raise AdapterError(
            f"{foreign.folder}: has tensors behind {shown(extra)}, which this base has not; is it "
            "the right base?"
        )
    spots = [s for s in SPOTS[str(trunk.config.model_type)] if config.get(s.location)]
    wanted = {name for name in named if any(spot.has(name) for spot in spots)}
    if (lacking := wanted - set(parts)) and not config.get("leave_out"):
        raise AdapterError(
            f"{foreign.folder}: has no tensors behind {shown(lacking)}; copy the checkpoint again, "
            "or name its own base"
        )


def _own(config: Config, model_type: str, where: str, trunk: PreTrainedModel) -> dict[str, Any]:
    """Give the settings of our bottleneck that compute the same.

    Raises:
        AdapterError: there are none; the message says what stands in the way.
    """
    faults, activation = Faults(), _activation(str(config.get("non_linearity")))
    if activation not in ACTIVATIONS:
        faults.add(where, f"non_linearity is {activation}", f"there are {', '.join(ACTIVATIONS)}")
    if config.get("ln_after") and config.get("adapter_residual_before_ln"):
        faults.add(where, "adapter_residual_before_ln is true", "our norm is before the residual")
    preset = _preset(config, model_type, where, faults)
    faults.raise_if_any(AdapterError)
    own: dict[str, Any] = {
        "preset": preset,
        "activation": activation,
        "scale": config.get("scaling", 1.0),
        "dropout": float(config.get("dropout") or 0.0),
        "ln_before": bool(config.get("ln_before")),
        "ln_after": bool(config.get("ln_after")),
        "reduction": _reduction(config["reduction_factor"], model_type, trunk),
    }
    return own


def _activation(name: str) -> str:
    return {"gelu_orig": "gelu"}.get(name.lower(), name.lower())


def _preset(config: Config, model_type: str, where: str, faults: Faults) -> str:
    """Give the preset that places the delta in the same way."""
    names = ("original_ln_before", "original_ln_after", "residual_before_ln")
    norms = tuple(config.get(name, name != names[0]) for name in names)
    if config.get("is_parallel"):
        if model_type not in POST_NORM:
            faults.add(
                where,
                f"is_parallel is true on a {model_type}, where AdapterHub's reads what stands "
                "before the block's norm and ours the MLP's input behind it",
                "it computes something else; train one anew",
            )
        if config.get("mh_adapter") or not norms[1]:
            faults.add(where, "is_parallel beside attention, or without original_ln_after")
        return "parallel"
    if norms not in IDENTITIES:
        told = ", ".join(f"{n} = {v}" for n, v in zip(names, norms, strict=True))
        faults.add(where, told, "this drops or doubles a residual; ours have no such form")
        return ""
    if model_type not in POST_NORM and norms[0]:
        return "pfeiffer"
    return next(
        preset for preset in ("houlsby", "pfeiffer", "adapterplus") if NORMS[preset] == norms
    )


def _reduction(given: Any, model_type: str, trunk: PreTrainedModel) -> Any:
    """Give the reduction; AdapterHub counts the decoder's layers on from the encoder's."""
    if not isinstance(given, dict) or model_type != "t5":
        return given
    encoders = int(trunk.config.num_layers)
    found: dict[str, Any] = {}
    for label, value in cast(dict[str, Any], given).items():
        if not label.isdigit():
            found[label] = value
        elif int(label) < encoders:
            found[f"encoder.{label}"] = value
        else:
            found[f"decoder.{int(label) - encoders}"] = value
    return found


# LoRA -------------------------------------------------------------------------------------------


def _lora(foreign: Foreign, config: Config, name: str, trunk: PreTrainedModel) -> Adopted:
    where = str(foreign.folder / "adapter_config.json")
    if config.get("composition_mode", "add") != "add":
        raise AdapterError(f"{where}: composition_mode is {config['composition_mode']}, not add")
    modules, held = modules_of(trunk), dict[str, dict[str, torch.Tensor]]()
    for key, (before, tensor) in _inside(foreign, "loras").items():
        part = key.rpartition(" ")[2]
        ends = [n for n in modules if before == n or before.endswith(f".{n}")]
        if len(ends) != 1 or part not in ("lora_A", "lora_B"):
            raise AdapterError(f"{foreign.folder}: {key} has no place on this base; is it its own?")
        held.setdefault(ends[0], {})[part] = tensor
    rank, alpha = int(config["r"]), float(config["alpha"])
    notes: list[str] = []
    if FAULTY.fullmatch(str(foreign.config.get("version", ""))) and alpha != rank:
        notes.append(f"alpha {alpha:g} became {rank}: this version of AdapterHub did not apply it")
        alpha = float(rank)
    matrices = cast(list[str], config.get("attn_matrices") or ())
    enabled = [letter in matrices for letter in "qkv"]
    wide = {module: _whole(module, held[module], rank, enabled) for module in sorted(held)}
    widest = max(len(a_RI) for a_RI, _ in wide.values())
    dropout = float(config.get("dropout") or 0.0)
    own = {"rank": widest, "alpha": alpha * widest / rank, "dropout": dropout}
    settings, made = placed(name, "lora.v1", own, sorted(held), trunk)
    weights: dict[str, torch.Tensor] = {}
    for module, factors in wide.items():
        at = f"{PEFT_PREFIX}{module}"
        a_RI, b_OR = widened(*factors, widest)
        weights |= {f"{at}.lora_A.weight": a_RI, f"{at}.lora_B.weight": b_OR}
    return Adopted(settings, made, weights, tuple(notes))


def _whole(
    module: str, tensors: Mapping[str, torch.Tensor], rank: int, enabled: list[bool]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give A and B of a module; those of the fused parts of one as one pair.

    Raises:
        AdapterError: one is missing, or of another rank.
    """
    parts = sum(enabled) if module.endswith(FUSED) else 1
    whole = set(tensors) == {"lora_A", "lora_B"}
    if not whole or len(tensors["lora_A"]) != rank * parts or tensors["lora_B"].shape[1] != rank:
        raise AdapterError(f"{module}: its LoRA is not whole, or not of rank {rank}")
    b_OR = tensors["lora_B"]
    return tensors["lora_A"], unfused(b_OR, enabled) if module.endswith(FUSED) else b_OR
