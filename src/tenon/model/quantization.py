"""Quantization: which layers of a base are held in few bits, and how they come to be.

The linear layers of the base's blocks are quantised, no other: embeddings, norms, poolers, routers
of experts and language-model heads stay as they are. transformers quantises each as it is read, so
that the whole base is never in memory in floats; then each becomes one of `quantized`'s layers.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from tenon.adapters.blocks import block_of
from tenon.adapters.layers import features
from tenon.adapters.structure import is_router
from tenon.core.errors import MissingExtra, PlanError
from tenon.model.quantized import quantized
from tenon.model.repacking import by_package, forget, repacked, transposed

NONE = "none"
GROUP, BLOCK = 32, 64
"""Numbers that share a scale: of int4, as torchao makes it here; of nf4, as bitsandbytes does."""
SCALE_BYTES = 4
CODE_BYTES = 16 * 4
"""The 16 values of a 4-bit format."""
READ_METHODS = ("bitsandbytes", "torchao")
CPU_AND_CUDA = ("cpu", "cuda")


@dataclass(frozen=True)
class Scheme:
    """A way to quantise.

    Args:
        name: value of `model.quantize`.
        package: that quantises.
        said: what it does, one clause.
        group: inputs that share a scale must be a whole number of such groups; 1 for any.
    """

    name: str
    package: str
    said: str
    group: int = 1

    def weight_bytes(self, outputs: int, inputs: int, itemsize: int) -> int:
        """Give what a weight takes that is held so.

        Args:
            itemsize: bytes of a number of the float weight.
        """
        numbers = outputs * inputs
        if self.name == "int4":
            return numbers // 2 + numbers // GROUP * (itemsize + 1)
        if self.name == "bnb-nf4":
            return -(-numbers // 2) + -(-numbers // BLOCK) * SCALE_BYTES + CODE_BYTES
        return numbers + outputs * SCALE_BYTES

    def config(self, kept: list[str]) -> Any:
        """Give what tells transformers to quantise so.

        Args:
            kept: names of linear layers that stay as they are.
        """
        from transformers import BitsAndBytesConfig, TorchAoConfig

        if self.name == "bnb-nf4":
            return BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", llm_int8_skip_modules=kept
            )
        if self.name == "bnb-int8":
            return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
        return TorchAoConfig(_torchao(self.name), modules_to_not_convert=kept)


SCHEMES: Mapping[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("int8", "torchao", "8-bit integers, one scale an output"),
        Scheme("int4", "torchao", "4-bit integers, a scale and a zero for 32 inputs", GROUP),
        Scheme("bnb-int8", "bitsandbytes", "8-bit integers of LLM.int8(), one scale an output"),
        Scheme("bnb-nf4", "bitsandbytes", "4-bit NormalFloat of QLoRA, one scale for 64 numbers"),
    )
}
"""By the value of `model.quantize`."""


def _torchao(name: str) -> Any:
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, PerGroup
    from torchao.quantization.quant_primitives import MappingType

    if name == "int8":
        return Int8WeightOnlyConfig(set_inductor_config=False)
    return IntxWeightOnlyConfig(
        weight_dtype=cast(Any, torch).int4,
        granularity=PerGroup(GROUP),
        mapping_type=MappingType.ASYMMETRIC,
    )


@dataclass(frozen=True)
class Chosen:
    """The linear layers of a base, parted into those that are quantised and those that are not.

    Args:
        taken: name of a layer to its outputs and inputs.
        kept: name to why it stays as it is.
    """

    taken: dict[str, tuple[int, int]]
    kept: dict[str, str]

    def told(self) -> str:
        """Say how many linear layers are not quantised, and why; empty where all are."""
        reasons = sorted(set(self.kept.values()))
        parts = [f"{list(self.kept.values()).count(why)} {why}" for why in reasons]
        return "; ".join(parts)


def choose(model: nn.Module, scheme: Scheme) -> Chosen:
    """Part the linear layers of a model; only names and shapes are looked at."""
    taken: dict[str, tuple[int, int]] = {}
    kept: dict[str, str] = {}
    floats = {str(part) for part in getattr(model, "_keep_in_fp32_modules", None) or ()}
    for name, module in model.named_modules():
        if type(module) not in (nn.Linear, Conv1D):
            continue
        inputs, outputs = features(module)
        if why := _kept(model, name, inputs, scheme, floats):
            kept[name] = why
        else:
            taken[name] = (outputs, inputs)
    return Chosen(taken, kept)


def _kept(model: nn.Module, name: str, inputs: int, scheme: Scheme, floats: set[str]) -> str:
    if block_of(name) is None:
        return "outside of the blocks"
    if is_router(name, model):
        return "choosing experts"
    if floats & set(name.split(".")):
        return "which transformers keeps in float32 for this architecture"
    if inputs % scheme.group:
        return f"whose inputs are no multiple of {scheme.group}"
    return ""


def require(name: str, package: str, device: torch.device) -> None:
    """Refuse what cannot be done here.

    Args:
        name: of the setting and its value, for messages.

    Raises:
        MissingExtra: the package is not installed.
        PlanError: it does not compute on this device.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingExtra(name, f"the package {package}", "quantize")
    if package == "bitsandbytes" and device.type not in CPU_AND_CUDA:
        raise PlanError(
            f"{name}: bitsandbytes is used on cpu and cuda, model.device is {device.type}; "
            f'take model.quantize = "int8" or "int4", or another device'
        )


