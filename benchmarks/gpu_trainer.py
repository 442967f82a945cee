"""The rival: PEFT and transformers' Trainer, plain, by lengths, or with liger-kernel."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import torch
import transformers
from gpu_ground import (
    ALPHA,
    AT_ONCE,
    CUDA,
    RANK,
    RATE,
    ROWS,
    TARGETS,
    Setting,
    Turn,
    bytes_of,
    forget_accelerator,
    remembered,
    trainer_rows,
    wait,
)


class WithTrainer:
    """PEFT and Trainer as in their documentation: 8 rows at once, 4 times a step, bf16."""

    def __init__(self, setting: Setting, *, grouped: bool = False, liger: bool = False) -> None:
        from peft import LoraConfig, get_peft_model

        trunk = setting.fresh()
        self.liger = None
        if liger:
            from liger_kernel.transformers import apply_liger_kernel_to_qwen3
            from transformers.models.qwen3 import modeling_qwen3 as modeling

            before = dict(vars(modeling))
            apply_liger_kernel_to_qwen3(model=trunk.whole)
            put = {n: each for n, each in vars(modeling).items() if before.get(n) is not each}
            self.liger = (modeling, {name: before[name] for name in put if name in before}, put)
            self.restore(ours=True)
        config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS, task_type="CAUSAL_LM")
        self.model = get_peft_model(trunk.whole, config)
        self.model.config.use_cache = False
        self.rows = trainer_rows(setting.rows)
        self.grouped, self.turns = grouped, 0

    def restore(self, *, ours: bool) -> None:
        """Put the functions that liger replaces for all models in place, or the models' own."""
        if self.liger:
            modeling, own, theirs = self.liger
            for name, function in (own if ours else theirs).items():
                setattr(modeling, name, function)

    def take(self, seconds: float) -> Turn:
        from transformers import Trainer, TrainerCallback, TrainingArguments

        turn, seen, model, accumulated = Turn(), [], self.model, ROWS // AT_ONCE
        self.turns += 1

        class Clock(TrainerCallback):
            steps, warm = 0, 2

            def on_pre_optimizer_step(self, *_: object, **__: object) -> None:
                if self.steps == 0:
                    gradients = [p.grad for p in model.parameters() if p.requires_grad]
                    assert all(g is not None for g in gradients)
                    assert sum(float(g.abs().sum()) for g in gradients) > 0

            def on_step_end(self, _: object, __: object, control: Any, **___: object) -> None:
                self.steps += 1
                if self.steps == self.warm:
                    wait()
                    self.begun = time.perf_counter()
                elif self.steps > self.warm and time.perf_counter() - self.begun > seconds:
                    wait()
                    turn.seconds = time.perf_counter() - self.begun
                    turn.steps = self.steps - self.warm
                    control.should_training_stop = True

        def collate(rows: list[dict]) -> dict:
            longest = max(len(row["input_ids"]) for row in rows)
            fill = [longest - len(row["input_ids"]) for row in rows]
            learned = sum(label != -100 for row in rows for label in row["labels"])
            seen.append((sum(len(row["input_ids"]) for row in rows), learned))
            pairs = list(zip(rows, fill, strict=True))
            return {
                "input_ids": torch.tensor([r["input_ids"] + [0] * n for r, n in pairs]),
                "labels": torch.tensor([r["labels"] + [-100] * n for r, n in pairs]),
                "attention_mask": torch.tensor([[1] * (longest - n) + [0] * n for n in fill]),
            }

        grouping = {"train_sampling_strategy": "group_by_length"} if self.grouped else {}
        clock = Clock()
        settings = TrainingArguments(
            tempfile.mkdtemp(), per_device_train_batch_size=AT_ONCE, bf16=CUDA,
            gradient_accumulation_steps=accumulated, learning_rate=RATE, max_steps=100_000,
            lr_scheduler_type="constant", report_to=[], save_strategy="no", seed=self.turns,
            logging_strategy="no", disable_tqdm=True, remove_unused_columns=False,
            use_cpu=not CUDA, dataloader_pin_memory=CUDA, **grouping,
        )  # fmt: skip
        owned = bytes_of(self.model.parameters())
        self.restore(ours=False)
        forget_accelerator()
        with remembered(turn, owned):
            trainer = Trainer(
                model=self.model, args=settings, train_dataset=self.rows, data_collator=collate,
                callbacks=[clock],
            )  # fmt: skip
            trainer.pop_callback(transformers.trainer_callback.PrinterCallback)
            trainer.train()
        self.restore(ours=True)
        self.model.zero_grad(set_to_none=True)
        used = seen[clock.warm * accumulated : clock.steps * accumulated]
        turn.tokens, turn.learned = (sum(each) for each in zip(*used, strict=True))
        return turn
