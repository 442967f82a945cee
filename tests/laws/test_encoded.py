"""L5: layers of encoders that are one function give the gradients of transformers' own layers.

Tolerance: 3e-5 of each tensor's size in float32, as for packing.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.activations import GELUActivation

from models import classifier, rows_of
from tenon.model import groups, last
from tenon.model.encoded import ADAPTER, FORM, Encoded, encode
from tenon.model.encoder_layer import EncoderLayer
from tenon.model.entry import blocks
from tenon.model.fused import fusion_of
from tenon.model.recompute import recompute

ALIKE = ("bert", "roberta", "xlm-roberta", "electra")
SITES = ["attention.query", "attention.key", "attention.value", "attention.out"]
ALL = [*SITES, "mlp.in", "mlp.out"]
CASES = {
    "lora on query and value": ("lora", {}),
    "lora on all": ("lora", {"sites": ALL}),
    "lora on the top": ("lora", {"layers": "last:1"}),
    "houlsby": ("houlsby", {"reduction": 4}),
    "a relu behind the MLP": (
        "houlsby",
        {"sites": ["mlp.out"], "activation": "relu", "scale": 2.0},
    ),
}
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=7)
LENGTHS_MIXED = [3, 17, 33, 60, 1]
TOLERANCE = 3e-5
FACTOR = 1.5
"""By which the error of half precision may exceed that of transformers' layers."""


def made(folder, case="lora on all", pooling="cls", **more):
    """Give a classifier whose last layer computes the tokens that pooling reads."""
    which, own = CASES[case]
    model = classifier(folder, which, pooling=pooling, **own, **more)
    names = last.alone(classifier(folder, "lora", pooling=pooling).trunk.model)
    model.trunk = replace(model.trunk, alone=names)
    return model


def gradients(model, batch):
    model.train()
    model.zero_grad(set_to_none=True)
    loss = model.nats(batch)
    loss.backward()
    found = {n: p.grad for n, p in model.trainable().items() if p.grad is not None}
    assert sum(float(grad.abs().sum()) for grad in found.values()) > 0
    return {**found, "loss": loss.detach()}


@contextlib.contextmanager
def as_they_are(model):
    """Let layers be computed as transformers does."""
    held = [vars(block).pop("forward", None) for block in blocks(model.trunk.model)]
    try:
        yield
    finally:
        for block, forward in zip(blocks(model.trunk.model), held, strict=True):
            if forward is not None:
                vars(block)["forward"] = forward


def apart(one, other) -> float:
    assert one.keys() == other.keys()
    largest = max(float(each.norm()) for each in other.values())
    sizes = {n: max(float(other[n].norm()), 1e-3 * largest) for n in other}
    return max(float((one[n] - other[n]).norm()) / sizes[n] for n in other)


@pytest.mark.cells
@pytest.mark.parametrize("arch", ALIKE)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
@settings(max_examples=4)
@given(lengths=LENGTHS, seed=st.integers(0, 99))
def test_they_give_the_gradients_of_transformers(arch, case, pooling, folder_of, lengths, seed):
    model = made(folder_of(arch), case, pooling)
    fusion = encode(model.trunk)
    assert (fusion.fused, fusion.why) == (fusion.of, "")
    assert str(fusion) == "layers as one function each, proved equal on this base"
    assert fusion_of(model.trunk) is fusion
    batch = rows_of(lengths, seed)
    with as_they_are(model):
        expected = gradients(model, batch)
    assert apart(gradients(model, batch), expected) < TOLERANCE


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_rows_that_are_not_short_attend_by_torchs_kernel(pooling, folder_of, monkeypatch):
    model = made(folder_of("bert"), pooling=pooling)
    encode(model.trunk)
    expected = gradients(model, rows_of(LENGTHS_MIXED))
    for short in (0, 16):
        monkeypatch.setattr(groups, "SHORT", short)
        assert apart(gradients(model, rows_of(LENGTHS_MIXED)), expected) < TOLERANCE


@pytest.mark.parametrize("case", ["lora on all", "houlsby"])
def test_in_half_precision_they_are_as_near_to_the_truth(case, folder_of):
    batch = rows_of(LENGTHS_MIXED)
    truth = gradients(made(folder_of("bert"), case), batch)
    model = made(folder_of("bert"), case, settings={"dtype": "bfloat16"})
    assert encode(model.trunk).fused
    found = gradients(model, batch)
    with as_they_are(model):
        expected = gradients(model, batch)
    assert apart(found, truth) <= FACTOR * apart(expected, truth)


