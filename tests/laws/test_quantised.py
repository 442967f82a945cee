"""A quantised base is, for every kind of adapter, the base whose weights its layers stand for."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch

from attached import FAMILY, shake
from bases import input_ids
from kinds import NO_TRANSPOSED, TABLES, kind_of
from models import LABELS, rows_of
from quantised import ARCHITECTURES, QUANTIZE, in_floats, relative, trunk_of
from runs import Keeping, base_digests, equal, log, settings, tokens, weights
from runs import classifier as fresh
from tenon.adapters.fit import fit
from tenon.adapters.kind import settle
from tenon.adapters.wrap import wrap
from tenon.core.errors import PlanError
from tenon.model.attach import attach
from tenon.model.classifier import Classifier
from tenon.model.head import Head
from tenon.model.quantization import SCHEMES
from tenon.model.quantized import held_bytes, quantized
from tenon.text.batch import of_ids
from tenon.train.loop import Course, Loop

pytestmark = [
    pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning"),
    pytest.mark.filterwarnings("ignore:Detected that the base layer has no bias:UserWarning"),
]
EVERY = {**TABLES, **FAMILY}
REFUSED = {name for name in TABLES if kind_of(name).quantized_why}
CELLS = [
    (name, arch)
    for name in EVERY
    for arch in ARCHITECTURES
    if name not in REFUSED and (arch != "gpt2" or name not in NO_TRANSPOSED)
]
"""Where a kind can sit; tests/laws/test_matrix.py proves the refusals of a layer."""
TRAINED = {
    "lora": ("lora", {}),
    "dora": ("lora", {"kind": "dora.v1"}),
    "ia3": ("lora", {"kind": "ia3.v1", "dropout": None}),
    "houlsby": ("houlsby", {}),
    "pfeiffer": ("pfeiffer", {}),
    "parallel": ("parallel", {}),
}


@pytest.fixture(scope="module")
def base(folder_of):
    """Give the quantised model of a base without adapter; a test takes a copy."""
    return cache(lambda arch, quantize: trunk_of(folder_of(arch), quantize))


@pytest.mark.cells
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("quantize", QUANTIZE)
@pytest.mark.parametrize("arch", [*ARCHITECTURES, "t5"])
def test_it_computes_what_its_weights_say(arch, quantize, dtype, folder_of):
    trunk, whole = trunk_of(folder_of(arch), quantize, dtype), trunk_of(folder_of(arch), "none")
    layers, scheme = quantized(trunk.model), SCHEMES[quantize]
    plain = in_floats(trunk.model)
    with torch.no_grad():
        found = trunk.model(input_ids=input_ids()).last_hidden_state
        assert torch.equal(found, plain(input_ids=input_ids()).last_hidden_state)
        near = whole.model(input_ids=input_ids()).last_hidden_state
    assert 0 < relative(found.float(), near) < 0.3
    for layer in layers.values():
        size = scheme.weight_bytes(*layer.pieces.shape, layer.pieces.dtype.itemsize)
        assert held_bytes(layer) == size
        assert layer.weight.dtype == getattr(torch, dtype)
    assert trunk.parameters == whole.parameters
    assert trunk.packed == whole.packed
    held = trunk.holding
    assert held.quantize == quantize
    assert held.layers == len(layers)
    assert held.after_bytes == sum(held_bytes(layer) for layer in layers.values())
    assert held.after_bytes < held.before_bytes
    assert whole.holding is None


STEPS = {"int8": 0.5 / 127, "bnb-int8": 0.5 / 127 + 2**-11, "int4": 1 / 15, "bnb-nf4": 0.16}
"""Farthest that a number may lie from its float, as a share of the largest of its row or block; of
int4, as a share of what its group spans. bitsandbytes rounds to float16 before it makes 8 bits."""
GROUPS = {"int4": 32, "bnb-nf4": 64}


@pytest.mark.cells
@pytest.mark.parametrize("quantize", QUANTIZE)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_no_weight_is_farther_than_half_a_step(arch, quantize, folder_of):
    trunk, whole = trunk_of(folder_of(arch), quantize), trunk_of(folder_of(arch), "none")
    for name, layer in quantized(trunk.model).items():
        pairs = [layer.weight, whole.model.get_submodule(name).weight]
        held_OI, float_OI = (pair.t() if arch == "gpt2" else pair for pair in pairs)
        size = GROUPS.get(quantize, float_OI.shape[1])
        rows = zip(held_OI.reshape(-1).split(size), float_OI.reshape(-1).split(size), strict=True)
        for held_N, float_N in rows:
            span = float_N.abs().max()
            if quantize == "int4":
                span = float_N.max().clamp_min(0) - float_N.min().clamp_max(0)
            assert (held_N - float_N).abs().max() <= STEPS[quantize] * span * 1.001, name


def outcome(model, settings):
    """Give the hidden states of an adapter, fresh and shaken, and the gradients of the latter."""
    torch.manual_seed(0)
    peft = wrap(model, fit(model, settings).config).eval()
    fresh_BTD = peft(input_ids=input_ids()).last_hidden_state.detach()
    shake(peft, size=0.05)
    shaken_BTD = peft(input_ids=input_ids()).last_hidden_state
    shaken_BTD.square().sum().backward()
    gradients = {name: p.grad for name, p in peft.named_parameters() if p.requires_grad}
    return {"fresh": fresh_BTD, "shaken": shaken_BTD.detach(), **gradients}


@pytest.mark.cells
@pytest.mark.parametrize(("name", "arch"), CELLS)
def test_every_kind_sits_on_it_as_on_those_floats(name, arch, base):
    quantize = QUANTIZE[sorted(EVERY).index(name) % len(QUANTIZE)]
    model, adapter = copy.deepcopy(base(arch, quantize).model), settle("mood", EVERY[name])
    expected = outcome(in_floats(model), adapter)
    found = outcome(model, adapter)
    assert found.keys() == expected.keys()
    for key, wanted in expected.items():
        assert (wanted is None) == (found[key] is None), key
        if wanted is not None:
            assert relative(found[key], wanted) <= 1e-5, key


@pytest.mark.cells
@pytest.mark.parametrize("quantize", QUANTIZE)
@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_kind_that_cannot_is_refused_with_the_reason(name, quantize, folder_of):
    trunk = trunk_of(folder_of("bert"), quantize)
    with pytest.raises(PlanError, match=r"adapters.mood.kind: .* cannot sit on a quantised base: "):
        attach(trunk, settle("mood", TABLES[name]), 0)
    with pytest.raises(PlanError):
        wrap(trunk.model, fit(trunk.model, settle("mood", TABLES[name])).config)


def classifier_of(folder, quantize, name="lora", **more):
    which, own = TRAINED[name]
    return fresh(folder, which, quantize=quantize, **own, **more)


@pytest.mark.cells
@pytest.mark.parametrize("quantize", QUANTIZE)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_nothing_of_the_weights_is_kept_between_the_passes(arch, quantize, folder_of):
    model = classifier_of(folder_of(arch), quantize).train()
    shapes = {tuple(layer.weight.shape) for layer in quantized(model.trunk.model).values()}
    shapes |= {shape[::-1] for shape in shapes}
    held = {p.data_ptr() for p in model.parameters()}
    copies = []

    def keep(tensor):
        if tensor.data_ptr() not in held:
            copies.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.logits_BL(rows_of([7, 3])).sum().backward()
    assert copies
    assert not shapes & set(copies)


@pytest.mark.cells
@pytest.mark.parametrize("quantize", QUANTIZE)
@pytest.mark.parametrize("arch", ARCHITECTURES)
@torch.no_grad()
def test_rows_do_not_see_each_other(arch, quantize, folder_of):
    """Not even where numbers are so large that LLM.int8() computes their columns apart."""
    model = classifier_of(folder_of(arch), quantize, dropout=0.0)
    shake(model)
    model.eval()
    for layer in quantized(model.trunk.model).values():
        hidden_TI = torch.randn(5, layer.pieces.shape[1])
        hidden_TI[0, 3] = 80.0
        assert relative(layer(hidden_TI)[1:], layer(hidden_TI[1:])) <= 1e-6
    rows = rows_of([7, 1, 5, 12])
    packed_BL = model.logits_BL(rows)
    ids = torch.split(rows.ids_T, list(rows.lengths))
    for place, ids_T in enumerate(ids):
        alone_1L = model.logits_BL(of_ids([ids_T.tolist()]))
        assert relative(alone_1L[0], packed_BL[place]) <= 1e-5


@pytest.mark.cells
@pytest.mark.parametrize("quantize", QUANTIZE)
@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_training_leaves_it_as_it_was_and_resumes_bit_for_bit(
    arch, name, quantize, folder_of, tmp_path
):
    asked = settings(epochs=2, save_every=1, tokens_per_step=60, micro_batch_tokens=30)
    model = classifier_of(folder_of(arch), quantize, name)
    before, start = base_digests(model), weights(model)
    assert any("numbers_OI" in key or "packed" in key for key in before)
    course = Course(tmp_path / "whole", "plan", 5, asked)
    loop = Loop(model, tokens(16), course)
    keeping = Keeping(course.run, tmp_path)
    loop.course = Course(course.run, "plan", 5, asked, None, keeping)
    loop.run()
    assert base_digests(model) == before
    ended = weights(model)
    assert all(not torch.equal(ended[key], old) for key, old in start.items())
    middle = loop.steps // 2
    again = Loop(
        classifier_of(folder_of(arch), quantize, name),
        tokens(16),
        Course(tmp_path / str(middle), "plan", 5, asked),
    )
    again.resume()
    assert again.position == middle > 0
    again.run()
    assert equal(weights(again.model), ended)
    assert log(tmp_path / str(middle)) == log(course.run)


def test_a_head_of_ours_reads_it_as_any_other(folder_of):
    trunk = trunk_of(folder_of("bert"), "int8")
    head = Head(trunk.hidden_size, len(LABELS), normalize=False, bias=True)
    bare = Classifier(trunk, None, head, "mean").eval()
    with torch.no_grad():
        assert bare.logits_BL(rows_of([3, 4])).isfinite().all()
