"""Train a classifier on a GPU with Tenon, its passes replayed or not, and with PEFT + Trainer.

    python benchmarks/gpu_rows.py --rounds 3 --out result.json
    python benchmarks/gpu_rows.py --device cpu --rounds 1 --seconds 0.5 --bases tiny

Bases of random weights in the shapes of all-MiniLM-L6-v2, of BERT-base and of a small decoder; rows
of lognormal lengths, LoRA of rank 8 on all linear layers of the blocks, 32 rows a step, bfloat16.
Ways take turns in one process; the ratio is taken within a round. Gradients are asserted to be
other than zero.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import transformers

from tenon.adapters.kind import settle
from tenon.model.attach import attach
from tenon.model.base import Base
from tenon.model.classifier import Classifier
from tenon.model.fused import fuse
from tenon.model.head import Head
from tenon.model.settings import ModelSettings
from tenon.model.trunk import load
from tenon.text.tokens import SCHEMA, Tokens
from tenon.train.loop import Course, Loop
from tenon.train.settings import TrainSettings

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
RANK, ROWS, LABELS, RATE, LONGEST = 8, 32, 12, 1e-3, 512
WARM = 80
"""Steps that are not timed: sizes are recorded as they are met."""
ENCODER = ["query", "key", "value", "dense"]
DECODER = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def config_of(name: str) -> Any:
    bert = transformers.BertConfig
    shapes: dict[str, Callable[[], Any]] = {
        "tiny": lambda: bert(hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                             intermediate_size=64, vocab_size=600),
        "minilm": lambda: bert(hidden_size=384, num_hidden_layers=6, num_attention_heads=12,
                               intermediate_size=1536),
        "bert-base": bert,
        "decoder": lambda: transformers.Qwen3Config(
            vocab_size=32_000, hidden_size=384, num_hidden_layers=8, num_attention_heads=6,
            num_key_value_heads=2, head_dim=64, intermediate_size=1_152, pad_token_id=0,
            tie_word_embeddings=True),
    }  # fmt: skip
    return shapes[name]()


def rows_of(count: int, mean: float) -> list[dict[str, Any]]:
    """Make up rows: ids and a label."""
    random, spread = np.random.default_rng(7), 0.6
    lengths = random.lognormal(math.log(mean) - spread**2 / 2, spread, count).astype(int)
    return [
        {"input_ids": random.integers(1, 500, length).tolist(),
         "labels": int(random.integers(LABELS))}
        for length in lengths.clip(4, LONGEST).tolist()
    ]  # fmt: skip


def tokens_of(rows: list[dict[str, Any]]) -> Tokens:
    count = len(rows)
    columns: dict[str, list[Any]] = {field.name: [None] * count for field in SCHEMA}
    columns |= {
        "id": [f"r{n}" for n in range(count)],
        "origin": [f"made.jsonl:{n + 1}" for n in range(count)],
        "text": [""] * count,
        "example": list(range(count)),
        "ids": [row["input_ids"] for row in rows],
        "cut": [0] * count,
        "targets": [[float(row["labels"])] for row in rows],
    }
    arrays = [pa.array(columns[field.name], field.type) for field in SCHEMA]
    batch = pa.record_batch(arrays, schema=SCHEMA)
    return Tokens(pa.Table.from_batches([batch], schema=SCHEMA), LONGEST)


def wait() -> None:
    if OPTIONS.device == "cuda":
        torch.cuda.synchronize()


class WithTenon:
    """Tenon's loop."""

    def __init__(self, folder: Path, rows: list[dict[str, Any]], *, graphs: bool) -> None:
        settings = ModelSettings(device=OPTIONS.device, dtype="bfloat16", batches="packed")
        trunk = load(Base("bench", folder), settings)
        held = attach(trunk, settle("bench", {"kind": "lora.v1", "rank": RANK}), seed=1)
        if graphs:
            fuse(trunk)
        head = Head(trunk.hidden_size, LABELS, normalize=False, bias=True)
        model = Classifier(trunk, held.peft, head, "last" if trunk.decoder else "mean")
        tokens = tokens_of(rows)
        course = Course(
            Path(tempfile.mkdtemp()), "bench", 7,
            TrainSettings(
                learning_rate=RATE, head_learning_rate=RATE, warmup=0.0, schedule="constant",
                epochs=10_000, tokens_per_step=ROWS * int(tokens.lengths_R.mean()),
            ),
            unrecorded="" if graphs else "plain",
        )  # fmt: skip
        self.loop = Loop(model, tokens, course)
        self.steps = self.loop.batches()
        model.train()
        self.warm = WARM

    def take(self, seconds: float) -> tuple[int, float]:
        for _ in range(self.warm):
            assert self.loop.step(next(self.steps)).norm > 0
        self.warm, tokens = 2, 0
        wait()
        begun = time.perf_counter()
        while time.perf_counter() - begun < seconds:
            tokens += self.loop.step(next(self.steps)).tokens
        wait()
        return tokens, time.perf_counter() - begun

    @property
    def notes(self) -> list[str]:
        return self.loop.passes.notes


