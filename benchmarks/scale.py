"""How the cost of a run grows with its rows: time of a row, and memory, from 10,000 rows on.

    python benchmarks/scale.py --rows 10000 100000 1000000 --out benchmarks/results/scale-cpu.json
    python benchmarks/scale.py --plot benchmarks/results/scale-cpu.json      # needs matplotlib

Each number of rows is read, split, tokenized, ordered and stepped over by a process of its own, on
a tiny base with random weights. Steps are counted from a window in the middle of an epoch, as all
have the same number of tokens; the order of the epoch is of all rows. Memory is the most that was
resident, and what of it is not the mapped file of the tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
STEPS, WARM = 60, 5
STAGES = ("reading", "tokens", "order", "steps")
MIB = 1 << 20


def arguments() -> argparse.Namespace:
    reading = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    reading.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    reading.add_argument("--words", type=int, nargs=2, default=[4, 12])
    reading.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "tenon-scale")
    reading.add_argument("--out", type=Path)
    reading.add_argument("--plot", type=Path)
    reading.add_argument("--one", type=int, help="measure so many rows in this process")
    return reading.parse_args()


def file_of(asked: argparse.Namespace, rows: int) -> Path:
    """Write rows of made-up words in twelve classes, unless they are there."""
    path = asked.folder / f"rows-{rows}.csv"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        chance = random.Random(rows)
        with path.with_suffix(".part").open("w", encoding="utf-8") as sink:
            sink.write("text,label\n")
            for number in range(rows):
                count = chance.randint(*asked.words)
                said = " ".join(f"w{chance.randrange(2000)}" for _ in range(count))
                sink.write(f"{said} {number},label {number % 12}\n")
        path.with_suffix(".part").rename(path)
    return path


def base_of(folder: Path) -> Path:
    """Write a BERT of two layers of 32 channels with random weights."""
    where = folder / "tiny"
    if not (where / "model.safetensors").exists():
        import torch
        from plan_bases import tokenizer
        from transformers import BertConfig, BertModel

        torch.manual_seed(0)
        config = BertConfig(vocab_size=2048, hidden_size=32, num_hidden_layers=2,
                            num_attention_heads=2, intermediate_size=64)  # fmt: skip
        where.mkdir(parents=True, exist_ok=True)
        tokenizer("bert").save_pretrained(where)
        BertModel(config).save_pretrained(where)
    return where


class Watch:
    """Seconds of each stage, by the clock and of the processor."""

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, float]] = {}
        self.clock, self.cpu = time.perf_counter(), time.process_time()

    def ended(self, stage: str, units: int) -> None:
        """Note that a stage has ended that went over so many rows or tokens."""
        clock, cpu = time.perf_counter(), time.process_time()
        self.stages[stage] = {
            "seconds": clock - self.clock,
            "cpu_seconds": cpu - self.cpu,
            "units": units,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        self.clock, self.cpu = clock, cpu


def measured(asked: argparse.Namespace, rows: int) -> dict[str, Any]:
    """Take every stage once over so many rows."""
    import torch

    from tenon.data.load import load
    from tenon.plan.resolve import resolve_table
    from tenon.train.loop import Course, Loop
    from tenon.verbs.train import build
    from tenon.verbs.workspace import open_workspace

    torch.set_num_threads(1)
    table = {
        "base": str(base_of(asked.folder)),
        "seed": 7,
        "data": {"train": str(file_of(asked, rows)), "dev": 0.01},
        "model": {"dtype": "float32", "device": "cpu"},
        "adapters": {"bench": {"kind": "lora.v1"}},
        "train": {"epochs": 1, "tokens_per_step": 4096},
    }
    plan = resolve_table(table, Path.cwd() / "run.toml")
    watch = Watch()
    started = watch.stages["start"] = {"peak_mib": resource.getrusage(0).ru_maxrss / 1024}
    load(plan.data, plan.seed)
    watch.ended("reading", rows)
    space = open_workspace(plan)
    # It reads once more before it makes tokens.
    watch.ended("tokens", rows)
    watch.stages["tokens"]["seconds"] -= watch.stages["reading"]["seconds"]
    watch.stages["tokens"]["cpu_seconds"] -= watch.stages["reading"]["cpu_seconds"]
    model, _ = build(space, None)
    with tempfile.TemporaryDirectory() as run:
        loop = Loop(model, space.tokens["train"], Course(Path(run), "bench", 7, space.plan.train))
        watch.clock, watch.cpu = time.perf_counter(), time.process_time()
        loop.position = max(0, min(loop.steps // 2, loop.steps - STEPS - WARM))
        batches = loop.batches()
        first = next(batches)
        watch.ended("order", rows)
        loop.step(first)
        for _ in range(min(WARM, loop.steps - loop.position)):
            loop.step(next(batches))
        watch.clock, watch.cpu = time.perf_counter(), time.process_time()
        seen, results = 0, []
        for batch in batches:
            results.append(loop.step(batch))
            seen += sum(len(part) for part in batch)
            if len(results) == STEPS:
                break
        assert all(result.norm > 0 for result in results)
        watch.ended("steps", seen)
    tokens = space.tokens["train"]
    return {"rows": rows, "tokens": tokens.total, "start_mib": started["peak_mib"],
            "steps_of_epoch": loop.steps, "stages": watch.stages,
            "token_file_mib": sum(t.table.nbytes for t in space.tokens.values()) / MIB}  # fmt: skip


def plotted(found: list[dict[str, Any]], path: Path) -> None:
    """Draw microseconds of a row by stage, and memory, over the number of rows."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "tenon"
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    rows = [each["rows"] for each in found]
    for stage in STAGES:
        times = [1e6 * each["stages"][stage]["cpu_seconds"] / each["stages"][stage]["units"]
                 for each in found]  # fmt: skip
        left.plot(rows, times, marker="o", label=stage)
    left.set(xscale="log", yscale="log", xlabel="rows", ylabel="CPU microseconds of a row")
    left.legend()
    peaks = [each["stages"]["steps"]["peak_mib"] for each in found]
    right.plot(rows, peaks, marker="o", label="most that was resident")
    right.plot(rows, [each["token_file_mib"] for each in found], marker="o",
               label="of it at most: the mapped tokens")  # fmt: skip
    right.set(xscale="log", xlabel="rows", ylabel="MiB", ylim=(0, None))
    right.legend()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure each number of rows in a process of its own, or draw what was measured."""
    asked = arguments()
    sys.path.insert(0, str(HERE))
    os.environ.setdefault("TENON_CACHE", str(asked.folder / "cache"))
    if asked.one:
        print("found", json.dumps(measured(asked, asked.one)))
        return
    if asked.plot:
        found = json.loads(asked.plot.read_text(encoding="utf-8"))["found"]
        plotted(found, asked.plot.with_suffix(".svg"))
        return
    base_of(asked.folder)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                            cwd=HERE, check=False).stdout.strip()  # fmt: skip
    result: dict[str, Any] = {"commit": commit, "machine": platform.machine(), "found": []}
    for rows in asked.rows:
        file_of(asked, rows)
        command = [sys.executable, __file__, "--one", str(rows), "--folder", str(asked.folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        line = next(line for line in done.stdout.splitlines() if line.startswith("found "))
        result["found"].append(json.loads(line.removeprefix("found ")))
        print(json.dumps(result["found"][-1], indent=1), flush=True)
        if asked.out:
            asked.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
