"""L5: layers, losses and passes that keep less or share more give the plain gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

import writers
from tenon.adapters.kind import settle
from tenon.adapters.lean import Lean, lean
from tenon.core.errors import PlanError, RunError
from tenon.model.attach import attach
from tenon.model.compiled import compile_blocks
from tenon.model.entropy import FrozenEntropy
from tenon.model.rack import Rack
from tenon.model.writer import Writer
from tenon.text.batch import batch
from tenon.train.joint import Joint
from tenon.train.loop import Course, Loop

I, O, T = 48, 80, 40  # noqa: E741 - inputs, outputs, tokens
FACTOR = 1.5
"""By which the error of half precision may exceed PEFT's, which computes the delta in float32."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("bases")


def layer(base: nn.Module, dtype=torch.float32, **own):
    """Give PEFT's layer on a module, away from its first weights."""
    turned = isinstance(base, Conv1D)
    config = LoraConfig(r=4, lora_alpha=12, target_modules=["0"], fan_in_fan_out=turned, **own)
    peft = get_peft_model(nn.Sequential(base.to(dtype)), config)
    torch.manual_seed(1)
    for name, parameter in peft.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter, dtype=torch.float32) * 0.2
    return peft


def passed(peft, dtype, seed: int = 0):
    """Give the output, and the gradients of the input and of what is trained."""
    torch.manual_seed(seed)
    states = torch.randn(2, T, I).to(dtype).requires_grad_()
    given = torch.randn(2, T, O).to(dtype)
    peft.zero_grad()
    output = peft(states)
    output.backward(given)
    trained = [p.grad.clone() for n, p in peft.named_parameters() if p.requires_grad]
    return [output.detach(), states.grad, *trained]


def errors(found, expected) -> list[float]:
    return [
        float((a.double() - b.double()).norm() / b.double().norm())
        for a, b in zip(found, expected, strict=True)
    ]


@pytest.mark.parametrize("base", [nn.Linear(I, O), nn.Linear(I, O, bias=False), Conv1D(O, I)])
def test_a_lean_layer_is_pefts(base):
    peft = layer(base)
    expected = passed(peft, torch.float32)
    assert lean(peft) == 1
    found = passed(peft, torch.float32)
    assert len(found) == 4
    assert max(errors(found, expected)) <= 1e-6
    assert all(bool(each.any()) for each in found)


def test_in_half_precision_it_is_as_near_to_the_truth_as_pefts():
    base = nn.Linear(I, O)
    truth = layer(base, torch.bfloat16)
    for parameter in truth.parameters():
        parameter.data = parameter.data.double()
    exact = passed(truth, torch.float64)
    half = layer(nn.Linear(I, O), torch.bfloat16)
    for own, other in zip(half.parameters(), truth.parameters(), strict=True):
        own.data = other.data.to(own.dtype)
    given = passed(half, torch.bfloat16)
    lean(half)
    found = errors(passed(half, torch.bfloat16), exact)
    for mine, pefts in zip(found, errors(given, exact), strict=True):
        assert mine <= FACTOR * pefts + 1e-3


def test_it_keeps_no_copy_of_its_input():
    def kept(peft) -> list[tuple[torch.dtype, int]]:
        found: list[tuple[torch.dtype, int]] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: found.append((t.dtype, t.numel())) or t, lambda t: t
        ):
            peft(torch.randn(1, T, I, dtype=torch.bfloat16, requires_grad=True))
        return [each for each in found if each[1] == T * I]

    peft = layer(nn.Linear(I, O), torch.bfloat16)
    assert any(dtype is torch.float32 for dtype, _ in kept(peft))
    lean(peft)
    assert kept(peft) == [(torch.bfloat16, T * I)]


@pytest.mark.parametrize("own", [{"lora_dropout": 0.5}, {"use_dora": True}, {"lora_bias": True}])
def test_what_is_not_plain_is_left_to_peft(own):
    peft = layer(nn.Linear(I, O), **own).train()
    expected = passed(peft, torch.float32)
    lean(peft)
    inner = peft.base_model.model[0]
    assert inner.plain(torch.zeros(1, T, I)) is None
    assert errors(passed(peft, torch.float32), expected) == [0.0] * len(expected)


def test_disabled_merged_and_watched_layers_are_left_to_peft():
    peft = layer(nn.Linear(I, O))
    lean(peft)
    inner, states = peft.base_model.model[0], torch.randn(1, T, I)
    assert inner.plain(states) == "default"
    expected = peft(states)
    with peft.disable_adapter():
        assert inner.plain(states) is None
        bare = peft(states)
    assert not torch.allclose(bare, expected, atol=0.1)
    peft.merge_adapter()
    assert inner.plain(states) is None
    torch.testing.assert_close(peft(states), expected)
    peft.unmerge_adapter()
    seen = []
    with torch.autocast("cpu", torch.bfloat16):
        assert inner.plain(states) is None
    handle = inner.base_layer.register_forward_hook(lambda *_: seen.append(1))
    peft(states)
    handle.remove()
    assert seen == [1]