def test_passes_are_bitwise_the_same_and_may_be_open_at_once(folder_of):
    model = made(folder_of("bert"))
    encode(model.trunk)
    first, second = rows_of(LENGTHS_MIXED), rows_of([9, 30])
    expected = [gradients(model, batch) for batch in (first, second)]
    again = gradients(model, first)
    assert all(torch.equal(again[n], expected[0][n]) for n in again)
    model.zero_grad(set_to_none=True)
    losses = [model.nats(batch) for batch in (first, second)]
    for loss, known in zip(losses, expected, strict=True):
        model.zero_grad(set_to_none=True)
        loss.backward()
        for name, parameter in model.trainable().items():
            assert torch.equal(parameter.grad, known[name])


def test_gradients_of_a_pass_can_be_asked_for_once(folder_of):
    model = made(folder_of("bert"))
    encode(model.trunk)
    loss = model.train().nats(rows_of([4]))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="once a pass"):
        loss.backward()


@pytest.mark.parametrize("what", ["nothing", "a hook", "dropout", "a part"])
def test_what_is_not_known_is_computed_as_it_is(what, folder_of, monkeypatch):
    model = made(folder_of("bert"))
    with torch.no_grad():
        before = model.nats(rows_of(LENGTHS_MIXED))
    encode(model.trunk)
    with torch.no_grad():
        assert torch.equal(model.nats(rows_of(LENGTHS_MIXED)), before)
    counted, block = [], blocks(model.trunk.model)[0]
    apply = EncoderLayer.apply
    monkeypatch.setattr(EncoderLayer, "apply", lambda *a: counted.append(1) or apply(*a))
    if what == "a hook":
        block.intermediate.register_forward_hook(lambda *_: None)
    elif what == "dropout":
        model.trunk_dropout = True
    elif what == "a part":
        block.output.LayerNorm = torch.nn.LayerNorm(32)
    gradients(model, rows_of(LENGTHS_MIXED))
    known = {"nothing": 2, "dropout": 0}
    assert len(counted) == known.get(what, 1)


def test_a_layer_that_computes_otherwise_is_found_out(folder_of):
    class Other(GELUActivation):
        def forward(self, states):
            return super().forward(states) * 1.01

    model = made(folder_of("bert"))
    block = blocks(model.trunk.model)[0]
    block.intermediate.intermediate_act_fn = Other()
    fusion = encode(model.trunk)
    assert fusion.fused == fusion.of - 1
    assert "they would differ by" in fusion.why
    assert "forward" not in vars(block)
    assert isinstance(vars(blocks(model.trunk.model)[1])["forward"], Encoded)


@pytest.mark.parametrize(
    ("arch", "which", "more", "why"),
    [
        ("llama", "lora", {}, FORM),
        ("distilbert", "lora", {}, FORM),
        ("bert", "pfeiffer", {}, ADAPTER),
        ("bert", "houlsby", {"ln_before": True}, ADAPTER),
        ("bert", "prefix", {}, ADAPTER),
        ("bert", "lora", {"settings": {"batches": "padded"}}, "rows are padded"),
        ("bert", "lora", {"settings": {"dtype": "float16"}}, "they would be in float16"),
    ],
)
def test_what_has_another_form_is_left_as_it_is(arch, which, more, why, folder_of):
    model = classifier(folder_of(arch), which, **more)
    fusion = encode(model.trunk)
    assert (fusion.fused, fusion.why) == (0, why)
    assert str(fusion) == f"layers as in transformers: {why}"
    assert not any("forward" in vars(block) for block in blocks(model.trunk.model))


def test_layers_that_compute_their_states_again_are_left_as_they_are(folder_of):
    model = made(folder_of("bert"))
    assert encode(model.trunk) == encode(model.trunk)
    for block in blocks(model.trunk.model):
        del vars(block)["forward"]
    recompute(model.trunk, 1)
    fusion = encode(model.trunk)
    assert (fusion.fused, fusion.why) == (fusion.of - 1, "they compute their states again")


@pytest.mark.parametrize("arch", ["bert", "llama"])
def test_in_half_precision_passes_that_learn_are_filled_up(arch, folder_of):
    model = classifier(folder_of(arch), settings={"dtype": "bfloat16"})
    batch, seen = rows_of([5, 12, 3]), []
    expected = gradients(model, batch)
    size = 32 if encode(model.trunk).fused else 20
    first = blocks(model.trunk.model)[0]
    first.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    assert model.trunk.hidden_TD(batch).shape[0] == 20
    assert apart(gradients(model, batch), expected) < 0.1
    with torch.no_grad():
        model.trunk.hidden_TD(batch)
    assert seen == [size, size, 20]
