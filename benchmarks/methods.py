"""Every kind of adapter, at its defaults, on the same rows: scores, sizes, seconds a step.

    python benchmarks/methods.py --shared ../shared --base MODEL --out runs/methods
    python benchmarks/methods.py --shared ../shared --base MODEL --only lora.v1,ia3.v1
    python benchmarks/methods.py --page benchmarks/results/methods-h100.json

A method is a kind, or a preset of the bottleneck family. `scores` are whole runs of `tenon train`,
`--workers` of them at once. `times` are the first steps of fresh runs in this process, one at a
time, the methods in turns: the median of a round. `--page` prints the table of methods.md and draws
its plot beside the results.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from sets import SEED, prepare

from tenon.adapters.bottleneck_kind import PRESETS
from tenon.adapters.kind import KINDS
from tenon.core.errors import TenonError
from tenon.plan.resolve import resolve
from tenon.train.loop import Loop
from tenon.verbs.train import build, course_of
from tenon.verbs.workspace import open_workspace

SETS = {"banking": "text-classification", "entities": "token-classification"}
LARGE = 1_000_000
TIMED_ROWS = 600
WARM, TIMED_STEPS = 3, 12


def methods() -> dict[str, dict[str, str]]:
    """Give the settings of each method, by name."""
    own = [name for name, kind in KINDS if name != "bottleneck.v1" and kind.compound is None]
    kinds = {name: {"kind": name} for name in own}
    return kinds | {name: {"kind": "bottleneck.v1", "preset": name} for name in PRESETS}


def write_plan(file: Path, base: str, data: str, method: dict[str, str], *, rows: str) -> Path:
    """Write the plan of one run."""
    lines = [f"base = {json.dumps(base)}", f"seed = {SEED}", "[adapters.it]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in method.items()]
    lines += ["[data]", f'task = "{SETS[data]}"', f"train = {json.dumps(f'{data}.{rows}.jsonl')}"]
    lines += [] if rows == "few" else [f'test = "{data}.test.jsonl"']
    lines += ["[evaluate]", "against = []"] if rows == "few" else []
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def run(file: Path, out: Path) -> dict[str, Any]:
    """Carry out one run in a process of its own; give what its report says, or its error."""
    argv = [sys.executable, "-c", "from tenon.cli import main; main()", "train", str(file),
            "--out", str(out), "--resume", "never", "--quiet"]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": done.stderr.strip()[-2_000:]}
    report = json.loads((out / "report" / "report.json").read_text(encoding="utf-8"))
    name, interval = next(iter(report["metrics"]["test"].items()))
    size = sum(file.stat().st_size for file in (out / "adapter").glob("*.safetensors"))
    return {"score": name, **interval, **report["cost"], "bytes": size}


def scores(out: Path, base: str, chosen: dict[str, dict[str, str]], sets: list[str], workers: int):
    """Run every method on every set, several at once."""
    jobs = [(data, name) for name in chosen for data in sets]

    def one(job: tuple[str, str]) -> dict[str, Any]:
        data, name = job
        file = write_plan(out / f"{data}-{name}.toml", base, data, chosen[name], rows="train")
        found = run(file, out / data / name) | {"set": data, "method": name}
        print(json.dumps(found), flush=True)
        return found

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, jobs))


def times(out: Path, base: str, chosen: dict[str, dict[str, str]], rounds: int):
    """Time the steps of every method on the same rows, in turns."""
    lines = (out / "banking.train.jsonl").read_text(encoding="utf-8").splitlines()
    (out / "banking.few.jsonl").write_text("\n".join(lines[:TIMED_ROWS]) + "\n", encoding="utf-8")
    found: list[dict[str, Any]] = []
    for turn in range(rounds):
        for name, method in chosen.items():
            file = write_plan(out / f"{name}.few.toml", base, "banking", method, rows="few")
            try:
                seconds = step_seconds(file, out / "times" / name)
            except TenonError as error:
                found.append({"method": name, "round": turn, "error": str(error)})
                continue
            found.append({"method": name, "round": turn, "step_seconds": seconds})
    return found


def step_seconds(file: Path, folder: Path) -> float:
    """Give the median time of some steps of a fresh run, the first ones not counted."""
    space = open_workspace(resolve(file))
    model, _ = build(space, None)
    loop = Loop(model, space.tokens["train"], course_of(space, folder, None))
    model.train()
    taken: list[float] = []
    for batches in islice(loop.batches(), WARM + TIMED_STEPS):
        begun = time.perf_counter()
        loop.step(batches)  # reads the loss, so that the device has done its work
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[WARM:])


def page(file: Path) -> None:
    """Print the table of a result, best sum of scores first, and draw scores over sizes."""
    by_method: dict[str, dict[str, dict[str, Any]]] = {}
    held = json.loads(file.read_text(encoding="utf-8"))
    taken: dict[str, list[float]] = {}
    for each in held.get("times", []):
        taken.setdefault(each["method"], []).append(each["step_seconds"])
    for each in held["scores"]:
        by_method.setdefault(each["method"], {})[each["set"]] = each
    for name, sets in sorted(
        by_method.items(), key=lambda m: -sum(s["value"] for s in m[1].values())
    ):
        told = [
            f"{100 * s['value']:.1f} ({100 * s['low']:.1f}–{100 * s['high']:.1f})"  # noqa: RUF001
            for s in (sets[data] for data in SETS)
        ]
        first = sets["entities"]
        size = f"{first['trainable_parameters']:,} | {first['bytes'] / 2**20:.2f} | "
        peak = f"{first['peak_bytes'] / 2**20:.0f}"
        step = f"{1e3 * min(taken[name]):.0f}" if name in taken else ""
        print(f"| `{name}` | {' | '.join(told)} | {size}{peak} | {step} |")
    draw(by_method, file.with_suffix(".svg"))


def draw(by_method: dict[str, dict[str, dict[str, Any]]], file: Path) -> None:
    """Draw the score of each method over its trained parameters, a panel for each set."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "methods"
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(SETS), figsize=(13, 6.5), layout="constrained")
    for panel, data in zip(panels, SETS, strict=True):
        for name, sets in by_method.items():
            each = sets[data]
            x, y = each["trainable_parameters"], 100 * each["value"]
            spread = [[y - 100 * each["low"]], [100 * each["high"] - y]]
            colour = "#b3541e" if name in PRESETS else "#1f5f8b"
            panel.errorbar(x, y, spread, fmt="o", ms=4, color=colour, ecolor="#d8d8d8", lw=1)
            panel.annotate(name.removesuffix(".v1"), (x, y), (4, 3), textcoords="offset points",
                           fontsize=7)  # fmt: skip
        panel.set(xscale="log", xlabel="trained parameters, head included")
        panel.set_ylabel(f"{next(iter(by_method.values()))[data]['score']} of {data}, %")
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    """Measure what is asked for, and write `methods.json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--base", default="")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/methods"))
    parser.add_argument("--only", default="")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rows", type=int, default=LARGE)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--times", action="store_true", help="no scores")
    options = parser.parse_args()
    if options.page:
        page(options.page)
        return
    if not options.base:
        parser.error("--base is missing")
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    prepare(options.shared.resolve() / "data", out, options.rows, LARGE)
    every = methods()
    chosen = {name: every[name] for name in options.only.split(",")} if options.only else every
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    base = options.base if "/" not in options.base else str(Path(options.base).resolve())
    file = out / "methods.json"
    found: dict[str, Any] = {}
    if not options.times:
        sets = options.sets.split(",")
        found = {"scores": scores(out, base, chosen, sets, options.workers)}
        file.write_text(json.dumps(found, indent=1), encoding="utf-8")
    found["times"] = times(out, base, chosen, options.rounds)
    file.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