@pytest.mark.parametrize("size", [1, 3, 7, 50])
def test_entropy_over_a_frozen_head_is_torchs(size):
    torch.manual_seed(0)
    head = nn.Linear(I, 90, bias=False).requires_grad_(requires_grad=False)
    ids_U, weights_U = torch.randint(90, (7,)), torch.rand(7)
    found = []
    for way in (0, 1):
        hidden_UD = torch.linspace(-2, 2, 7 * I).reshape(7, I).sin().requires_grad_()
        nats_U = (
            FrozenEntropy.apply(hidden_UD, head, ids_U, size)
            if way
            else functional.cross_entropy(head(hidden_UD), ids_U, reduction="none")
        )
        (nats_U * weights_U).sum().backward()
        found.append([nats_U.detach(), hidden_UD.grad])
    assert max(errors(found[1], found[0])) <= 1e-6


def gradients(model, rows):
    return writers.gradients(model, [batch(rows, np.array(part)) for part in ([0, 1, 2], [3, 4])])


def close(found, expected, most: float) -> None:
    assert found.keys() == expected.keys()
    assert any(bool(each.any()) for each in found.values())
    for name, value in expected.items():
        assert float((found[name] - value).norm() / value.norm().clamp_min(1e-9)) <= most, name


@pytest.mark.parametrize("arch", ["llama", "qwen3", "gpt2"])
def test_a_writer_of_lean_layers_is_one_of_pefts(cache, arch):
    model = writers.writer(writers.causal_folder(cache, arch), shaken=True)
    rows = writers.tokens_of(writers.causal_folder(cache, arch))
    layers = [module for module in model.modules() if isinstance(module, Linear)]
    assert all(type(each) is Lean for each in layers)
    found = gradients(model, rows)
    for each in layers:
        each.__class__ = Linear
    close(found, gradients(model, rows), 2e-5)


@pytest.mark.filterwarnings("ignore")  # of torch's own compiler, which are many
def test_compiled_blocks_give_the_gradients_of_those_that_are_not(cache):
    """Torch's own part of the work is done by its plainest backend, which any machine has."""
    folder = writers.causal_folder(cache, "llama", num_hidden_layers=1)
    model, rows = writers.writer(folder, shaken=True), writers.tokens_of(folder)
    expected = gradients(model, rows)
    assert compile_blocks(model.trunk.model, backend="eager") == 1
    close(gradients(model, rows), expected, 2e-5)
    with torch.no_grad():
        assert float(model.nats(writers.whole(rows))) > 0


def test_on_a_cpu_nothing_is_compiled(cache):
    model = writers.writer(writers.causal_folder(cache, "llama"))
    with pytest.raises(PlanError, match=r"model\.compile = true: on a CPU"):
        compile_blocks(model.trunk.model)


def test_a_base_without_blocks_is_not_compiled():
    model = nn.Linear(2, 2)
    model.config = type("Config", (), {"model_type": "odd"})()
    with pytest.raises(PlanError, match="odd has no blocks"):
        compile_blocks(model)


class Together:
    """Three LoRA of other ranks over one decoder, with rows of their own."""

    def __init__(self, folder, out, *, beside: bool) -> None:
        trunk = writers.writer(folder, adapter=False).trunk
        self.rack, self.loops = Rack(trunk), {}
        self.rack.router.beside = beside
        for n, rank in enumerate((2, 4, 3)):
            table = {"kind": "lora.v1", "rank": rank, "alpha": 5.0}
            held = attach(trunk, settle(f"a{n}", table), seed=n)
            course = Course(out / f"{beside}{n}", "p", n, writers.settings(tokens_per_step=40))
            rows = writers.tokens_of(folder, writers.examples(writers.pairs(12, seed=n)))
            self.loops[f"a{n}"] = Loop(Writer(trunk, held.peft), rows, course)
            self.rack.keep(f"a{n}", "lora.v1", held.peft)

    def steps(self, count: int) -> dict[str, torch.Tensor]:
        joint, given = Joint(self.rack, self.loops), {n: x.batches() for n, x in self.loops.items()}
        for _ in range(count):
            joint.step({name: next(batches) for name, batches in given.items()})
        return {
            f"{name} {key}": value.detach().clone()
            for name, loop in self.loops.items()
            for key, value in loop.parameters.items()
        }


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_l6_adapters_beside_each_other_are_what_each_is_in_layers_of_its_own(cache, arch, tmp_path):
    folder = writers.causal_folder(cache, arch)
    apart = Together(folder, tmp_path, beside=False).steps(2)
    made = Together(folder, tmp_path, beside=True)
    first = made.steps(0)
    found = made.steps(2)
    close(found, apart, 2e-3)
    assert not any(torch.equal(first[name], value) for name, value in found.items())


def test_beside_each_other_the_adapter_that_is_not_finite_is_named(cache, tmp_path):
    made = Together(writers.causal_folder(cache, "llama"), tmp_path, beside=True)
    with torch.no_grad():
        next(iter(made.loops["a1"].parameters.values())).fill_(float("nan"))
    with pytest.raises(RunError, match="adapter a1: loss nan.*nothing was updated"):
        made.steps(1)
