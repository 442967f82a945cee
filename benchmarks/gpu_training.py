"""Train LoRA on a GPU with Tenon and with PEFT + transformers.Trainer: speed, use, memory.

    python benchmarks/gpu_training.py --sizes 0.6,1.7 --rounds 3 --out result.json
    python benchmarks/gpu_training.py --sizes tiny --device cpu --rounds 1 --seconds 1

The base has the shape of a Qwen3 and random weights; rows have lognormal lengths of mean 200, of
which a part is learned; LoRA of rank 16 is on all linear layers. A step is of 32 rows, or of as
many real tokens. The ways take turns in one process and share one copy of the frozen base; ratios
are taken within a round. MFU counts 4 operations for each frozen weight and real token, of the
head for each learned token, against a product of two matrices measured in this process. Memory is
the most that was allocated in a turn, with the base and the adapter; ways that hold 8 rows at once
are told apart from those that hold a whole step. Gradients are asserted to be other than zero.
The file of results is written after every part.
"""

from __future__ import annotations

import gc
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from gpu_eight import Eight
from gpu_ground import (
    AT_ONCE,
    BEGUN,
    CUDA,
    OPTIONS,
    Setting,
    Turn,
    log,
    wait,
)
from gpu_tenon import WithTenon, plain
from gpu_trainer import WithTrainer

WAYS: dict[str, Callable[[Setting], Any]] = {
    "trainer": WithTrainer,
    "trainer_grouped": lambda s: WithTrainer(s, grouped=True),
    "packed": lambda s: plain(s, peft=True, scores=True),
    "packed_head": lambda s: plain(s, peft=True),
    "tenon_plain": lambda s: plain(s),
    "tenon_graphs": lambda s: WithTenon(s, fused=False),
    "tenon_fused": lambda s: WithTenon(s, graphs=False),
    "tenon_no_margins": lambda s: WithTenon(s, margins=False),
    "tenon_torch_attention": lambda s: WithTenon(s, tiled=False),
    "tenon": WithTenon,
    "tenon_compiled": lambda s: plain(s, compiled=True),
    "tenon_graphs_compiled": lambda s: WithTenon(s, compiled=True),
    "tenon_4_steps": lambda s: WithTenon(s, steps=4),
    "tenon_64_rows": lambda s: WithTenon(s, steps=2),
    "tenon_128_rows": lambda s: WithTenon(s, steps=4, at_once=1 << 15),
    "tenon_64_rows_no_margins": lambda s: WithTenon(s, steps=2, margins=False),
    "tenon_128_rows_no_margins": lambda s: WithTenon(s, steps=4, at_once=1 << 15, margins=False),
    "tenon_8_rows": lambda s: WithTenon(s, at_once=AT_ONCE * OPTIONS.mean),
    "liger": lambda s: WithTrainer(s, liger=True),
}


def spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


@dataclass
class Results:
    """All that was measured."""

    machine: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, Any] = field(default_factory=dict)

    def write(self) -> None:
        if OPTIONS.out:
            OPTIONS.out.write_text(json.dumps(asdict(self), indent=1) + "\n")


def summary(setting: Setting, turns: dict[str, list[Turn]]) -> dict[str, Any]:
    base, found = turns.get("trainer", []), {}
    for name, held in turns.items():
        rates = [t.tokens / t.seconds for t in held]
        found[name] = {
            "tokens_per_second": spread(rates),
            "mfu": spread([setting.used(t) for t in held]),
            "peak_bytes": max(t.bytes for t in held),
            "turns": [asdict(t) for t in held],
        }
        paired = list(zip(rates, base, strict=False))
        if paired:
            found[name]["ratio_to_trainer"] = spread(
                [rate / (b.tokens / b.seconds) for rate, b in paired]
            )
            found[name]["memory_to_trainer"] = found[name]["peak_bytes"] / max(
                1, max(t.bytes for t in base)
            )
    return found


