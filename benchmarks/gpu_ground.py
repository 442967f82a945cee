"""What the ways to train on a GPU share: shapes of bases, rows, and how a turn is measured."""

from __future__ import annotations

import argparse
import contextlib
import gc
import math
import os
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
warnings.filterwarnings("ignore")

SHAPES = {
    "tiny": (2, 64, 4, 2, 16, 128, 512),
    "0.6": (28, 1024, 16, 8, 128, 3072, 151_936),
    "1.7": (28, 2048, 16, 8, 128, 6144, 151_936),
}
"""Layers, hidden, heads, heads of keys, channels of a head, inner, vocabulary."""
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
RANK, ALPHA, ROWS, SEED, RATE = 16, 32, 32, 7, 1e-4
MANY, EACH = 8, 1000


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train LoRA on a GPU: speed, use, memory.")
    parser.add_argument("--sizes", default="0.6,1.7")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a turn")
    parser.add_argument("--mean", type=int, default=200, help="tokens of a row")
    parser.add_argument("--longest", type=int, default=1024)
    parser.add_argument("--at-once", type=int, default=8, help="rows that Trainer computes at once")
    parser.add_argument("--ways", default="", help="some of them; all where left out")
    parser.add_argument("--profile", default="", help="ways of which a step is looked into")
    parser.add_argument("--joint", action="store_true", help="also eight adapters in one run")
    parser.add_argument("--eight", default="", help="ways to do so; all where left out")
    parser.add_argument("--deadline", type=float, default=1e9, help="begin nothing after it")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


OPTIONS = arguments()
AT_ONCE = OPTIONS.at_once
BEGUN = time.perf_counter()

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

from tenon.model.base import Base  # noqa: E402
from tenon.model.settings import ModelSettings  # noqa: E402
from tenon.model.trunk import Trunk, load  # noqa: E402
from tenon.text.tokens import SCHEMA, Tokens  # noqa: E402
from tenon.train.loop import Loop  # noqa: E402

CUDA = OPTIONS.device == "cuda"
DTYPE = torch.bfloat16
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def wait() -> None:
    if CUDA:
        torch.cuda.synchronize()


def log(*what: object) -> None:
    print(f"[{time.perf_counter() - BEGUN:5.0f}]", *what, flush=True)


@dataclass
class Turn:
    """What one way did in one turn: real tokens, learned ones, seconds, bytes at most."""

    tokens: int = 0
    learned: int = 0
    seconds: float = 0.0
    bytes: int = 0
    steps: int = 0
    recording: float = 0.0
    recorded: int = 0
    why: str = ""


# ------------------------------------------------------------------ rows and bases


def rows_of(count: int, seed: int) -> list[tuple[list[int], list[float]]]:
    """Make up rows: ids, and 1 for each token that is learned."""
    random, spread = np.random.default_rng(seed), 0.8
    mean = math.log(OPTIONS.mean) - spread * spread / 2
    lengths = random.lognormal(mean, spread, count).astype(int).clip(8, OPTIONS.longest)
    found = []
    for length in lengths.tolist():
        read = int(length * random.uniform(0.2, 0.6))
        ids = random.integers(1, 500, length).tolist()
        found.append((ids, [0.0] * read + [1.0] * (length - read)))
    return found


def tokens_of(rows: list[tuple[list[int], list[float]]]) -> Tokens:
    count = len(rows)
    columns: dict[str, list[Any]] = {field.name: [None] * count for field in SCHEMA}
    columns |= {
        "id": [f"r{n}" for n in range(count)],
        "origin": [f"made.jsonl:{n + 1}" for n in range(count)],
        "text": [""] * count,
        "example": list(range(count)),
        "ids": [ids for ids, _ in rows],
        "cut": [0] * count,
        "targets": [weights for _, weights in rows],
    }
    arrays = [pa.array(columns[field.name], field.type) for field in SCHEMA]
    batch = pa.record_batch(arrays, schema=SCHEMA)
    return Tokens(pa.Table.from_batches([batch], schema=SCHEMA), OPTIONS.longest)