def stored_method(config: Any) -> str:
    """Give how a base is stored quantised, "bitsandbytes" for example; empty for floats."""
    stated: Any = getattr(config, "quantization_config", None)
    if stated is None:
        return ""
    told = stated if isinstance(stated, Mapping) else stated.to_dict()
    method = cast(Mapping[str, Any], told).get("quant_method", "unknown")
    return str(getattr(method, "value", method))


@dataclass(frozen=True)
class Way:
    """How a base is loaded whose linear layers are held in few bits.

    Args:
        scheme: how it is quantised; None for a base that is stored so.
        chosen: what is quantised here.
        options: what transformers is told.
    """

    scheme: Scheme | None
    chosen: Chosen
    options: dict[str, Any]

    def hold(self, model: nn.Module, dtype: torch.dtype) -> None:
        """Put a layer of ours in the place of each that a package has quantised.

        Transposed layers, which torchao passes over, are quantised here.

        Args:
            model: as transformers has loaded it.
            dtype: number format of the weights as they are read.

        Raises:
            PlanError: a weight is held in a form that is not known here, or another layer has been
                quantised than was chosen.
        """
        for name, module in list(model.named_modules()):
            if self.scheme and type(module) is Conv1D and name in self.chosen.taken:
                module = transposed(module, _torchao(self.scheme.name))
                model.set_submodule(name, repacked(name, module, dtype))
            elif by_package(module):
                model.set_submodule(name, repacked(name, module, dtype))
        forget(model)
        unlike = quantized(model).keys() ^ self.chosen.taken.keys()
        if self.scheme and unlike:
            raise PlanError(
                f'model.quantize = "{self.scheme.name}": {len(unlike)} layers are not as they were '
                f"chosen ({', '.join(sorted(unlike)[:3])}); is another version of transformers "
                "installed?"
            )


def way(
    base: str,
    config: Any,
    quantize: str,
    device: torch.device,
    empty: Callable[[], nn.Module],
) -> Way | None:
    """Give how a base is loaded in few bits; None where it is loaded in floats.

    Args:
        base: its name, for messages.
        config: its config.
        quantize: value of `model.quantize`.
        device: where it will compute.
        empty: gives the base without numbers.

    Raises:
        PlanError: it is stored quantised and shall be so again, or in a way that is not read here;
            it has no layer that could be quantised; or the device does not fit.
        MissingExtra: the package is not installed.
    """
    stored = stored_method(config)
    if not stored and quantize == NONE:
        return None
    if stored:
        _refuse_stored(base, stored, quantize)
        require(f"base {base}", stored, device)
        return Way(None, Chosen({}, {}), _placed(stored, device))
    scheme = SCHEMES[quantize]
    setting = f'model.quantize = "{quantize}"'
    require(setting, scheme.package, device)
    chosen = choose(empty(), scheme)
    if not chosen.taken:
        raise PlanError(
            f"{setting}: base {base} has no linear layer that can be held so "
            f"({chosen.told() or 'none at all'}); leave it out"
        )
    told = {"quantization_config": scheme.config(list(chosen.kept))}
    return Way(scheme, chosen, {**told, **_placed(scheme.package, device)})


def _refuse_stored(base: str, stored: str, quantize: str) -> None:
    if quantize != NONE:
        raise PlanError(
            f'model.quantize = "{quantize}": base {base} is stored quantised by {stored} already; '
            "leave the setting out, or take the base in floats"
        )
    if stored not in READ_METHODS:
        raise PlanError(
            f"base {base}: is stored quantised by {stored}, which is not read here "
            f"({', '.join(READ_METHODS)} are); take it in floats and set model.quantize"
        )


def _placed(package: str, device: torch.device) -> dict[str, Any]:
    """Give where weights are put as they are read; bitsandbytes quantises on the device itself."""
    return {"device_map": {"": str(device) if package == "bitsandbytes" else "cpu"}}
