"""L5: blocks that are computed in few kernels give the gradients of transformers' own blocks.

The kernels of CUDA are compared in tests/gpu; here are the same functions in plain torch.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import writers
from attached import shake
from tenon.adapters.fan import fanned
from tenon.adapters.kind import settle
from tenon.adapters.lean import Lean
from tenon.adapters.rounded import rounded
from tenon.model import trunk as trunks
from tenon.model.attach import attach
from tenon.model.base import locate
from tenon.model.block_math import Gated, Normed, SumNormed, Turned
from tenon.model.compiled import FAST
from tenon.model.entry import blocks
from tenon.model.fused import FORM, fuse, fusion_of
from tenon.model.recompute import recompute
from tenon.model.settings import ModelSettings
from tenon.text.batch import batch

FACTOR = 1.5
"""By which the error of half precision may exceed that of transformers' blocks."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("bases")


def made(cache, arch: str, which: str = "lora", **own):
    folder = writers.causal_folder(cache, arch)
    model = writers.writer(folder, which, shaken=True, **own)
    rows = writers.tokens_of(folder)
    return model, [batch(rows, np.array(part)) for part in ([0, 1, 2], [3, 4])]


def apart(one, other) -> float:
    return max(float((one[n] - other[n]).norm() / (other[n].norm() + 1e-9)) for n in other)


@pytest.mark.parametrize("arch", ["llama", "qwen3", "mistral"])
def test_fused_blocks_give_the_gradients_of_transformers(cache, arch):
    model, batches = made(cache, arch)
    expected = writers.gradients(model, batches)
    modes = [module.training for module in model.modules()]
    fusion = fuse(model.trunk, anywhere=True, margins=False)
    assert fusion.fused == fusion.of > 0
    assert str(fusion) == "blocks in few kernels, attention too, proved equal on this base"
    assert fusion_of(model.trunk) is fusion
    assert [module.training for module in model.modules()] == modes
    assert apart(writers.gradients(model, batches), expected) < 1e-5


def test_all_linear_layers_may_have_an_adapter_and_states_may_be_computed_again(cache):
    targets = ["attention.query", "attention.key", "attention.value", "mlp.gate", "mlp.in"]
    model, batches = made(cache, "qwen3", sites=targets)
    expected = writers.gradients(model, batches)
    assert fuse(model.trunk, anywhere=True).fused
    recompute(model.trunk)
    assert apart(writers.gradients(model, batches), expected) < 1e-5


def test_without_gradients_and_where_parts_are_watched_blocks_are_as_they_are(cache):
    model, batches = made(cache, "llama")
    with torch.no_grad():
        expected = model.eval().nats(batches[0])
    fuse(model.trunk, anywhere=True)
    with torch.no_grad():
        assert torch.equal(model.nats(batches[0]), expected)
    block, seen = blocks(model.trunk.model)[0], []
    block.mlp.register_forward_hook(lambda *_: seen.append(1))
    writers.gradients(model, batches)
    assert len(seen) == len(batches)


def test_a_base_of_another_form_is_left_as_it_is(cache):
    model, _ = made(cache, "gpt2")
    fusion = fuse(model.trunk, anywhere=True)
    assert (fusion.fused, fusion.why) == (0, FORM)
    assert str(fusion) == f"blocks as in transformers: {FORM}"
    assert not any(FAST in vars(block) for block in blocks(model.trunk.model))


def test_a_block_that_computes_otherwise_is_found_out(cache):
    model, _ = made(cache, "llama")
    block = blocks(model.trunk.model)[0]
    block.mlp.act_fn = nn.GELU()
    fusion = fuse(model.trunk, anywhere=True)
    assert fusion.fused == fusion.of - 1
    assert "they would differ by" in fusion.why
    assert FAST not in vars(block)


def test_on_a_cpu_there_are_no_kernels(cache):
    model, _ = made(cache, "llama")
    assert fuse(model.trunk).why == "they are for CUDA"


