"""Starts of LoRA on the same rows: what each does to the score, at several rates and seeds.

    python benchmarks/starts.py --shared ../shared --base MODEL --out runs/starts
    python benchmarks/starts.py --base MODEL --inits kaiming,pissa --rates 1e-3,1e-4 --seeds 1,2,3

Whole runs of `tenon train` in this process, one after the other, on a sample of BANKING77's rows,
judged on its test rows. Prints one JSON object a run and, at the end, the mean over the seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from sets import prepare

import tenon
from tenon.plan.resolve import resolve


def write_plan(file: Path, base: str, init: str, rate: float, seed: int, epochs: int) -> Path:
    """Write the plan of one run."""
    lines = [
        f"base = {json.dumps(base)}",
        f"seed = {seed}",
        "[adapters.it]",
        'kind = "lora.v1"',
        f"init = {json.dumps(init)}",
        "[data]",
        'task = "text-classification"',
        'train = "banking.train.jsonl"',
        'test = "banking.test.jsonl"',
        'dev = ""',
        "[train]",
        f"epochs = {epochs}",
        f"learning_rate = {rate!r}",
        "[evaluate]",
        'against = ["linear_probe"]',
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def run(out: Path, base: str, init: str, rate: float, seed: int, epochs: int) -> dict[str, Any]:
    """Carry out one run; give its scores, its losses and its cost."""
    name = f"{init}-{rate:g}-{seed}"
    file = write_plan(out / f"{name}.toml", base, init, rate, seed, epochs)
    report = tenon.train(resolve(file), out / name, resume="never").report
    steps = [json.loads(line) for line in (out / name / "steps.jsonl").open(encoding="utf-8")]
    losses = [step["loss"] for step in steps if "loss" in step]
    scores = {metric: held.value for metric, held in report.metrics["test"].items()}
    last = statistics.mean(losses[-len(losses) // 10 :])
    told = {"init": init, "rate": rate, "seed": seed, "last_loss": last, "steps": len(losses)}
    return {**told, **scores, "seconds": report.cost["seconds"]}


def main() -> None:
    """Measure what is asked for, and print the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--base", required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/starts"))
    parser.add_argument("--inits", default="kaiming,pissa,olora,eva,orthogonal,mica")
    parser.add_argument("--rates", default="1e-3")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--test-rows", type=int, default=1_000_000)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    prepare(options.shared.resolve() / "data", out, options.rows, options.test_rows)
    base = options.base if "/" not in options.base else str(Path(options.base).resolve())
    found: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for rate in map(float, options.rates.split(",")):
        for seed in map(int, options.seeds.split(",")):
            for init in options.inits.split(","):
                made = run(out, base, init, rate, seed, options.epochs)
                print(json.dumps(made), flush=True)
                found.setdefault((init, rate), []).append(made)
    for (init, rate), made in found.items():
        means = {key: statistics.mean(each[key] for each in made)
                 for key in made[0] if key not in ("init", "rate", "seed")}  # fmt: skip
        print(init, f"{rate:g}", {key: round(value, 4) for key, value in means.items()})


if __name__ == "__main__":
    main()