def trainer_rows(rows: list[tuple[list[int], list[float]]]) -> list[dict[str, list[int]]]:
    """Give rows as transformers' Trainer takes them."""
    return [
        {"input_ids": ids, "labels": [i if w else -100 for i, w in zip(ids, ws, strict=True)]}
        for ids, ws in rows
    ]


def config_of(size: str) -> transformers.Qwen3Config:
    layers, hidden, heads, pairs, channels, inner, vocabulary = SHAPES[size]
    return transformers.Qwen3Config(
        num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads,
        num_key_value_heads=pairs, head_dim=channels, intermediate_size=inner,
        vocab_size=vocabulary, max_position_embeddings=4096, tie_word_embeddings=True,
        pad_token_id=0,
    )  # fmt: skip


def folder_of(size: str, cache: Path) -> Path:
    """Write a base with random weights."""
    torch.manual_seed(0)
    with torch.device(OPTIONS.device):
        model = transformers.Qwen3ForCausalLM(config_of(size))
    model.to(DTYPE).save_pretrained(cache / size)
    return cache / size


class Setting:
    """The base, its rows, and what there is of the hardware."""

    def __init__(self, size: str, cache: Path) -> None:
        self.size = size
        self.folder = folder_of(size, cache)
        self.rows = rows_of(4096 if CUDA else 256, SEED)
        self.tokens = tokens_of(self.rows)
        self.trunk = self.load()
        self.shared = dict(self.trunk.whole.named_parameters())
        inside = self.trunk.model.layers.named_parameters()
        self.body = sum(p.numel() for _, p in inside if p.dim() == 2)
        self.head = self.trunk.output.weight.numel()
        self.peak = matmul()

    def load(self) -> Trunk:
        settings = ModelSettings(device=OPTIONS.device, dtype="bfloat16", batches="packed")
        return load(Base(self.size, self.folder), settings, writes=True)

    def fresh(self) -> Trunk:
        """Give a trunk of its own modules over the shared weights."""
        trunk = self.load()
        for name, parameter in trunk.whole.named_parameters():
            parameter.data = self.shared[name].data
        return trunk

    def used(self, turn: Turn) -> float:
        """Give the share of the measured product's rate that a turn has needed."""
        needed = 4 * (self.body * turn.tokens + self.head * turn.learned)
        return needed / turn.seconds / self.peak


def matmul() -> float:
    """Give the operations a second of a product of two large matrices."""
    n = 8192 if CUDA else 512
    a, b = (torch.randn(n, n, device=OPTIONS.device, dtype=DTYPE) for _ in "ab")
    for _ in range(5):
        a @ b
    rates = []
    for _ in range(3):
        wait()
        begun = time.perf_counter()
        for _ in range(10):
            a @ b
        wait()
        rates.append(2 * n**3 * 10 / (time.perf_counter() - begun))
    return max(rates)


@contextlib.contextmanager
def remembered(turn: Turn, owned: int = 0) -> Iterator[None]:
    """Note the most bytes of a turn: what it took, and what its way holds between turns."""
    if not CUDA:
        yield
        return
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    yield
    turn.bytes = torch.cuda.max_memory_allocated() - before + owned


def forget_accelerator() -> None:
    """Let the next way choose its number format anew; accelerate keeps one for a process."""
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001
    GradientState._reset_state()  # noqa: SLF001


def renew(loops: Iterable[Loop]) -> None:
    """Give loops an accelerator as they had at first."""
    from accelerate import Accelerator

    forget_accelerator()
    for loop in loops:
        loop.accelerator = Accelerator(cpu=not CUDA, mixed_precision="no")


def bytes_of(tensors: Any) -> int:
    held = {t.data_ptr(): t.numel() * t.element_size() for t in tensors}
    return sum(held.values())
