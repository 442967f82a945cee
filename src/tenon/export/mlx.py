"""MLX: a LoRA in the layout that mlx-lm reads beside its base.

`adapters.safetensors` holds `lora_a` [I, R] and `lora_b` [R, O] of each module under the model's
name of it; `adapter_config.json` says in how many layers, counted from the last, which modules have
them, with one rank and one factor for all. So every module that is named has matrices in each of
these layers, of zeros where the adapter has none.
Source: mlx-lm, mlx_lm/tuner/utils.py (`linear_to_lora_layers`, `load_adapters`) and LORA.md.
Legend: I inputs, O outputs, R rank.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from tenon.adapters.delta import Delta, deltas
from tenon.adapters.files import CARD
from tenon.adapters.pack import Adapter
from tenon.adapters.portable import plain
from tenon.core.errors import AdapterError
from tenon.core.files import read_json
from tenon.evaluate.reader_card import reader_card
from tenon.export.by_hand import scores_by_hand
from tenon.export.case import MERGE, Case, no_writer
from tenon.export.draft import draft, near
from tenon.export.target import TARGETS, Order, Target, Written

WEIGHTS, CONFIG = "adapters.safetensors", "adapter_config.json"
LAYERS = {
    "gemma3_text": "layers",
    "gpt2": "h",
    "llama": "layers",
    "mistral": "layers",
    "phi3": "layers",
    "qwen2": "layers",
    "qwen3": "layers",
    "qwen3_moe": "layers",
}
"""Model types whose modules mlx-lm names as transformers does, to what their layers are called."""
WHOLE = "model"
"""What mlx-lm calls the trunk in a model."""


class Place(NamedTuple):
    """Where a module lies.

    Args:
        layer: its number.
        key: its name in the layer.
    """

    layer: int
    key: str


@dataclass(frozen=True)
class Span:
    """The layers and modules that have matrices.

    Args:
        name: of the layers.
        first: number of the lowest.
        count: how many layers the base has.
        keys: names of the modules in each.
    """

    name: str
    first: int
    count: int
    keys: tuple[str, ...]

    def modules(self) -> Iterator[str]:
        """Yield the trunk's names of all modules that mlx-lm gives matrices to."""
        for layer in range(self.first, self.count):
            yield from (f"{self.name}.{layer}.{key}" for key in self.keys)


def refuses(case: Case) -> str:
    """Say why mlx-lm cannot take an adapter as it is; empty where nothing speaks against it."""
    if why := no_writer(case, "mlx-lm"):
        return why
    name = LAYERS.get(case.model_type)
    if name is None:
        return f"mlx-lm's names of {case.model_type}'s modules are not known here{MERGE}"
    outside = [module for module in case.modules if place_of(module, name) is None]
    if outside:
        return f"{outside[0]} lies in none of the layers that mlx-lm reads a LoRA for{MERGE}"
    return ""


def place_of(module: str, name: str) -> Place | None:
    """Give the layer that a module lies in, and its name there; None where it lies in none."""
    found = re.fullmatch(rf"{name}\.(\d+)\.(.+)", module)
    return Place(int(found[1]), found[2]) if found else None


def write(order: Order, folder: Path) -> Written:
    """Write the adapter for mlx-lm, read it again as that does, and add it to the base by hand.

    Raises:
        AdapterError: the adapter cannot be made a plain LoRA, or the files give other scores.
        PlanError: the wanted rank has no effect.
    """
    drafted = draft(order)
    adapter, trunk = drafted.made.adapter, order.answerer.model.trunk.model
    name = LAYERS[adapter.manifest.base.model_type]
    held = {plain(key): delta for key, delta in deltas(adapter).items()}
    span = _span(held, name, len(trunk.get_submodule(name)))  # pyright: ignore[reportArgumentType]
    _write(adapter, held, span, trunk, folder)
    added = read(folder, span.count, name)
    found_BL = scores_by_hand(adapter.manifest, order.base, drafted.settings, added)
    error = near(drafted, found_BL)
    base = order.base.name if order.base.revision else str(order.base.folder)
    line = f"mlx_lm.generate --model {shlex.quote(base)} --adapter-path "
    told = reader_card(
        order.answerer.manifest,
        drafted.made,
        drafted.proof,
        error,
        "mlx-lm",
        "mlx",
        (f"{line}path/of/this/folder --prompt 'a prompt'",),
    )
    (folder / CARD).write_text(told, "utf-8")
    command = f"{line}{shlex.quote(str(order.out.resolve()))} --prompt 'a prompt'"
    return Written(drafted.proof, error, "mlx_lm's --adapter-path", commands=(command,))


