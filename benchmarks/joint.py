"""Eight adapters of one base in one run, against eight runs: wall time, memory, scores.

    python benchmarks/joint.py --shared ../shared --out runs/joint --rounds 3

The eight differ in task, kind, rank and rate. `together` is one `tenon train` of a plan file with
all of them; `apart` is a `tenon train` of each, one after another. Whole processes are timed, the
ways take turns, and the scores of both are written beside each other.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from sets import SEED, prepare

ROWS, TEST_ROWS = 1_500, 600
ADAPTERS: dict[str, dict[str, Any]] = {
    "banking": {"kind": "lora.v1", "rank": 8},
    "intents": {"kind": "lora.v1", "rank": 16, "train": {"learning_rate": 5e-4}},
    "reviews": {"kind": "bottleneck.v1", "preset": "pfeiffer"},
    "films": {"kind": "bottleneck.v1", "preset": "houlsby"},
    "entities": {"kind": "lora.v1", "rank": 4, "train": {"learning_rate": 2e-3}},
    "slots": {"kind": "bottleneck.v1", "preset": "parallel"},
    "kinds": {"kind": "lora.v1", "rank": 8, "train": {"epochs": 3}},
    "steps": {"kind": "lora.v1", "rank": 2},
}


def plan(base: str, names: list[str], tasks: dict[str, str]) -> str:
    """Give a plan file of some of the adapters."""
    lines = [f"base = {json.dumps(base)}", f"seed = {SEED}", "", "[train]", "epochs = 2"]
    for name in names:
        own = {key: value for key, value in ADAPTERS[name].items() if key != "train"}
        lines += ["", f"[adapters.{name}]", *(f"{k} = {json.dumps(v)}" for k, v in own.items())]
        lines += [f"[adapters.{name}.data]", f'task = "{tasks[name]}"',
                  f'train = "{name}.train.jsonl"', f'test = "{name}.test.jsonl"']  # fmt: skip
        own = ADAPTERS[name].get("train", {})
        if own:
            lines += [
                f"[adapters.{name}.train]",
                *(f"{k} = {json.dumps(v)}" for k, v in own.items()),
            ]
    return "\n".join(lines) + "\n"


def timed(file: Path, out: Path) -> tuple[float, float]:
    """Run `tenon train` anew; give seconds and the peak of its memory in MiB."""
    argv = [sys.executable, "-c", "from tenon.cli import main; main()", "train", str(file),
            "--out", str(out), "--resume", "never", "--quiet"]  # fmt: skip
    begun = time.perf_counter()
    process = os.posix_spawn(sys.executable, argv, os.environ)
    _, status, used = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{file}: tenon train ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - begun, used.ru_maxrss / 1024


def outcome(folder: Path) -> dict[str, Any]:
    """Give the leading score of a run and what its training took."""
    report = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))
    name, interval = next(iter(report["metrics"]["test"].items()))
    cost = report["cost"]
    return {"score": name, "value": interval["value"], "low": interval["low"],
            "high": interval["high"], "seconds": cost["seconds"], "steps": cost["steps"],
            "tokens": cost["tokens"], "peak_bytes": cost["peak_bytes"]}  # fmt: skip


def main() -> None:
    """Measure both ways, in turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--base", default="")
    parser.add_argument("--out", type=Path, default=Path("runs/joint"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=ROWS)
    options = parser.parse_args()
    out = options.out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    base = options.base or str(options.shared.resolve() / "models" / "tenon-small-encoder")
    tasks = prepare(options.shared.resolve() / "data", out, options.rows, TEST_ROWS)
    (out / "together.toml").write_text(plan(base, list(ADAPTERS), tasks))
    for name in ADAPTERS:
        (out / f"{name}.toml").write_text(plan(base, [name], tasks))
    rounds = []
    for _ in range(options.rounds):
        together = timed(out / "together.toml", out / "together")
        apart = [timed(out / f"{name}.toml", out / "apart" / name) for name in ADAPTERS]
        first = {name: outcome(out / "together" / name) for name in ADAPTERS}
        second = {name: outcome(out / "apart" / name) for name in ADAPTERS}
        rounds.append({
            "together_seconds": together[0], "apart_seconds": sum(s for s, _ in apart),
            "together_mib": together[1], "apart_mib": max(m for _, m in apart),
            "apart_mib_sum": sum(m for _, m in apart),
            "together_steps_seconds": sum(each["seconds"] for each in first.values()),
            "apart_steps_seconds": sum(each["seconds"] for each in second.values()),
            "together_peak": max(each["peak_bytes"] for each in first.values()),
            "apart_peak": max(each["peak_bytes"] for each in second.values()),
        })  # fmt: skip
        print(json.dumps(rounds[-1]), flush=True)
    for what in ("seconds", "steps_seconds"):
        ratios = [r[f"apart_{what}"] / r[f"together_{what}"] for r in rounds]
        told = f"{min(ratios):.2f} / {statistics.median(ratios):.2f} / {max(ratios):.2f}"
        print(f"apart over together, {what}: {told}")
    found = {"rounds": rounds, "together": first, "apart": second}
    (out / "joint.json").write_text(json.dumps(found, indent=1))
    for name in ADAPTERS:
        a, b = first[name], second[name]
        print(f"{name}: {a['score']} {a['value']:.4f} together, {b['value']:.4f} apart")


if __name__ == "__main__":
    main()
