"""The laws for readers: L1 identity, L2 frozen base, L5 packing, L7 saving, L11 no trace."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModel

from attached import KIND_NAMES, TABLES
from models import laid
from reading import CLASSES, examples, reader, renderer_of, tokens_of
from tenon.adapters import pack
from tenon.adapters.fingerprint import fingerprint
from tenon.adapters.kind import settle
from tenon.adapters.manifest import Lengths, Manifest, Pooling
from tenon.adapters.weights import take
from tenon.evaluate.answer import read
from tenon.evaluate.answerer import open_answerer
from tenon.evaluate.probes import probe
from tenon.model.attach import attach
from tenon.model.reader import Reader
from tenon.text.batch import batch
from tenon.text.order import micro_batches
from tenon.text.tokens import collect

ARCHS = ("bert", "roberta", "llama", "qwen3", "gpt2")
TOLERANCE = 1e-4
"""Of the largest value of each gradient, in float32: the rows' own gradients nearly cancel."""
TASK = "question-answering"


def scores(model, tokens):
    """Give the scores of all tokens, rows as they stand."""
    with torch.no_grad():
        return model.scores_T2(batch(tokens, np.arange(len(tokens))))


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ARCHS)
def test_l1_a_fresh_adapter_changes_no_score(arch, which, folder_of):
    tokens = tokens_of(folder_of(arch), 6)
    before = reader(folder_of(arch), None, shaken=False)
    expected = {packed: scores(laid(before, packed=packed), tokens) for packed in (True, False)}
    held = attach(before.trunk, settle("mood", TABLES[which]), seed=1)
    fresh = Reader(before.trunk, held.peft, before.head).eval()
    for packed, scores_T2 in expected.items():
        assert torch.equal(scores(laid(fresh, packed=packed), tokens), scores_T2)
        assert scores_T2.std() > 0


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ARCHS)
def test_l2_training_leaves_the_base_as_it_was(arch, which, folder_of):
    model = reader(folder_of(arch), which, shaken=False).train()
    trained = model.trainable()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tokens = tokens_of(folder_of(arch), 6)
    optimizer = torch.optim.SGD(list(trained.values()), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model.nats(batch(tokens, np.arange(len(tokens)))).backward()
        optimizer.step()
    moved = {n for n, tensor in model.state_dict().items() if not torch.equal(tensor, before[n])}
    assert moved
    assert moved <= set(trained)


def gradients(model, tokens, parts):
    """Give the loss and all gradients of a step made of micro-batches."""
    model.train()
    model.zero_grad(set_to_none=True)
    batches = [batch(tokens, rows) for rows in parts]
    targets = sum(model.targets(rows) for rows in batches)
    losses = []
    for rows in batches:
        loss = model.nats(rows) / targets
        loss.backward()
        losses.append(loss.detach())
    found = {name: parameter.grad for name, parameter in model.trainable().items()}
    return {**found, "loss": torch.stack(losses).sum()}


@pytest.mark.cells
@pytest.mark.parametrize("which", ["lora", "houlsby"])
@pytest.mark.parametrize("arch", ARCHS)
@settings(max_examples=2)
@given(seed=st.integers(0, 99), size=st.integers(1, 90))
def test_l5_packing_and_micro_batches_do_not_change_a_step(arch, which, folder_of, seed, size):
    model = reader(folder_of(arch), which, dropout=0.0)
    tokens = tokens_of(folder_of(arch), 6, seed)
    whole = [np.arange(len(tokens))]
    expected = gradients(laid(model, packed=False), tokens, whole)
    largest = max(float(grad.abs().max()) for grad in expected.values())
    parts = micro_batches(np.arange(len(tokens)), tokens.lengths_R, size)
    for found in (
        gradients(laid(model, packed=True), tokens, whole),
        gradients(laid(model, packed=True), tokens, parts),
    ):
        for name, tensor in expected.items():
            room = max(float(tensor.abs().max()), 1e-3 * largest)
            assert float((found[name] - tensor).abs().max()) <= TOLERANCE * room, name


def save(model, base, folder, which):
    """Write the adapter directory of a reader, as a run does."""
    adapter = settle("mood", TABLES[which])
    renderer = renderer_of(base)
    manifest = Manifest(
        tenon="0.1.0",
        name="mood",
        kind=adapter.kind,
        task=TASK,
        labels=CLASSES,
        base=fingerprint(base, str(base)),
        pooling=Pooling(mode="tokens"),
        text=Lengths(max_tokens=32, units="answers", answer_tokens=8),
        columns={"question": "question", "context": "context", "answer": "answers"},
        constants=model.head.constants,
        probes=probe(TASK, model, renderer),
    )
    linear, config = model.head.linear, model.peft.peft_config["default"]
    head = {"weight": linear.weight.detach(), "bias": linear.bias.detach()}
    held = pack.Adapter("mood", adapter.kind, adapter, config, take(model.peft), head, manifest)
    return pack.write(folder, held, card="# mood")


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ARCHS)
def test_l7_an_adapter_that_was_saved_answers_as_before(arch, which, folder_of, tmp_path):
    base = folder_of(arch)
    model = reader(base, which)
    model.head.constants = {"leaning": (0.75,)}
    saved = save(model, base, tmp_path / "mood", which)
    known = examples(6)
    tokens = collect(known, renderer_of(base))
    expected = read(model, tokens, CLASSES, batch_tokens=500)
    answerer = open_answerer(saved)
    assert answerer.renderer.digest == renderer_of(base).digest
    found = answerer.answer(tokens, batch_tokens=500)
    assert (found.scores_T2 == expected.scores_T2).all()
    assert found.listed == expected.listed
    assert found.leaning == 0.75


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ARCHS)
@torch.no_grad()
def test_l7_plain_peft_and_the_head_by_hand_give_the_same(arch, which, folder_of, tmp_path):
    base = folder_of(arch)
    model = reader(base, which)
    saved = save(model, base, tmp_path / "mood", which)
    theirs = PeftModel.from_pretrained(AutoModel.from_pretrained(base), saved).eval()
    head = load_file(saved / "head.safetensors")
    tokens = tokens_of(base, 4)
    expected = scores(model, tokens).split(tokens.lengths_R.tolist())
    for row, scores_T2 in enumerate(expected):
        types = tokens.types(row)
        kinds = {} if types is None else {"token_type_ids": torch.tensor(types).long()[None]}
        ids = torch.tensor(tokens.ids(row)).long()[None]
        hidden_TD = theirs(input_ids=ids, **kinds).last_hidden_state[0]
        logits_TL = hidden_TD @ head["weight"].T + head["bias"]
        logits_TL[0, :2] = logits_TL[0, -1]
        np.testing.assert_allclose(logits_TL[:, :2], scores_T2, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("arch", ARCHS)
def test_l11_answering_changes_nothing(arch, folder_of):
    model = reader(folder_of(arch), dropout=0.1).train()
    tokens = tokens_of(folder_of(arch), 6)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = {name: module.training for name, module in model.named_modules()}
    state = torch.get_rng_state()
    read(model, tokens, CLASSES, batch_tokens=40)
    assert all(torch.equal(tensor, before[n]) for n, tensor in model.state_dict().items())
    assert modes == {name: module.training for name, module in model.named_modules()}
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("arch", ["bert", "llama"])
def test_how_many_are_computed_at_once_changes_no_answer(arch, folder_of):
    model = reader(folder_of(arch))
    tokens = tokens_of(folder_of(arch), 8)
    one, many = (read(model, tokens, CLASSES, batch_tokens=size) for size in (1, 5000))
    np.testing.assert_allclose(one.scores_T2, many.scores_T2, rtol=1e-4, atol=1e-4)
    assert one.texts == many.texts
    assert replace(one, given=None).texts == one.texts
