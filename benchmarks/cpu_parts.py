"""What each part of a step on the CPU brings: all parts, and all but one, in turns in one process.

Layers that are not lean, or not one function, are not computed as one function; the latter are not
filled up either. What one way has let oneDNN make code for, all others find.

python benchmarks/cpu_parts.py --data ../shared/data/banking77 --out result.json
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from unittest.mock import patch

import train_vs_trainer as bench
from peft.tuners.lora import Linear

from tenon.model import encoded, groups
from tenon.model.entry import blocks
from tenon.model.trunk import EVEN

PARTS = ("one function", "filling", "small products", "last layer", "lean layers", "bfloat16")
WAYS = {
    "all": (),
    **{f"without {part}": (part,) for part in PARTS},
    "none": PARTS,
}


def held(way: bench.WithTenon, without: tuple[str, ...]) -> ExitStack:
    """Leave parts out for the time of a turn."""
    stack = ExitStack()
    base = way.model.trunk.model
    if "one function" in without or "filling" in without:
        stack.enter_context(patch.dict(vars(base), {EVEN: 1}))
        stack.enter_context(patch.object(encoded, "ROUND", 1))
    if "one function" in without:
        for block in blocks(base):
            stack.callback(vars(block).update, forward=vars(block).pop("forward"))
    if "small products" in without:
        stack.enter_context(patch.object(groups, "SHORT", 0))
    if "last layer" in without:
        stack.enter_context(patch.object(way.model, "trunk", replace(way.model.trunk, alone=())))
    if "lean layers" in without:
        for layer in way.model.modules():
            if isinstance(layer, Linear) and type(layer) is not Linear:
                stack.callback(setattr, layer, "__class__", type(layer))
                layer.__class__ = Linear
    return stack


def main() -> None:
    import torch

    options = bench.arguments()
    torch.set_num_threads(options.threads)
    ways = {
        dtype: bench.WithTenon(bench.Setting(options, dtype)) for dtype in ("float32", "bfloat16")
    }
    turns: dict[str, list[bench.Turn]] = {name: [] for name in WAYS}
    for turn in range(options.rounds + 1):
        for name, without in WAYS.items():
            way = ways["float32" if "bfloat16" in without else "bfloat16"]
            with held(way, without):
                taken = way.take(options.steps if turn else 2)
            if turn:
                turns[name].append(taken)
        print({n: round(t[-1].tokens / t[-1].cpu) for n, t in turns.items() if t}, flush=True)
    result = {
        "machine": bench.machine(options.threads),
        "rounds": options.rounds,
        "steps_a_turn": options.steps,
        "tokens_per_cpu_second": {
            name: bench.spread([t.tokens / t.cpu for t in taken]) for name, taken in turns.items()
        },
        "ratio_to_all": bench.ratios(turns, "all"),
    }
    print(json.dumps(result, indent=2))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
