"""Train eight adapters by one `tenon train`, and by one after another: whole commands.

    python benchmarks/together.py --base runs/together --steps 300 --out result.json
    python benchmarks/together.py --shape qwen3-30m --device cpu --many 2 --steps 3

All that a user waits for is counted: imports, the base, proofs, recordings, training, report. The
base has random weights in the shape of a Qwen3, rows are made-up words of lengths that are learned
by half; each adapter has rows of its own, LoRA of rank 16 on all linear layers and about 1,000
tokens a step. Of a process the most that torch had allocated on the device is read as it ends; on
a CPU its resident memory.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
from plan_bases import WORDS, base_of, write_rows  # noqa: E402

RUN = """
import resource, sys, time
begun = time.perf_counter()
from tenon.cli import main
try:
    main(sys.argv[1:])
finally:
    import torch
    on = torch.cuda.is_available()
    most = torch.cuda.max_memory_allocated() if on else 0
    kept = torch.cuda.max_memory_reserved() if on else 0
    most = most or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print("MOST", most, kept, time.perf_counter() - begun, flush=True)
"""
SITES = [
    *("attention.query", "attention.key", "attention.value", "attention.out"),
    *("mlp.in", "mlp.gate", "mlp.out"),
]
EACH, MEAN, SPREAD, DEV = 1000, 200, 0.8, 20


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, default=Path("runs/together"), help="folder of it all")
    parser.add_argument("--shape", default="qwen3-600m")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--many", type=int, default=8)
    parser.add_argument("--steps", type=int, default=300, help="of each")
    parser.add_argument("--ways", default="together,recomputed,apart")
    parser.add_argument("--deadline", type=float, default=1e9, help="begin no run after it")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Make up rows of lognormal lengths, of which the first half is asked."""
    found, drawn = [], random.Random(seed)
    middle = math.log(MEAN) - SPREAD * SPREAD / 2
    for _ in range(count):
        length = min(1000, max(8, int(drawn.lognormvariate(middle, SPREAD))))
        said = [f"w{drawn.randrange(WORDS)}" for _ in range(length)]
        half = length // 2
        found.append({"prompt": " ".join(said[:half]), "completion": " ".join(said[half:])})
    return found


def plan(options: argparse.Namespace, base: Path, numbers: list[int], recompute: str) -> Path:
    """Write the plan file of some adapters."""
    lines = [
        f'base = "{base}"', "[data]", 'task = "text-generation"', "[model]",
        f'device = "{options.device}"', "[train]", "epochs = 1", f"tokens_per_step = {EACH}",
        f"recompute = {recompute}", "[evaluate]", "max_new_tokens = 16",
    ]  # fmt: skip
    for number in numbers:
        name = f"a{number}"
        lines += [
            f"[adapters.{name}]", 'kind = "lora.v1"', "rank = 16", f'sites = {json.dumps(SITES)}',
            f"[adapters.{name}.data]", f'train = "{options.base / name}.jsonl"',
            f'dev = "{options.base / "dev"}.jsonl"',
        ]  # fmt: skip
    file = options.base / f"{'-'.join(map(str, numbers))}-{recompute.strip(chr(34))}.toml"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def train(options: argparse.Namespace, file: Path) -> dict[str, Any]:
    """Train what a plan file says in a process of its own."""
    out = options.base / f"run-{file.stem}"
    begun = time.perf_counter()
    command = [sys.executable, "-c", RUN, "train", str(file), "--out", str(out), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(f"{done.stdout[-2000:]}{done.stderr[-4000:]}")
    told = next(line for line in reversed(done.stdout.splitlines()) if line.startswith("MOST"))
    reports = sorted(out.glob("**/report/report.json"))
    found: dict[str, Any] = {"seconds": seconds, "bytes": int(told.split()[1]), "stepping": 0.0}
    for file in reports:
        report = json.loads(file.read_text(encoding="utf-8"))
        found["stepping"] += report["cost"]["seconds"]
        found["notes"] = report["notes"]
        found["steps"] = report["cost"].get("steps")
    print(f"{out.name}: {found}", flush=True)
    return found


def main() -> None:
    options = arguments()
    options.base = options.base.resolve()
    base = base_of(options.shape, options.base)
    numbers = list(range(options.many))
    for number in numbers:
        count = round(options.steps * EACH / MEAN)
        write_rows(options.base / f"a{number}.jsonl", rows(count, number))
    write_rows(options.base / "dev.jsonl", rows(DEV, 99))
    begun, ways = time.perf_counter(), options.ways.split(",")
    found: dict[str, Any] = {"steps": options.steps, "many": options.many, "shape": options.shape}
    for way, recompute in (("together", '"auto"'), ("recomputed", "true")):
        if way in ways:
            found[way] = train(options, plan(options, base, numbers, recompute))
    if "apart" in ways:
        alone = []
        for number in numbers:
            if time.perf_counter() - begun > options.deadline:
                break
            alone.append(train(options, plan(options, base, [number], '"auto"')))
        whole = statistics.mean(each["seconds"] for each in alone) * options.many
        most = max(each["bytes"] for each in alone)
        found["apart"] = {"runs": alone, "seconds": whole, "bytes": most}
        for way in ("together", "recomputed"):
            if way in found:
                faster, larger = whole / found[way]["seconds"], found[way]["bytes"] / most
                found[way] |= {"faster": faster, "memory_to_apart": larger}
                print(f"{way}: x{faster:.2f} at x{larger:.2f} the memory", flush=True)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
