"""SGLang: a plain LoRA that SGLang serves, for bases that write.

SGLang ignores how a LoRA's rank and factor differ between modules, and drops the weights of a head,
without a word; a plain LoRA has one rank and the factor 1, and adapters with a head are refused. It
joins the matrices of layers that it computes together, so that each of them gets one, of zeros
where the adapter has none.
Source: SGLang 0.5.23, docs/advanced_features/lora.md and `srt/lora`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tenon.adapters import pack
from tenon.adapters.blend import MOST_RANK
from tenon.adapters.delta import PAIRS
from tenon.adapters.pack import PEFT_PREFIX, Adapter
from tenon.adapters.portable import Portable
from tenon.export.case import MERGE, Case, no_writer
from tenon.export.engine import Engine, Served, write_for
from tenon.export.target import TARGETS, Order, Target, Written

TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Layers that are computed as one."""
TAKEN = frozenset({"o_proj", "down_proj", "qkv_proj", "gate_up_proj", *TOGETHER[0], *TOGETHER[1]})


def refuses(case: Case) -> str:
    """Say why SGLang cannot take an adapter; empty where nothing speaks against it."""
    if not case.manifest.writes:
        return (
            "SGLang drops the weights of a head without a word; export it with --to vllm, --to "
            "onnx or --to merged, or serve it with Tenon"
        )
    if why := no_writer(case, "SGLang"):
        return why
    others = sorted({_last(module) for module in case.modules} - TAKEN)
    if others:
        return f"SGLang takes LoRA on {', '.join(sorted(TAKEN))}, and it sits on {others[0]}{MERGE}"
    return ""


def launch(served: Served) -> list[str]:
    """Give the words of the command that serves an adapter."""
    found = sorted({_last(module) for module in pack.target_modules(served.made.adapter)})
    return [
        "python -m sglang.launch_server",
        "--model-path",
        *served.base,
        "--enable-lora",
        f"--max-lora-rank {served.made.rank}",
        f"--lora-target-modules {' '.join(found)}",
        f"--lora-paths {shlex.quote(served.name)}={served.path}",
        "--port 8000",
    ]


def with_fellows(order: Order, made: Portable) -> Portable:
    """Give each layer that is computed together with an adapted one a matrix of zeros."""
    adapter = made.adapter
    trunk: Any = order.answerer.model.trunk.model
    modules = set(pack.target_modules(adapter))
    weights = dict(adapter.weights)
    lone = [name for module in modules for name in _fellows(module) if name not in modules]
    for module in sorted(set(lone)):
        outputs, inputs = trunk.get_submodule(module).weight.shape
        first, second = (f"{PEFT_PREFIX}{module}.{part}" for part in PAIRS[0])
        weights[first] = torch.zeros(made.rank, inputs)
        weights[second] = torch.zeros(outputs, made.rank)
    config: Any = adapter.config
    config.target_modules = {*config.target_modules, *lone}
    filled: Adapter = replace(adapter, weights=weights)
    return replace(made, adapter=filled)


def _fellows(module: str) -> Iterator[str]:
    parent, _, last = module.rpartition(".")
    for names in TOGETHER:
        if last in names:
            yield from (f"{parent}.{name}" for name in names)


def _last(module: str) -> str:
    return module.rpartition(".")[2]


def write(order: Order, folder: Path) -> Written:
    """Write an adapter for SGLang, with its launch line and the script that proves it."""
    return write_for(SGLANG, order, folder)


SGLANG = Engine("sglang", "SGLang", MOST_RANK, with_fellows, launch)
TARGETS.add(
    "sglang",
    Target(
        name="sglang",
        summary="a plain LoRA for SGLang, its launch line, and a script that proves the engine",
        keeps_format=False,
        ranked=True,
        measures=False,
        write=write,
        refuses=refuses,
    ),
)