def profiled(way: WithTenon) -> dict[str, Any]:
    """Look into three steps: the kernels that take most, and how long the GPU had to wait."""
    from torch.profiler import ProfilerActivity, profile

    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if CUDA else [])
    way.step()
    wait()
    with profile(activities=kinds) as seen:
        begun = time.perf_counter()
        for _ in range(3):
            way.step()
        wait()
        seconds = time.perf_counter() - begun
    averages = seen.key_averages()
    order = "self_device_time_total" if CUDA else "self_cpu_time_total"
    print(averages.table(sort_by=order, row_limit=45, max_name_column_width=70), flush=True)
    kernels = [e for e in averages if str(e.device_type).endswith("CUDA")]
    busy = sum(e.self_device_time_total for e in kernels) / 1e6
    count = sum(e.count for e in kernels)
    log(f"3 steps: {seconds:.3f} s under the profiler, GPU busy {busy:.3f} s, {count} kernels")
    return {"seconds": seconds, "busy": busy, "kernels": count}


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Give the size of the difference of all gradients by their size."""
    apart = sum(float((one[name] - other[name]).square().sum()) for name in one)
    return math.sqrt(apart / sum(float(each.square().sum()) for each in other.values()))


def measure(size: str, results: Results, cache: Path) -> None:
    setting = Setting(size, cache)
    log(f"{size}: body {setting.body / 1e6:.0f} M, head {setting.head / 1e6:.0f} M, "
        f"product {setting.peak / 1e12:.1f} TFLOP/s")  # fmt: skip
    found = results.sizes[size] = {"matmul_tflops": setting.peak / 1e12, "body": setting.body,
                                   "head": setting.head}  # fmt: skip
    names = OPTIONS.ways.split(",") if OPTIONS.ways else list(WAYS)
    ways: dict[str, Any] = {}
    turns: dict[str, list[Turn]] = {}
    first: dict[str, torch.Tensor] = {}
    for turn in range(OPTIONS.rounds):
        for name in names:
            if time.perf_counter() - BEGUN > OPTIONS.deadline:
                log("out of time")
                break
            try:
                if name not in ways:
                    begun = time.perf_counter()
                    way = ways[name] = WAYS[name](setting)
                    if isinstance(way, WithTenon) and not ("4_steps" in name or "_rows" in name):
                        mine = way.gradients()
                        first = first or mine
                        apart = found.setdefault("gradient_difference", {})
                        apart[name] = difference(mine, first)
                        log(f"{name}: gradients differ by {apart[name]:.5f}")
                        del mine
                    ways[name].take(0.5)
                    found.setdefault("warm_seconds", {})[name] = time.perf_counter() - begun
                    log(f"{name}: made and warmed in {time.perf_counter() - begun:.1f} s")
                taken = ways[name].take(OPTIONS.seconds)
            except Exception as error:  # a way that fails leaves the others to be measured
                log(f"{name} failed: {type(error).__name__}: {str(error)[:400]}")
                names = [other for other in names if other != name]
                ways.pop(name, None)
                continue
            turns.setdefault(name, []).append(taken)
            log(f"round {turn + 1} {name:24s} {taken.tokens / taken.seconds:10,.0f} tokens/s  "
                f"MFU {setting.used(taken):.3f}  {taken.bytes / 2**30:6.2f} GiB  "
                f"{1e3 * taken.seconds / taken.steps:7.1f} ms a step")  # fmt: skip
        found["ways"] = summary(setting, turns)
        results.write()
    for name in filter(None, OPTIONS.profile.split(",")):
        if name in ways and time.perf_counter() - BEGUN < OPTIONS.deadline:
            log(f"profile of {name}")
            found.setdefault("profiles", {})[name] = profiled(ways[name])
            results.write()
    ways.clear()
    if OPTIONS.joint:
        joint(setting, found, results)


EIGHT: dict[str, dict[str, Any]] = {
    "together": {},
    "together_recomputed": {"again": True},
    "together_half_recomputed": {"again": 14},
    "together_halves": {"at_once": 500},
}
"""Ways to train eight adapters in one run; apart they are trained as by default."""


def joint(setting: Setting, found: dict[str, Any], results: Results) -> None:
    """Train eight adapters together, in several ways, and one after another.

    The first steps, in which most sizes are recorded, are told apart from those of warm runs.
    """
    steps, first = (10, 100) if CUDA else (1, 1)
    names = [name for name in EIGHT if not OPTIONS.eight or name in OPTIONS.eight.split(",")]
    ways: dict[str, Callable[[int], Turn]] = {}
    alone = Eight(setting)
    for name in names:
        own = EIGHT[name]
        ways[name] = (Eight(setting, **own) if own else alone).together
    ways["apart"] = alone.apart
    cold = found["eight_cold"] = {}
    for name, way in ways.items():
        turn = way(first)
        cold[name] = asdict(turn)
        log(f"{name}: first {first} steps of each run, {turn.recorded} sizes in "
            f"{turn.recording:.1f} s, others {turn.seconds:.1f} s {turn.why}")  # fmt: skip
    ways["apart"] = lambda count: alone.apart(8 * count)
    rounds: list[dict[str, Any]] = []
    for _ in range(OPTIONS.rounds):
        if time.perf_counter() - BEGUN > OPTIONS.deadline:
            return
        turns = {name: way(steps) for name, way in ways.items()}
        rates = {name: turn.tokens / turn.seconds for name, turn in turns.items()}
        rounds.append({name: asdict(turn) for name, turn in turns.items()})
        for name, turn in turns.items():
            faster, larger = rates[name] / rates["apart"], turn.bytes / turns["apart"].bytes
            log(f"eight {name:32s} {rates[name]:10,.0f} tokens/s x{faster:.2f}  "
                f"{turn.bytes / 2**30:6.2f} GiB x{larger:.2f}  "
                f"{1e3 * turn.seconds / turn.steps:6.1f} ms, {turn.recorded} sizes")  # fmt: skip
        found["eight"] = rounds
        results.write()


def main() -> None:
    """Measure every size."""
    results = Results()
    from tenon.model.packing import KNOWN

    results.machine = {
        "device": torch.cuda.get_device_name() if CUDA else "cpu",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "attention": sorted(KNOWN),
    }
    log(results.machine)
    with tempfile.TemporaryDirectory() as cache:
        for size in OPTIONS.sizes.split(","):
            if time.perf_counter() - BEGUN < OPTIONS.deadline:
                measure(size, results, Path(cache))
                gc.collect()
    results.write()


if __name__ == "__main__":
    main()
