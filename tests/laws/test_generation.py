"""The laws of a base that writes its answers: no head of ours, the adapter alone is trained."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import PeftModel
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

from attached import KIND_NAMES, TABLES, WIDE
from runs import Keeping, base_digests, equal, log, weights
from tenon.adapters import pack
from tenon.adapters.kind import settle
from tenon.evaluate.answerer import open_answerer
from tenon.evaluate.generate import generate
from tenon.model.attach import attach
from tenon.model.trunk import padded
from tenon.model.writer import IGNORED, Writer
from tenon.text.order import micro_batches
from tenon.train import optim
from tenon.train.loop import Course, Loop, step_seed
from writers import (
    DECODERS,
    causal_folder,
    examples,
    gradients,
    pairs,
    save,
    settings,
    tokens_of,
    whole,
    writer,
)

SEED = 9
EVERY = [(arch, which) for arch in DECODERS for which in KIND_NAMES]


@pytest.fixture(scope="module")
def base_of(tmp_path_factory):
    cache = tmp_path_factory.mktemp("decoders")
    return lambda arch: causal_folder(cache, arch)


def laid(model: Writer, *, packed: bool) -> Writer:
    model.trunk = replace(model.trunk, packed=packed)
    return model


@pytest.mark.cells
@pytest.mark.parametrize(("arch", "which"), EVERY)
def test_l1_a_fresh_adapter_changes_no_loss_and_no_answer(arch, which, base_of):
    model = writer(base_of(arch), adapter=False)
    tokens = tokens_of(base_of(arch))
    prompts = [[5, 6, 7], [8], [9, 10, 11, 12, 13]]
    asked = {"stop_ids": (2,), "max_new_tokens": 8, "batch_tokens": 99}
    assert model.trunk.packed

    def told(of: Writer):
        with torch.no_grad():
            ways = [laid(of, packed=packed).nats_U(whole(tokens)) for packed in (True, False)]
        return ways, [said.ids for said in generate(of, prompts, **asked)]

    losses, answers = told(model)
    held = attach(model.trunk, settle("mood", TABLES[which]), seed=1)
    fresh, same = told(Writer(model.trunk, held.peft).eval())
    assert all(torch.equal(a, b) for a, b in zip(losses, fresh, strict=True))
    assert answers == same and any(answers)


@pytest.mark.cells
@pytest.mark.parametrize(("arch", "which"), EVERY)
def test_l2_training_leaves_every_byte_of_the_base(arch, which, base_of, tmp_path):
    model = writer(base_of(arch), which, **WIDE[which])
    trained = set(model.trainable())

    before, adapter = base_digests(model), weights(model)
    assert trained and not any(name.startswith("head.") for name in trained)
    assert sum(p.numel() for n, p in model.named_parameters() if n in before) == (
        model.trunk.parameters
    )
    Loop(model, tokens_of(base_of(arch)), Course(tmp_path, "plan", 1, settings(epochs=3))).run()
    assert base_digests(model) == before
    changed = [name for name, old in adapter.items() if not torch.equal(old, weights(model)[name])]
    assert changed == list(adapter)


@pytest.mark.parametrize(
    ("arch", "which"), [*((arch, "lora") for arch in DECODERS), ("llama", "houlsby")]
)
def test_l4_a_resumed_run_is_the_run_that_was_never_stopped(arch, which, base_of, tmp_path):
    tokens = tokens_of(base_of(arch))
    rules = settings(epochs=2, save_every=1, evaluate_every=3, tokens_per_step=100)
    course = Course(tmp_path / "whole", "plan", 5, rules)
    copies = tmp_path / "copies"

    copies.mkdir()
    first = Loop(
        writer(base_of(arch), which, dropout=0.1),
        tokens,
        replace(course, progress=Keeping(course.run, copies)),
    )
    first.run()
    assert first.steps >= 6
    for stopped in (1, first.steps // 2, first.steps - 1):
        model = writer(base_of(arch), which, dropout=0.1)
        again = Loop(model, tokens, replace(course, run=copies / str(stopped)))
        again.resume()
        assert again.position == stopped
        again.run()
        assert equal(weights(model), weights(first.model))
        assert log(copies / str(stopped)) == log(course.run)


@pytest.mark.cells
@pytest.mark.parametrize(("arch", "which"), EVERY)
def test_l5_packing_padding_and_micro_batches_change_nothing(arch, which, base_of):
    model = writer(base_of(arch), which, shaken=True, dropout=0.0)
    tokens = tokens_of(base_of(arch))
    rows = np.arange(len(tokens))
    parts = [whole(tokens, part) for part in micro_batches(rows, tokens.lengths_R, 37)]
    expected = gradients(laid(model, packed=False), [whole(tokens)])
    for packed, batches in ((True, [whole(tokens)]), (True, parts), (False, parts)):
        found = gradients(laid(model, packed=packed), batches)
        for name, tensor in expected.items():
            size = max(float(tensor.abs().max()), 1e-3)
            assert float((found[name] - tensor).abs().max()) <= 1e-5 * size, name


def test_the_scores_of_chunks_are_those_of_all(base_of, monkeypatch):
    """Scores that are too many to be held are computed again on the way back."""
    model = writer(base_of("llama"), shaken=True)
    tokens = tokens_of(base_of("llama"))
    expected = gradients(model, [whole(tokens)])
    monkeypatch.setattr("tenon.model.writer.CHUNK_SCORES", 700)
    found = gradients(model, [whole(tokens)])
    assert all(torch.allclose(found[n], t, rtol=1e-5, atol=1e-7) for n, t in expected.items())


@pytest.mark.parametrize("arch", DECODERS)
def test_the_loss_is_that_of_transformers(arch, base_of):
    tokens = tokens_of(base_of(arch))
    model, theirs = (
        writer(base_of(arch), adapter=False),
        AutoModelForCausalLM.from_pretrained(base_of(arch)),
    )
    given = inputs(model, tokens, np.arange(len(tokens)))
    with torch.no_grad():
        ours = model.nats(whole(tokens)) / model.targets(whole(tokens))
        expected = theirs.eval()(**given).loss
    assert float(abs(ours - expected)) < 1e-5 * float(expected)


@pytest.mark.cells
@pytest.mark.parametrize(("arch", "which"), EVERY)
def test_l7_what_is_saved_gives_the_same(arch, which, base_of, tmp_path):
    """Ours bitwise; PEFT on AutoModelForCausalLM the same logits and the same answers."""
    base = base_of(arch)
    model = writer(base, which, shaken=True)
    saved = save(model, base, tmp_path / "mood", which)
    given = examples(pairs(6), answered=False)
    here = open_answerer(saved)
    tokens = tokens_of(base)
    with torch.no_grad():
        assert torch.equal(model.nats_U(whole(tokens)), here.model.nats_U(whole(tokens)))
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), saved).eval()
    asked = tokens_of(base, given)
    answers = here.answer(asked)
    for row, answer in enumerate(answers.answers):
        ids = torch.from_numpy(asked.ids(row).astype(np.int64))[None]
        with torch.no_grad():
            logits_V = theirs(input_ids=ids).logits[0, -1]
            ours_V = model.next_logits_BV(whole(asked, [row]))[0]
        torch.testing.assert_close(ours_V, logits_V, rtol=1e-5, atol=2e-5)
        out = theirs.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=9,
            pad_token_id=0, eos_token_id=2,
        )  # fmt: skip
        new = out[0, ids.shape[1] :].tolist()
        new = new[: new.index(2)] if 2 in new else new
        assert here.renderer.answer(new) == answer
    again = pack.write(tmp_path / "again", pack.read(saved), card="# mood")
    for path in saved.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


class Replay(Trainer):
    """Trainer, given the micro-batches in our order."""

    def get_train_dataloader(self):
        return DataLoader(self.train_dataset, batch_size=1, collate_fn=lambda rows: rows[0])


class Seeded(TrainerCallback):
    """Gives each step the randomness that ours has."""

    def on_step_begin(self, args, state, control, **kwargs):
        torch.manual_seed(step_seed(SEED, state.global_step))


def inputs(model: Writer, tokens, part) -> dict[str, torch.Tensor]:
    """Give a micro-batch as one gives it to a language model of transformers."""
    packed = whole(tokens, part)
    ids_BP, mask_BP, _ = padded(packed, model.trunk.pad)
    labels_BP = torch.full_like(ids_BP, IGNORED)
    labels_BP[mask_BP.bool()] = torch.where(packed.targets_X > 0, packed.ids_T, IGNORED)
    return {"input_ids": ids_BP, "attention_mask": mask_BP, "labels": labels_BP}


@pytest.mark.parametrize(
    ("arch", "which"), [*((arch, "lora") for arch in DECODERS), ("llama", "houlsby")]
)
def test_l12_weights_are_those_of_trainer_bitwise(arch, which, base_of, tmp_path):
    tokens = tokens_of(base_of(arch), examples(pairs(60)))
    rules = settings(epochs=1, clip=0.5, tokens_per_step=90, micro_batch_tokens=999)
    course = Course(tmp_path / "ours", "plan", SEED, rules)
    ours, theirs = (writer(base_of(arch), which, batches="padded", dropout=0.1) for _ in range(2))
    loop = Loop(ours, tokens, course)
    steps = list(loop.order.epoch(0))
    parts = [p for rows in steps for p in micro_batches(rows, tokens.lengths_R, 999)]
    assert len(parts) == len(steps) >= 6
    loop.run()
    optimizer = optim.adamw(theirs.trainable(), rules)
    arguments = TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, num_train_epochs=1, max_grad_norm=rules.clip,
        save_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True,
        remove_unused_columns=False,
    )  # fmt: skip
    schedule = LambdaLR(optimizer, lambda step: optim.rate(step, len(steps), rules))
    trainer = Replay(
        model=theirs,
        args=arguments,
        train_dataset=[inputs(theirs, tokens, part) for part in parts],
        optimizers=(optimizer, schedule),
        callbacks=[Seeded()],
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*pin_memory.*")
        trainer.train()
    assert equal(weights(ours), weights(theirs))