def test_each_part_has_the_gradient_that_torch_finds():
    torch.manual_seed(0)
    states, more = (torch.randn(5, 8, dtype=torch.float64, requires_grad=True) for _ in "ab")
    heads = torch.randn(5, 2, 8, dtype=torch.float64, requires_grad=True)
    weight, angles = torch.rand(8).double(), tuple(torch.randn(5, 8).double() for _ in "ab")
    # Scales are float32 whatever the states are, so that differences are taken over wide steps.
    near = {"atol": 1e-3, "rtol": 1e-3, "eps": 1e-2}
    assert torch.autograd.gradcheck(lambda s: Normed.apply(s, weight, 1e-6), states, **near)
    both = (states, more)
    assert torch.autograd.gradcheck(lambda a, b: SumNormed.apply(a, b, weight, 1e-6), both, **near)
    assert torch.autograd.gradcheck(Gated.apply, both, **near)
    for norm in (None, weight):
        turn = lambda h, n=norm: Turned.apply(h, angles, n, 1e-6)  # noqa: E731
        assert torch.autograd.gradcheck(turn, heads, **near)


def test_layers_of_one_input_give_what_each_gives_alone(cache):
    model, _ = made(cache, "llama", sites=["attention.query", "attention.value"])
    attn = blocks(model.trunk.model)[0].self_attn
    layers = (attn.q_proj, attn.v_proj)
    assert all(isinstance(layer, Lean) for layer in layers)
    states = torch.randn(1, 7, attn.q_proj.in_features)
    found = []
    for together in (False, True):
        given = states.clone().requires_grad_()
        outputs = fanned(layers, given) if together else [layer(given) for layer in layers]
        trained = [p for layer in layers for p in layer.parameters() if p.requires_grad]
        total = sum((output * output.detach().sin()).sum() for output in outputs)
        found.append([*outputs, *torch.autograd.grad(total, [given, *trained])])
    for alone, beside in zip(*found, strict=True):
        assert float((alone - beside).detach().norm()) <= 1e-5 * float(alone.detach().norm())


@pytest.mark.parametrize("few", [False, True])
def test_matrices_that_are_rounded_once_have_the_gradients_of_those_that_are_not(cache, few):
    model, batches = made(cache, "llama")
    if few:
        fuse(model.trunk, anywhere=True)
    expected = writers.gradients(model, batches)
    expected.pop("loss")
    trained = model.trainable()
    held = rounded(model.trunk.model, list(trained.values()), torch.float32)
    assert {id(each) for each in held.trained} == {id(each) for each in trained.values()}
    flat_M = torch.zeros(sum(each.numel() for each in held.trained))
    model.zero_grad(set_to_none=True)
    targets = sum(map(model.targets, batches))
    for each in batches:
        with held.within(flat_M):
            (model.nats(each) / targets).backward()
    assert all(each.grad is None for each in trained.values())
    parts = flat_M.split([each.numel() for each in held.trained])
    there = {id(each): part.view_as(each) for each, part in zip(held.trained, parts, strict=True)}
    found = {name: there[id(each)] for name, each in trained.items()}
    assert apart(found, expected) < 1e-5


def test_in_half_precision_blocks_are_as_near_to_the_truth_as_transformers(cache):
    folder = writers.causal_folder(cache, "qwen3")
    settings = ModelSettings(device="cpu", dtype="bfloat16")
    trunk = trunks.load(locate(str(folder)), settings, writes=True)
    held = attach(trunk, settle("mood", {"kind": "lora.v1"}), seed=3)
    model = writers.Writer(trunk, held.peft)
    shake(model, size=0.1)
    rows = writers.tokens_of(folder)
    batches = [batch(rows, np.arange(start, start + 4)) for start in (0, 4, 8)]
    truth = writers.gradients(copy.deepcopy(model).float(), batches)
    plain = writers.gradients(model, batches)
    assert fuse(trunk, anywhere=True).fused
    found = writers.gradients(model, batches)

    def error(one) -> float:
        both = [(one[n].float() - truth[n]).square().sum() for n in truth]
        return float(sum(both)) ** 0.5

    assert 0 < error(found) <= FACTOR * error(plain)
