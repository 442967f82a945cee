"""Train eight adapters by one `tenon train`, and by one after another: whole commands.

    python benchmarks/together.py --base runs/together --steps 300 --out result.json
    python benchmarks/together.py --shape qwen3-30m --device cpu --many 2 --steps 3

All that a user waits for is counted: imports, the base, proofs, recordings, training, report. The
base has random weights in the shape of a Qwen3, rows are made-up words of lengths that are learned
by half; each adapter has rows of its own, LoRA of rank 16 on all linear layers and about 1,000
tokens a step. Memory is what the reports tell: the most that torch had allocated on the device, or
on a CPU the resident memory of the process.
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
from plan_accuracy import toml  # noqa: E402
from plan_bases import WORDS, base_of, write_rows  # noqa: E402

RUN = "from tenon.cli import main; main()"
TOGETHER: dict[str, str | bool] = {"together": "auto", "recomputed": True}
"""Ways to train all by one command, and what computes its states again."""
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
    parser.add_argument("--deadline", type=float, default=1e9, help="seconds; begin no run after")
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


def plan(options: argparse.Namespace, base: Path, numbers: list[int], again: object) -> Path:
    """Write the plan file of some adapters, of which all states are computed again, or not."""
    own = {"kind": "lora.v1", "rank": 16, "sites": SITES}
    dev = str(options.base / "dev.jsonl")
    table = {
        "base": str(base),
        "data": {"task": "text-generation"},
        "model": {"device": options.device},
        "train": {"epochs": 1, "tokens_per_step": EACH, "recompute": again},
        "evaluate": {"max_new_tokens": 16},
        "adapters": {
            f"a{n}": {**own, "data": {"train": str(options.base / f"a{n}.jsonl"), "dev": dev}}
            for n in numbers
        },
    }
    file = options.base / f"{'-'.join(map(str, numbers))}-{again}.toml"
    file.write_text(toml(table), encoding="utf-8")
    return file


def train(options: argparse.Namespace, file: Path) -> dict[str, Any]:
    """Train what a plan file says in a process of its own."""
    out = options.base / f"run-{file.stem}"
    command = [sys.executable, "-c", RUN, "train", str(file), "--out", str(out), "--quiet"]
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(f"{done.stdout[-2000:]}{done.stderr[-4000:]}")
    reports = [json.loads(each.read_bytes()) for each in sorted(out.glob("**/report/report.json"))]
    costs = [report["cost"] for report in reports]
    found = {
        "seconds": seconds,
        "bytes": max(cost["peak_bytes"] for cost in costs),
        "stepping": sum(cost["seconds"] for cost in costs),
        "steps": costs[-1]["steps"],
        "notes": reports[-1]["notes"],
    }
    print(f"{out.name}: {found}", flush=True)
    return found


def apart(
    options: argparse.Namespace, base: Path, numbers: list[int], until: float
) -> dict[str, Any]:
    """Train each adapter by a command of its own; where time is short, some stand for all."""
    alone: list[dict[str, Any]] = []
    for number in numbers:
        if time.perf_counter() > until:
            break
        alone.append(train(options, plan(options, base, [number], "auto")))
    whole = statistics.mean(each["seconds"] for each in alone) * len(numbers)
    return {"runs": alone, "seconds": whole, "bytes": max(each["bytes"] for each in alone)}


def prepare(options: argparse.Namespace) -> Path:
    """Make the base and the rows of all adapters; give the base's folder."""
    count = round(options.steps * EACH / MEAN)
    for number in range(options.many):
        write_rows(options.base / f"a{number}.jsonl", rows(count, number))
    write_rows(options.base / "dev.jsonl", rows(DEV, 99))
    return base_of(options.shape, options.base)


def main() -> None:
    options = arguments()
    options.base = options.base.resolve()
    base, numbers, ways = prepare(options), list(range(options.many)), options.ways.split(",")
    until = time.perf_counter() + options.deadline
    found: dict[str, Any] = {"steps": options.steps, "many": options.many, "shape": options.shape}
    for way, again in TOGETHER.items():
        if way in ways:
            found[way] = train(options, plan(options, base, numbers, again))
    if "apart" in ways:
        found["apart"] = apart(options, base, numbers, until)
        for way in filter(found.__contains__, TOGETHER):
            faster = found["apart"]["seconds"] / found[way]["seconds"]
            larger = found[way]["bytes"] / found["apart"]["bytes"]
            found[way] |= {"faster": faster, "memory_to_apart": larger}
            print(f"{way}: x{faster:.2f} at x{larger:.2f} the memory", flush=True)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
