"""The laws of encoder-decoders: an encoder reads the source, a decoder writes the answer."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import PeftModel
from torch.nn.utils.rnn import pad_sequence
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import AutoModelForSeq2SeqLM, Trainer, TrainerCallback, TrainingArguments

from attached import TABLES
from encoder_decoders import ENCODER_DECODERS, folder_of, save, seq2seq, tokens_of
from models import laid
from runs import Keeping, base_digests, equal, log, weights
from tenon.adapters import pack
from tenon.adapters.kind import settle
from tenon.evaluate.answerer import open_answerer
from tenon.evaluate.generate import generate
from tenon.model.attach import attach
from tenon.model.seq2seq import Seq2Seq
from tenon.model.writer import IGNORED
from tenon.text.batch import of_ids
from tenon.text.order import micro_batches
from tenon.train import optim
from tenon.train.loop import Course, Loop, step_seed
from writers import examples, gradients, pairs, settings, whole

SEED = 9
EVERY = [(arch, which) for arch in ENCODER_DECODERS for which in ("lora", "houlsby")]
LORA = [(arch, "lora") for arch in ENCODER_DECODERS]


@pytest.fixture(scope="module")
def base_of(tmp_path_factory):
    cache = tmp_path_factory.mktemp("encoder-decoders")
    return lambda arch: folder_of(cache, arch)


def asked(model: Seq2Seq, tokens) -> list[list[int]]:
    """Give the sources of some rows."""
    del model
    return [
        tokens.ids(row)[: int(np.flatnonzero(tokens.targets(row))[0])].tolist()
        for row in range(len(tokens))
    ]


@pytest.mark.cells
@pytest.mark.parametrize(("arch", "which"), EVERY)
def test_l1_a_fresh_adapter_changes_no_loss_and_no_answer(arch, which, base_of):
    model, tokens = seq2seq(base_of(arch), adapter=False), tokens_of(base_of(arch))
    prompts = asked(model, tokens)[:4]
    limits = {"stop_ids": (2,), "max_new_tokens": 8, "batch_tokens": 99}

    def told(of: Seq2Seq):
        with torch.no_grad():
            return of.nats_U(whole(tokens)), [said.ids for said in generate(of, prompts, **limits)]

    losses, answers = told(model)
    held = attach(model.trunk, settle("mood", TABLES[which]), seed=1)
    fresh, same = told(Seq2Seq(model.trunk, held.peft).eval())
    assert torch.equal(losses, fresh)
    assert answers == same and any(answers)


@pytest.mark.cells
@pytest.mark.parametrize(("arch", "which"), EVERY)
def test_l2_training_leaves_every_byte_of_the_base(arch, which, base_of, tmp_path):
    own = {"reduction": 4} if which == "houlsby" else {}
    model = seq2seq(base_of(arch), which, **own)
    trained = set(model.trainable())

    before, adapter = base_digests(model), weights(model)
    assert trained
    Loop(model, tokens_of(base_of(arch)), Course(tmp_path, "plan", 1, settings(epochs=3))).run()
    assert base_digests(model) == before
    changed = [name for name, old in adapter.items() if not torch.equal(old, weights(model)[name])]
    assert changed == list(adapter), "encoder, decoder and cross-attention all learn"


@pytest.mark.parametrize(("arch", "which"), LORA)
def test_l4_a_resumed_run_is_the_run_that_was_never_stopped(arch, which, base_of, tmp_path):
    tokens = tokens_of(base_of(arch))
    rules = settings(epochs=2, save_every=1, evaluate_every=3, tokens_per_step=150)
    course = Course(tmp_path / "whole", "plan", 5, rules)
    copies = tmp_path / "copies"

    copies.mkdir()
    first = Loop(
        seq2seq(base_of(arch), which, dropout=0.1),
        tokens,
        replace(course, progress=Keeping(course.run, copies)),
    )
    first.run()
    for stopped in (1, first.steps - 1):
        model = seq2seq(base_of(arch), which, dropout=0.1)
        again = Loop(model, tokens, replace(course, run=copies / str(stopped)))
        again.resume()
        assert again.position == stopped
        again.run()
        assert equal(weights(model), weights(first.model))
        assert log(copies / str(stopped)) == log(course.run)


@pytest.mark.cells
@pytest.mark.parametrize(("arch", "which"), EVERY)
def test_l5_packing_padding_and_micro_batches_change_nothing(arch, which, base_of):
    model = seq2seq(base_of(arch), which, shaken=True, dropout=0.0)
    assert model.trunk.packed, model.trunk.why
    tokens = tokens_of(base_of(arch))
    rows = np.arange(len(tokens))
    expected = gradients(laid(model, packed=False), [whole(tokens)])
    for size, packed in ((1, False), (60, False), (1, True), (60, True), (10**6, True)):
        parts = [whole(tokens, part) for part in micro_batches(rows, tokens.lengths_R, size)]
        found = gradients(laid(model, packed=packed), parts)
        for name, tensor in expected.items():
            scale = max(float(tensor.abs().max()), 1e-3)
            assert float((found[name] - tensor).abs().max()) <= 2e-5 * scale, name


@pytest.mark.parametrize("arch", ENCODER_DECODERS)
def test_the_loss_is_that_of_transformers(arch, base_of):
    tokens = tokens_of(base_of(arch))
    model = seq2seq(base_of(arch), adapter=False)
    theirs = AutoModelForSeq2SeqLM.from_pretrained(base_of(arch)).eval()
    given = inputs(model, tokens, np.arange(len(tokens)))
    start = torch.tensor(model.trunk.start).expand(len(tokens), -1)
    labels = given["labels"]
    # What every answer begins with is read and not learned: transformers' labels leave it out.
    said = torch.cat([start, labels.masked_fill(labels == IGNORED, 0)], 1)[:, :-1]
    if len(model.trunk.start) > 1:
        blank = torch.full_like(start[:, 1:], IGNORED)
        labels = torch.cat([blank, labels], 1)
    with torch.no_grad():
        ours = model.nats(whole(tokens)) / model.targets(whole(tokens))
        both = {key: given[key] for key in ("input_ids", "attention_mask")}
        expected = theirs(**both, decoder_input_ids=said, labels=labels).loss
        trainer = model(**given).loss
    assert float(abs(ours - expected)) < 1e-5 * float(expected)
    assert float(abs(ours - trainer)) < 1e-5 * float(expected)


@pytest.mark.parametrize("arch", ENCODER_DECODERS)
def test_a_row_does_not_see_another(arch, base_of):
    model = seq2seq(base_of(arch), shaken=True)
    tokens = tokens_of(base_of(arch))
    with torch.no_grad():
        together = model.nats_U(whole(tokens))
        alone = torch.cat([model.nats_U(whole(tokens, [row])) for row in range(len(tokens))])
        torch.testing.assert_close(together, alone, rtol=2e-5, atol=2e-6)
    prompts = asked(model, tokens)[:6]
    limits = {"stop_ids": (2,), "max_new_tokens": 8}
    at_once = generate(model, prompts, batch_tokens=10_000, **limits)
    one_by_one = generate(model, prompts, batch_tokens=1, **limits)
    assert [said.ids for said in at_once] == [said.ids for said in one_by_one]


@pytest.mark.cells
@pytest.mark.parametrize(("arch", "which"), EVERY)
def test_l7_what_is_saved_gives_the_same(arch, which, base_of, tmp_path):
    """Ours bitwise; PEFT on AutoModelForSeq2SeqLM the same scores and the same answers."""
    base = base_of(arch)
    model = seq2seq(base, which, shaken=True)
    saved = save(model, base, tmp_path / "mood", which)
    here = open_answerer(saved)
    tokens = tokens_of(base)
    with torch.no_grad():
        assert torch.equal(model.nats_U(whole(tokens)), here.model.nats_U(whole(tokens)))
    theirs = PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained(base), saved).eval()
    assert theirs.peft_config["default"].task_type == "SEQ_2_SEQ_LM"
    rows = tokens_of(base, examples(pairs(6), answered=False))
    answers = here.answer(rows)
    start = torch.tensor([list(model.trunk.start)])
    for row, answer in enumerate(answers.answers):
        ids = torch.from_numpy(rows.ids(row).astype(np.int64))[None]
        with torch.no_grad():
            logits_V = theirs(input_ids=ids, decoder_input_ids=start).logits[0, -1]
            ours_V = model.next_logits_BV(of_ids([ids[0].tolist()]))[0]
        torch.testing.assert_close(ours_V, logits_V, rtol=1e-5, atol=2e-5)
        out = theirs.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=start,
            do_sample=False, num_beams=1, max_new_tokens=9, forced_eos_token_id=None,
        )  # fmt: skip
        assert here.renderer.answer(out[0, start.shape[1] :].tolist()) == answer
    again = pack.write(tmp_path / "again", pack.read(saved), card="# mood")
    for path in saved.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def inputs(model: Seq2Seq, tokens, part) -> dict[str, torch.Tensor]:
    """Give a micro-batch as one gives it to an encoder-decoder of transformers."""
    made = whole(tokens, part)
    rows = [torch.split(each, list(made.lengths)) for each in (made.ids_T, made.targets_X)]
    sources = [ids[weights == 0] for ids, weights in zip(*rows, strict=True)]
    answers = [ids[weights > 0] for ids, weights in zip(*rows, strict=True)]
    padded = pad_sequence(sources, batch_first=True, padding_value=model.trunk.pad)
    lengths = torch.tensor([len(source) for source in sources])
    return {
        "input_ids": padded,
        "attention_mask": (torch.arange(padded.shape[1]) < lengths[:, None]).long(),
        "labels": pad_sequence(answers, batch_first=True, padding_value=IGNORED),
    }


class Replay(Trainer):
    """Trainer, given the micro-batches in our order."""

    def get_train_dataloader(self):
        return DataLoader(self.train_dataset, batch_size=1, collate_fn=lambda rows: rows[0])


class Seeded(TrainerCallback):
    """Gives each step the randomness that ours has."""

    def on_step_begin(self, args, state, control, **kwargs):
        torch.manual_seed(step_seed(SEED, state.global_step))


@pytest.mark.parametrize(("arch", "which"), LORA)
def test_l12_weights_are_those_of_trainer_bitwise(arch, which, base_of, tmp_path):
    tokens = tokens_of(base_of(arch), examples(pairs(60)))
    rules = settings(epochs=1, clip=0.5, tokens_per_step=120, micro_batch_tokens=999)
    course = Course(tmp_path / "ours", "plan", SEED, rules)
    ours, theirs = (seq2seq(base_of(arch), which, batches="padded", dropout=0.1) for _ in range(2))
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


def test_what_an_answer_begins_with_is_put_before_it(base_of):
    """BART's tokenizer puts <s> before every text, and its decoder begins with </s>."""
    model, t5 = (seq2seq(base_of(arch), adapter=False) for arch in ("bart", "t5"))
    assert model.trunk.start == (2, 1)
    assert t5.trunk.start == (0,)
    tokens = tokens_of(base_of("bart"), examples([("a dog", "dog a")]))
    sides = model.sides(whole(tokens))
    answer = tokens.ids(0)[tokens.targets(0) > 0].tolist()
    assert answer[-1] == 2, "the end of the sequence is learned"
    assert sides.said_BP.tolist() == [[2, 1, *answer]]
    assert sides.learned_BP.tolist() == [[False, *[True] * len(answer), False]]
    assert sides.ids_U.tolist() == answer
    assert sides.source_BS[0, 0] == 1 and sides.source_BS[0, -1] == 2