class WithTrainer:
    """PEFT and Trainer as in their documentation, in bfloat16."""

    notes: tuple[str, ...] = ()

    def __init__(self, folder: Path, rows: list[dict[str, Any]], *, grouped: bool) -> None:
        from peft import LoraConfig, get_peft_model

        base = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=LABELS
        )
        base.config.pad_token_id = 0
        layers = DECODER if base.config.model_type == "qwen3" else ENCODER
        config = LoraConfig(task_type="SEQ_CLS", r=RANK, target_modules=layers)
        self.model, self.rows = get_peft_model(base, config), rows
        self.grouped = grouped

    def take(self, seconds: float) -> tuple[int, float]:
        model, seen, took = self.model, [], [0.0]

        class Clock(transformers.TrainerCallback):
            steps = 0

            def on_pre_optimizer_step(self, *_: object, **__: object) -> None:
                if not self.steps:
                    assert sum(float(p.grad.abs().sum()) for p in model.parameters()
                               if p.grad is not None) > 0  # fmt: skip

            def on_step_end(self, _: object, __: object, control: Any, **___: object) -> None:
                self.steps += 1
                if self.steps == 3:
                    wait()
                    seen.clear()
                    self.begun = time.perf_counter()
                elif self.steps > 3 and time.perf_counter() - self.begun > seconds:
                    wait()
                    took[0] = time.perf_counter() - self.begun
                    control.should_training_stop = True

        def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
            longest = max(len(row["input_ids"]) for row in rows)
            seen.append(sum(len(row["input_ids"]) for row in rows))
            fill = [longest - len(row["input_ids"]) for row in rows]
            pairs = list(zip(rows, fill, strict=True))
            return {
                "input_ids": torch.tensor([row["input_ids"] + [0] * n for row, n in pairs]),
                "attention_mask": torch.tensor(
                    [[1] * len(row["input_ids"]) + [0] * n for row, n in pairs]
                ),
                "labels": torch.tensor([row["labels"] for row in rows]),
            }

        order = "group_by_length" if self.grouped else "random"
        args = transformers.TrainingArguments(
            output_dir=tempfile.mkdtemp(), per_device_train_batch_size=ROWS, learning_rate=RATE,
            bf16=True, num_train_epochs=10_000, report_to=[], save_strategy="no",
            logging_strategy="no", train_sampling_strategy=order, disable_tqdm=True,
            use_cpu=OPTIONS.device == "cpu",
        )  # fmt: skip
        transformers.Trainer(
            model=model, args=args, train_dataset=self.rows, data_collator=collate,
            callbacks=[Clock()],
        ).train()  # fmt: skip
        return sum(seen), took[0]


WAYS: dict[str, Callable[[Path, list[dict[str, Any]]], Any]] = {
    "trainer": lambda f, r: WithTrainer(f, r, grouped=False),
    "trainer_grouped": lambda f, r: WithTrainer(f, r, grouped=True),
    "tenon_plain": lambda f, r: WithTenon(f, r, graphs=False),
    "tenon": lambda f, r: WithTenon(f, r, graphs=True),
}


def measure(base: str, mean: float, folder: Path) -> dict[str, Any]:
    """Let the ways take turns."""
    from accelerate.state import AcceleratorState, GradientState

    rows = rows_of(4096, mean)
    ways: dict[str, Any] = {}
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(OPTIONS.rounds):
        for name, make in WAYS.items():
            AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001
            GradientState._reset_state()  # noqa: SLF001
            way = ways[name] if name in ways else ways.setdefault(name, make(folder, rows))
            if isinstance(way, WithTenon):
                from accelerate import Accelerator

                way.loop.accelerator = Accelerator(
                    cpu=OPTIONS.device == "cpu", mixed_precision="no"
                )
            tokens, seconds = way.take(OPTIONS.seconds)
            rates[name].append(tokens / seconds)
    found = {}
    for name, held in rates.items():
        ratios = [one / other for one, other in zip(held, rates["trainer"], strict=True)]
        found[name] = {"tokens_per_second": spread(held), "to_trainer": spread(ratios),
                       "notes": list(ways[name].notes)}  # fmt: skip
        said = ", ".join(f"{value:.2f}" for value in found[name]["to_trainer"].values())
        print(f"{base:10s} {mean:4.0f} tokens a row  {name:16s} "
              f"{statistics.median(held):10,.0f} tokens/s  x {said}  {ways[name].notes}",
              flush=True)  # fmt: skip
    return found


def spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def main() -> None:
    where = torch.cuda.get_device_name() if OPTIONS.device == "cuda" else "cpu"
    told: dict[str, Any] = {"machine": {"device": where, "torch": torch.__version__,
                                        "transformers": transformers.__version__}}  # fmt: skip
    for base in OPTIONS.bases.split(","):
        with tempfile.TemporaryDirectory() as folder:
            torch.manual_seed(0)
            transformers.AutoModel.from_config(config_of(base)).save_pretrained(folder)
            for mean in map(float, OPTIONS.means.split(",")):
                told[f"{base}, {mean:g} tokens a row"] = measure(base, mean, Path(folder))
                if OPTIONS.out:
                    OPTIONS.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bases", default="minilm,bert-base,decoder")
    parser.add_argument("--means", default="15,100", help="tokens of a row")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of a turn")
    parser.add_argument("--out", type=Path)
    OPTIONS = parser.parse_args()
    main()
