"""Steps of an encoder-decoder on a CPU: rows packed, padded by length, and padded as they come.

    python benchmarks/sided.py --out result.json

A T5 of random weights (6 + 6 layers, 512 hidden units), LoRA in its defaults, 32 rows a step with
sources of lognormal lengths and answers of 0.6 to 1.3 times their tokens. The ways take turns in
one process, forward and backward of the same rows; CPU seconds of one thread. Padded rows are
computed 8 at once, which pads less than 32 would; `as they come` is what a padding collator gives.
Gradients are asserted to be other than zero.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import T5Config, T5ForConditionalGeneration

from tenon.adapters.kind import settle
from tenon.model.attach import attach
from tenon.model.base import Base
from tenon.model.seq2seq import Seq2Seq
from tenon.model.settings import ModelSettings
from tenon.model.trunk import load
from tenon.text.batch import Batch

ROWS, VOCABULARY = 32, 8000
WAYS = ("padded as they come", "padded by length", "packed by length")


def step_of(random: np.random.Generator, mean: float) -> list[tuple[np.ndarray, int]]:
    """Draw the rows of a step: ids, and how many of them are source."""
    rows = []
    for source in (
        random.lognormal(np.log(mean) - 0.18, 0.6, ROWS).astype(int).clip(4, 400).tolist()
    ):
        answer = max(2, int(source * random.uniform(0.6, 1.3)))
        rows.append((random.integers(2, VOCABULARY, source + answer), source))
    return rows


def batch_of(rows: list[tuple[np.ndarray, int]]) -> Batch:
    weights = [np.r_[np.zeros(source), np.ones(len(ids) - source)] for ids, source in rows]
    return Batch(
        torch.from_numpy(np.concatenate([ids for ids, _ in rows])),
        None,
        tuple(len(ids) for ids, _ in rows),
        torch.from_numpy(np.concatenate(weights)).float(),
        np.arange(len(rows)),
    )


def parts_of(rows: list[tuple[np.ndarray, int]], *, sort: bool) -> list[Batch]:
    """Give a step as micro-batches of 8 rows, of like lengths or not."""
    ordered = sorted(rows, key=lambda row: len(row[0])) if sort else rows
    return [batch_of(ordered[first : first + 8]) for first in range(0, len(ordered), 8)]


def take(model: Seq2Seq, batches: list[Batch]) -> float:
    for parameter in model.trainable().values():
        parameter.grad = None
    begun = time.process_time()
    for each in batches:
        model.nats(each).backward()
    took = time.process_time() - begun
    assert any(p.grad is not None and p.grad.any() for p in model.trainable().values())
    return took


def measure(folder: Path, dtype: str, mean: float, rounds: int) -> dict[str, Any]:
    trunk = load(Base("t5", folder), ModelSettings(device="cpu", dtype=dtype), writes=True)
    assert trunk.packed, trunk.why
    model = Seq2Seq(trunk, attach(trunk, settle("bench", {"kind": "lora.v1"}), seed=1).peft)
    model.train()
    random, rates = np.random.default_rng(7), {way: [] for way in WAYS}
    for turn in range(rounds + 1):
        rows = step_of(random, mean)
        tokens = sum(len(ids) for ids, _ in rows)
        for way in WAYS:
            model.trunk = replace(trunk, packed=way.startswith("packed"))
            sort = way.endswith("length")
            whole = way.startswith("packed")
            ordered = sorted(rows, key=lambda row: len(row[0]))
            given = [batch_of(ordered)] if whole else parts_of(rows, sort=sort)
            took = take(model, given)
            if turn:  # the first is slower than any other
                rates[way].append(tokens / took)
    first = rates[WAYS[0]]
    return {
        way: {
            "tokens_per_second": statistics.median(held),
            "ratio": [f(a / b for a, b in zip(held, first, strict=True))
                      for f in (min, lambda each: statistics.median(list(each)), max)],
        }
        for way, held in rates.items()
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"torch": torch.__version__}
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        T5ForConditionalGeneration(
            T5Config(vocab_size=VOCABULARY, decoder_start_token_id=0, pad_token_id=0)
        ).save_pretrained(folder)
        for dtype in ("float32", "bfloat16"):
            for mean in (15.0, 60.0):
                name = f"{dtype}, sources of {mean:g} tokens"
                found[name] = measure(Path(folder), dtype, mean, given.rounds)
                for way, held in found[name].items():
                    told = " / ".join(f"{ratio:.2f}" for ratio in held["ratio"])
                    rate = held["tokens_per_second"]
                    print(f"{name:34s} {way:20s} {rate:8,.0f} tokens/s  {told}", flush=True)
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
