"""L12: for a given order, our weights are those of transformers.Trainer, bit for bit."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments

from attached import KIND_NAMES
from runs import classifier, equal, settings, tokens, weights
from tenon.model.trunk import padded
from tenon.text.batch import batch
from tenon.text.order import micro_batches
from tenon.train import optim
from tenon.train.loop import Course, Loop, step_seed

SEED = 9
STEPS = 21
LENGTHS = [4, 6, 8, 10]
CASES = [
    *((arch, which) for arch in ("bert", "llama") for which in KIND_NAMES),
    *(
        (arch, which)
        for arch in ("roberta", "qwen3", "gpt2", "t5")
        for which in ("lora", "houlsby")
    ),
]
"""bert and llama take every preset, the others one of each kind."""


class Replay(Trainer):
    """Trainer, given the micro-batches in our order."""

    def get_train_dataloader(self):
        return DataLoader(self.train_dataset, batch_size=1, collate_fn=lambda rows: rows[0])


class Seeded(TrainerCallback):
    """Gives each step the randomness that ours has."""

    def on_step_begin(self, args, state, control, **kwargs):
        torch.manual_seed(step_seed(SEED, state.global_step))


def inputs(model, rows, part) -> dict[str, torch.Tensor]:
    """Give a micro-batch as one gives it to a transformers model."""
    packed = batch(rows, part)
    ids_BP, mask_BP, types_BP = padded(packed, model.trunk.pad)
    given = {"input_ids": ids_BP, "attention_mask": mask_BP, "labels": packed.classes_X}
    return given if types_BP is None else {**given, "token_type_ids": types_BP}


def train_with_trainer(model, rows, course, accumulated, out):
    loop_order = Loop(model, rows, course).order
    parts = [
        part
        for step_rows in loop_order.epoch(0)
        for part in micro_batches(step_rows, rows.lengths_R, course.settings.micro_batch_tokens)
    ]
    steps = loop_order.steps_per_epoch
    # Trainer takes as many micro-batches for each step; the last step may have fewer.
    assert -(-len(parts) // accumulated) == steps
    optimizer = optim.adamw(model.trainable(), course.settings)
    arguments = TrainingArguments(
        output_dir=str(out),
        use_cpu=True,
        num_train_epochs=1,
        gradient_accumulation_steps=accumulated,
        max_grad_norm=course.settings.clip,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    trainer = Replay(
        model=model,
        args=arguments,
        train_dataset=[inputs(model, rows, part) for part in parts],
        optimizers=(
            optimizer,
            LambdaLR(optimizer, lambda step: optim.rate(step, steps, course.settings)),
        ),
        callbacks=[Seeded()],
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*pin_memory.*")
        trainer.train()
    assert trainer.state.global_step == steps
    return optimizer


@pytest.mark.cells
@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize(("arch", "which"), CASES)
def test_weights_are_equal_bitwise(folder_of, tmp_path, arch, which, accumulated):
    rows = tokens(8 * STEPS, lengths=LENGTHS, seed=4)
    more = {"tokens_per_step": 56, "micro_batch_tokens": 40 if accumulated == 2 else 999}
    course = Course(tmp_path / "ours", "plan", SEED, settings(epochs=1, clip=0.5, **more))
    ours, theirs = (classifier(folder_of(arch), which, batches="padded") for _ in range(2))
    start = weights(ours)
    assert equal(start, weights(theirs))
    loop = Loop(ours, rows, course)
    assert loop.steps >= 20
    loop.run()
    optimizer = train_with_trainer(theirs, rows, course, accumulated, tmp_path)
    assert not any(torch.equal(start[name], value) for name, value in weights(ours).items())
    assert equal(weights(ours), weights(theirs))
    assert equal(
        optim.state_tensors(loop.optimizer, loop.parameters),
        optim.state_tensors(optimizer, theirs.trainable()),
    )


def test_unequal_micro_batches_are_weighted_by_their_rows(folder_of, tmp_path):
    """Trainer has to be told how many rows a step has; else it takes a mean of means."""
    rows = tokens(8 * STEPS, lengths=LENGTHS, seed=4)
    course = Course(tmp_path, "p", SEED, settings(tokens_per_step=56, micro_batch_tokens=40))
    loop = Loop(classifier(folder_of("bert")), rows, course)
    sizes = [[len(part) for part in parts] for parts in loop.batches()]
    assert np.mean([len(set(step)) > 1 for step in sizes]) > 0.5
