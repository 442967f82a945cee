"""Eight adapters of one base in one run, against eight runs: wall time, memory, scores.

    python benchmarks/joint.py --shared ../shared --out runs/joint --rounds 3

The eight differ in task, kind, rank and rate. `together` is one `tenon train` of a plan file with
all of them; `apart` is a `tenon train` of each, one after another. Whole processes are timed, the
ways take turns, and the scores of both are written beside each other.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import random
import shutil
import statistics
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROWS, TEST_ROWS = 1_500, 600
SEED = 7
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


def texts(data: Path) -> Iterator[tuple[str, str, list[dict[str, Any]], list[dict[str, Any]]]]:
    """Yield name, task, rows of train and rows of test of each set."""
    for name, folder in (("banking", "banking77"), ("films", "sst2")):
        parts = []
        for part in ("train", "test"):
            suffix = "csv" if folder == "banking77" else "tsv"
            with (data / folder / f"{part}.{suffix}").open(encoding="utf-8") as file:
                plain = suffix == "tsv"
                quoting = csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL
                rows = list(csv.reader(file, delimiter="\t" if plain else ",", quoting=quoting))
            pairs = [(row[0], row[1]) for row in rows if len(row) == 2 and row[1] != "category"]
            if folder == "sst2":
                pairs = [p if p[1] in "01" else p[::-1] for p in pairs]
            parts.append([{"text": text, "label": label} for text, label in pairs])
        yield name, "text-classification", *parts
    clinc = json.loads((data / "clinc150" / "data_full.json").read_text(encoding="utf-8"))
    yield (
        "intents",
        "text-classification",
        *(
            [{"text": text, "label": label} for text, label in clinc[part]]
            for part in ("train", "test")
        ),
    )
    with zipfile.ZipFile(data / "chnsenticorp" / "chnsenticorp.zip") as archive:
        names = {Path(name).stem: name for name in archive.namelist() if name.endswith(".tsv")}
        parts = []
        for part in ("train", "test"):
            lines = io.TextIOWrapper(archive.open(names[part]), encoding="utf-8")
            rows = [line.rstrip("\n").split("\t", 1) for line in lines]
            parts.append([{"text": r[1], "label": r[0]} for r in rows if r[0] in ("0", "1")])
    yield "reviews", "text-classification", *parts
    slots = [json.loads((data / "restaurant8k" / f"{part}.json").read_text(encoding="utf-8"))
             for part in ("train_2", "test")]  # fmt: skip
    yield "slots", "token-classification", *([_spans(row) for row in part] for part in slots)
    yield "kinds", "multi-label-classification", *([_kinds(row) for row in part] for part in slots)
    yield (
        "entities",
        "token-classification",
        *(
            list(_sentences(data / "wnut17" / name))
            for name in ("wnut17train.conll", "emerging.test.annotated")
        ),
    )
    gsm8k = [(data / "gsm8k" / f"{part}.jsonl").read_text(encoding="utf-8").split("\n")
             for part in ("train", "test")]  # fmt: skip
    yield "steps", "text-regression", *([_steps(line) for line in part if line] for part in gsm8k)


def _spans(row: dict[str, Any]) -> dict[str, Any]:
    spans = [
        {"start": s["valueSpan"].get("startIndex", 0), "end": s["valueSpan"]["endIndex"],
         "label": s["slot"]} for s in row.get("labels", [])
    ]  # fmt: skip
    return {"text": row["userInput"]["text"], "spans": spans}


def _kinds(row: dict[str, Any]) -> dict[str, Any]:
    found = sorted({span["slot"] for span in row.get("labels", [])})
    return {"text": row["userInput"]["text"], "labels": found}


def _steps(line: str) -> dict[str, Any]:
    row = json.loads(line)
    return {"text": row["question"], "score": row["answer"].count("<<") + 0.5}


def _sentences(path: Path) -> Iterator[dict[str, Any]]:
    tokens: list[tuple[str, str]] = []
    for line in [*path.read_text(encoding="utf-8").split("\n"), ""]:
        cells = line.split("\t")
        if line.strip() and len(cells) > 1:
            tokens.append((cells[0], cells[1]))
        elif tokens:
            yield {"tokens": [t for t, _ in tokens], "tags": [tag for _, tag in tokens]}
            tokens = []


def prepare(data: Path, out: Path, rows: int) -> dict[str, str]:
    """Write a sample of each set; give the adapters' tasks."""
    tasks: dict[str, str] = {}
    for name, task, train, test in texts(data):
        tasks[name] = task
        drawn = random.Random(SEED)
        for part, held, most in (("train", train, rows), ("test", test, TEST_ROWS)):
            usable = [row for row in held if str(row.get("text", "-")).strip()]
            chosen = drawn.sample(usable, min(most, len(usable)))
            if part == "train":
                known = {str(row.get("label")) for row in chosen}
            else:
                chosen = [row for row in chosen if str(row.get("label")) in known]
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in chosen)
            (out / f"{name}.{part}.jsonl").write_text(lines, encoding="utf-8")
    return tasks


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
    tasks = prepare(options.shared.resolve() / "data", out, options.rows)
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
