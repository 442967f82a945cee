"""The laws of adapters, for a tagger: L1, L2, L4, L5, L7 and L11 on encoders and decoders."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as cases
from hypothesis import strategies as st

from attached import KIND_NAMES, TABLES, WIDE
from runs import Keeping, equal, log, settings, weights
from taggers import (
    LABELS,
    TAGS,
    bare,
    laid,
    renderer_of,
    save,
    tagged,
    tagger,
    tokens_of,
)
from tenon.adapters.kind import settle
from tenon.evaluate.answerer import open_answerer
from tenon.evaluate.tag import tag, unit_features
from tenon.model.attach import attach
from tenon.model.tagger import Tagger
from tenon.text.batch import batch
from tenon.text.order import micro_batches
from tenon.text.tokens import Tokens, collect
from tenon.train import optim
from tenon.train.loop import Course, Loop

ARCHITECTURES = ("bert", "roberta", "llama", "qwen3", "gpt2")
BOTH = ("lora", "houlsby")
ROWS = 24
SETTINGS = settings(
    epochs=2, save_every=1, evaluate_every=3, tokens_per_step=90, micro_batch_tokens=40,
    metric="entity_f1",
)  # fmt: skip


def logits(model: Tagger, tokens: Tokens) -> dict[str, torch.Tensor]:
    """Give the scores of all units, packed and padded."""
    rows = batch(tokens, np.arange(len(tokens)))
    found = {}
    for way in (True, False):
        with torch.no_grad():
            found[str(way)] = laid(model, packed=way).logits_UL(rows, rows.classes_X >= 0)
    return found


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_fresh_adapter_changes_no_logit(arch, which, folder_of):
    before, tokens = bare(folder_of(arch)), tokens_of(folder_of(arch))
    expected = logits(before, tokens)
    held = attach(before.trunk, settle("names", TABLES[which]), seed=1)
    found = logits(Tagger(before.trunk, held.peft, before.head).eval(), tokens)
    for way, logits_UL in expected.items():
        assert torch.equal(found[way], logits_UL), way
        assert logits_UL.std() > 0


def base_bytes(model: Tagger) -> dict[str, bytes]:
    """Give the bytes of every parameter and buffer that training may not touch."""
    trained = set(model.trainable())
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {n: t.detach().numpy().tobytes() for n, t in state.items() if n not in trained}


@pytest.mark.cells
@pytest.mark.parametrize("which", BOTH)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_base_is_as_it_was_and_all_else_has_moved(arch, which, folder_of, tmp_path):
    model = tagger(folder_of(arch), which, trunk_dropout=True, shaken=False, **WIDE[which])
    before, first = base_bytes(model), weights(model)
    tokens = tokens_of(folder_of(arch), ROWS)
    course = Course(tmp_path, "plan", 1, settings(epochs=3, tokens_per_step=90))
    Loop(model, tokens, course).run()
    assert base_bytes(model) == before
    assert all(not torch.equal(old, weights(model)[name]) for name, old in first.items())


def loop_of(folder, which, run, progress=None) -> Loop:
    model = tagger(folder, which, shaken=False, trunk_dropout=True, dropout=0.1, **WIDE[which])

    def score(judged: Tagger) -> dict[str, float]:
        return {"entity_f1": sum(float(p.detach().sum()) for p in judged.trainable().values())}

    return Loop(model, tokens_of(folder, ROWS), Course(run, "plan", 5, SETTINGS, score, progress))


@pytest.mark.cells
@pytest.mark.parametrize("which", BOTH)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_run_that_is_resumed_is_the_run_that_was_never_stopped(arch, which, folder_of, tmp_path):
    keeping = Keeping(tmp_path / "whole", tmp_path)
    whole = loop_of(folder_of(arch), which, tmp_path / "whole", keeping)
    whole.run()
    assert keeping.steps == whole.steps >= 4
    state = optim.state_tensors(whole.optimizer, whole.parameters)
    for steps in (1, whole.steps // 2, whole.steps - 1):
        again = loop_of(folder_of(arch), which, tmp_path / str(steps))
        again.resume()
        assert again.position == steps
        again.run()
        assert equal(weights(again.model), weights(whole.model)), steps
        assert equal(optim.state_tensors(again.optimizer, again.parameters), state), steps
        assert log(tmp_path / str(steps)) == log(tmp_path / "whole")


def gradients(model: Tagger, tokens: Tokens, most: int) -> dict[str, torch.Tensor]:
    """Give the loss and all gradients of one step in micro-batches of at most `most` tokens."""
    model.train()
    model.zero_grad(set_to_none=True)
    rows = np.arange(len(tokens))
    parts = [batch(tokens, part) for part in micro_batches(rows, tokens.lengths_R, most)]
    targets, loss = sum(model.targets(part) for part in parts), 0.0
    for part in parts:
        nats = model.nats(part) / targets
        nats.backward()
        loss += float(nats.detach())
    found = {name: p.grad.clone() for name, p in model.trainable().items() if p.grad is not None}
    assert len(found) == len(model.trainable())
    return {**found, "loss": torch.tensor(loss)}


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    largest = max(float(tensor.abs().max()) for tensor in expected.values())
    for name, tensor in expected.items():
        size = max(float(tensor.abs().max()), 1e-3 * largest)
        assert float((found[name] - tensor).abs().max()) <= 1e-5 * size, name


@pytest.mark.cells
@pytest.mark.parametrize("which", BOTH)
@pytest.mark.parametrize("arch", ARCHITECTURES)
@cases(max_examples=3)
@given(seed=st.integers(0, 99), most=st.integers(1, 60), limit=st.sampled_from([9, 48]))
def test_packing_padding_and_micro_batches_change_nothing(
    arch, which, folder_of, seed, most, limit
):
    model = tagger(folder_of(arch), which, dropout=0.0)
    tokens = tokens_of(folder_of(arch), 7, seed, limit=limit)
    expected = gradients(laid(model, packed=False), tokens, 10_000)
    assert_close(gradients(laid(model, packed=True), tokens, 10_000), expected)
    assert_close(gradients(laid(model, packed=True), tokens, most), expected)
    assert_close(gradients(laid(model, packed=False), tokens, most), expected)


@pytest.mark.cells
@pytest.mark.parametrize("units", ["words", "tokens"])
@pytest.mark.parametrize("which", BOTH)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_what_is_opened_answers_bitwise_as_what_was_saved(arch, which, units, folder_of, tmp_path):
    folder = folder_of(arch)
    model, renderer = tagger(folder, which), renderer_of(folder, 11, units)
    held = open_answerer(save(model, folder, tmp_path / "names", which, renderer))
    examples = tagged(9)
    expected = tag(model, collect(examples, renderer), TAGS, batch_tokens=500)
    found = held.answer(collect(examples, held.renderer), batch_tokens=500)
    assert (found.log_probs_UL == expected.log_probs_UL).all()
    assert found.spans == expected.spans
    assert expected.log_probs_UL.std() > 0
    texts = [example.text for example in examples]
    for text, answer in zip(texts, held.predict(texts), strict=True):
        assert answer.text == text
        for span in answer.spans:
            assert text[span.start : span.end] == span.text != ""
            assert span.label in LABELS
            assert 0 < span.probability <= 1


def state(model: Tagger) -> dict[str, torch.Tensor]:
    modes = {name: module.training for name, module in model.named_modules()}
    grads = {f"grad.{n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    tensors = {**model.state_dict(), **grads, "random": torch.get_rng_state()}
    modes = {f"mode.{name}": torch.tensor(mode) for name, mode in modes.items()}
    return {name: tensor.clone() for name, tensor in {**tensors, **modes}.items()}


@pytest.mark.cells
@pytest.mark.parametrize("which", BOTH)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_evaluating_in_the_midst_of_training_changes_nothing(arch, which, folder_of):
    model = tagger(folder_of(arch), which, dropout=0.1).train()
    tokens = tokens_of(folder_of(arch))
    model.nats(batch(tokens, np.arange(4))).backward()
    before = state(model)
    tag(model, tokens, TAGS, batch_tokens=40)
    unit_features(model, tokens, batch_tokens=40)
    assert equal(state(model), before)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_texts_do_not_see_each_other(arch, folder_of):
    """A text is answered alike alone and among others, whatever batch it falls into."""
    model, examples = tagger(folder_of(arch)), tagged(9)
    renderer = renderer_of(folder_of(arch))
    together = tag(model, collect(examples, renderer), TAGS, batch_tokens=60)
    for place, example in enumerate(examples):
        alone = tag(model, collect([example], renderer), TAGS, batch_tokens=60)
        units = together.units(place)
        np.testing.assert_allclose(
            together.log_probs_UL[units], alone.log_probs_UL, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("arch", ["bert", "llama", "gpt2"])
def test_answers_do_not_need_gold(arch, folder_of):
    """Rows without spans are answered as rows with them are."""
    model, renderer = tagger(folder_of(arch)), renderer_of(folder_of(arch))
    known = tag(model, collect(tagged(6), renderer), TAGS, batch_tokens=60)
    blind = [replace(example, gold=None) for example in tagged(6)]
    found = tag(model, collect(blind, renderer), TAGS, batch_tokens=60)
    assert (found.log_probs_UL == known.log_probs_UL).all()
    assert not found.known_R.any() and known.known_R.all()
    assert (found.classes_U == -1).all()
