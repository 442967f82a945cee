"""Small runs: models, rows and plans on tiny bases, for tests of training and of the verbs."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from attached import TABLES, WIDE
from bases import VOCAB
from tenon.adapters.kind import settle
from tenon.model import trunk as trunks
from tenon.model.attach import attach
from tenon.model.base import Base
from tenon.model.classifier import Classifier
from tenon.model.head import Head
from tenon.model.settings import ModelSettings
from tenon.plan.plan import Plan
from tenon.plan.resolve import resolve_table
from tenon.text.tokens import SCHEMA, Tokens
from tenon.train.settings import TrainSettings

LABELS = ("calm", "glad", "sad")
WORDS = ["the", "old", "red", "dog", "fox", "parcel", "river", "money", "day", "my", "it"]
TELLING = {"calm": "it is of", "glad": "best good", "sad": "worst bad"}


def classifier(
    folder: Path,
    which: str = "lora",
    *,
    batches: str = "auto",
    pooling: str = "mean",
    trunk_dropout: bool = False,
    labels: int = len(LABELS),
    quantize: str = "none",
    **own: Any,
) -> Classifier:
    """Give a fresh classifier on the base in `folder`, its adapter with dropout unless told.

    Args:
        own: settings of the adapter; one that is None is left out.
    """
    settings = ModelSettings(batches=batches, device="cpu", pooling=pooling, quantize=quantize)
    trunk = trunks.load(Base("tiny", folder), settings, pooler=pooling == "pooler")
    table = {**TABLES[which], "dropout": 0.1, **WIDE[which], **own}
    adapter = settle("mood", {name: value for name, value in table.items() if value is not None})
    attached = attach(trunk, adapter, seed=3)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        head = Head(trunk.hidden_size, labels, normalize=False, bias=True)
    return Classifier(trunk, attached.peft, head, pooling, trunk_dropout=trunk_dropout)


def tokens(
    rows: int = 40, *, seed: int = 0, lengths: Sequence[int] = range(3, 12), labelled: float = 1.0
) -> Tokens:
    """Give rows of random token ids with random labels; a share of them may have none."""
    generator = np.random.default_rng(seed)
    sizes = generator.choice(list(lengths), rows)
    labels = generator.integers(0, len(LABELS), rows)
    labels[generator.random(rows) >= labelled] = -1
    columns = {
        "id": [f"{seed}-{row}" for row in range(rows)],
        "origin": [f"made.csv:{row + 2}" for row in range(rows)],
        "text": [f"text {row}" for row in range(rows)],
        "pair": [None] * rows,
        "gold": [None] * rows,
        "example": list(range(rows)),
        "ids": [generator.integers(5, VOCAB, size).tolist() for size in sizes],
        "types": [None] * rows,
        "cut": [0] * rows,
        "targets": [[float(label)] for label in labels.tolist()],
        "starts": [None] * rows,
        "ends": [None] * rows,
        "tally": [None] * rows,
    }
    arrays = [pa.array(columns[field.name], field.type) for field in SCHEMA]
    batch = pa.record_batch(arrays, schema=SCHEMA)
    return Tokens(pa.Table.from_batches([batch], schema=SCHEMA), 64)


def settings(**more: Any) -> TrainSettings:
    """Give training settings under which every step of a small run changes the weights."""
    rates = {"learning_rate": 1e-2, "head_learning_rate": 1e-2}
    small = {"tokens_per_step": 60, "micro_batch_tokens": 40, "metric": "accuracy"}
    return TrainSettings(**{**rates, **small, **more})


def table(rows: int, seed: int = 0, noise: float = 0.2) -> str:
    """Give a CSV of texts with labels, of which a share is wrong, so that a loss remains."""
    generator = np.random.default_rng(seed)
    lines = ["text,label"]
    for row in range(rows):
        label = LABELS[row % len(LABELS)]
        words = [*generator.choice(WORDS, 3), TELLING[label], *generator.choice(WORDS, 2)]
        told = generator.choice(LABELS) if generator.random() < noise else label
        lines.append(f"{' '.join(words)} {seed}-{row},{told}")
    return "\n".join(lines) + "\n"


def project(folder: Path, base: Path, **more: Any) -> Plan:
    """Write train.csv and test.csv into `folder` and give a plan over them.

    Args:
        more: dotted settings, dots written as two underscores: `train__epochs=2`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows, seed in (("train.csv", 90, 1), ("test.csv", 30, 2)):
        if not (folder / name).exists():
            (folder / name).write_text(table(rows, seed))
    return plan(folder, base, **{"data__test": "test.csv", **more})


def plan(folder: Path, base: Path, **more: Any) -> Plan:
    """Give a plan over `folder`/train.csv whose run takes a third of a second."""
    adapter = {"kind": "lora.v1", "rank": 2, "dropout": 0.1}
    given: dict[str, Any] = {
        "base": str(base),
        "seed": 7,
        "data": {"train": "train.csv", "dev": 0.2},
        "adapters": {"mood": more.pop("adapter", adapter)},
        "train": {"epochs": 3, "tokens_per_step": 200},
        "evaluate": {"resamples": 200},
        "model": {"device": "cpu"},
    }
    for dotted, value in more.items():
        owner, _, field = dotted.rpartition("__")
        (given.setdefault(owner, {}) if owner else given)[field] = value
    return resolve_table(given, folder / "run.toml")


def log(run: Path) -> list[dict[str, Any]]:
    """Read steps.jsonl without what a clock decides."""
    lines = (run / "steps.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of named tensors are the same, bit for bit."""
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and torch.equal(first[name], second[name])
        for name in first
    )


def weights(model: Classifier) -> dict[str, torch.Tensor]:
    """Copy what training changes."""
    return {name: p.detach().clone() for name, p in model.trainable().items()}


def base_digests(model) -> dict[str, str]:
    """Digest every parameter and buffer that the adapter and the head do not own."""
    trained = set(model.trainable())
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        name: hashlib.sha256(tensor.detach().contiguous().numpy().tobytes()).hexdigest()
        for name, tensor in state.items()
        if name not in trained
    }


class Keeping:
    """Keep a copy of the run folder as each step left it."""

    def __init__(self, run, copies):
        self.run, self.copies, self.steps = run, copies, 0

    def start(self, what, total, *, done=0):
        pass

    def advance(self, n, **fields):
        # A step is told before it is saved: what lies there is what a kill at this moment leaves.
        if n:
            shutil.copytree(self.run, self.copies / str(self.steps))
            self.steps += 1