def _span(held: dict[str, Delta], name: str, count: int) -> Span:
    places = [place for module in held if (place := place_of(module, name))]
    keys = tuple(sorted({place.key for place in places}))
    return Span(name, min(place.layer for place in places), count, keys)


def _write(
    adapter: Adapter, held: dict[str, Delta], span: Span, trunk: nn.Module, folder: Path
) -> None:
    rank = max(delta.rank for delta in held.values())
    tensors: dict[str, Tensor] = {}
    for module in span.modules():
        delta = held.get(module) or _nothing(trunk, module, rank)
        if delta is None:
            continue
        tensors[f"{WHOLE}.{module}.lora_a"] = delta.down_RI.T.float().contiguous()
        tensors[f"{WHOLE}.{module}.lora_b"] = delta.up_OR.T.float().contiguous()
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(tensors, {"format": "mlx"}))
    told = {
        "fine_tune_type": "lora",
        "model": adapter.manifest.base.name,
        "num_layers": span.count - span.first,
        "lora_parameters": {
            "rank": rank,
            "scale": 1.0,
            "dropout": 0.0,
            "keys": list(span.keys),
        },
    }
    (folder / CONFIG).write_text(f"{json.dumps(told, indent=2)}\n", "utf-8")


def _nothing(trunk: nn.Module, module: str, rank: int) -> Delta | None:
    """Give matrices of zeros for a module; None where a layer has none of that name."""
    try:
        layer: Any = trunk.get_submodule(module)
    except AttributeError:
        return None
    outputs, inputs = layer.weight.shape
    if isinstance(layer, Conv1D):
        outputs, inputs = inputs, outputs
    return Delta(torch.zeros(rank, inputs), torch.zeros(outputs, rank), ("", ""))


def read(folder: Path, count: int, name: str) -> dict[str, Tensor]:
    """Give what the files add to each module, [O, I], as mlx-lm would.

    Args:
        count: layers of the base.
        name: of the layers.

    Raises:
        AdapterError: a tensor is of no module that the config names, or has another rank.
    """
    told = read_json(folder / CONFIG)
    form, tensors = told["lora_parameters"], load_file(folder / WEIGHTS)
    span = Span(name, count - told["num_layers"], count, tuple(form["keys"]))
    added: dict[str, Tensor] = {}
    for module in span.modules():
        first, second = (f"{WHOLE}.{module}.{end}" for end in ("lora_a", "lora_b"))
        if first in tensors:
            a_IR, b_RO = tensors.pop(first).double(), tensors.pop(second).double()
            added[module] = form["scale"] * (a_IR @ b_RO).T
            if a_IR.shape[1] != form["rank"]:
                tensors[first] = a_IR
    if tensors or told["fine_tune_type"] != "lora":
        raise AdapterError(
            f"{folder / WEIGHTS}: does not hold what was written; nothing was kept. Please report "
            "this"
        )
    return added


TARGETS.add(
    "mlx",
    Target(
        name="mlx",
        summary="a LoRA for mlx-lm, on Apple's processors",
        keeps_format=False,
        ranked=True,
        measures=False,
        write=write,
        refuses=refuses,
    ),
)
