"""On a GPU what makes training fast changes nothing beyond rounding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from peft.tuners.lora import Linear
from torch import nn
from torch.nn import functional

import writers
from tenon.adapters.kind import settle
from tenon.adapters.lean import Lean
from tenon.core.errors import RunError
from tenon.model import block_math, kernels, margin
from tenon.model import trunk as trunks
from tenon.model.attach import attach
from tenon.model.base import locate
from tenon.model.compiled import compile_blocks
from tenon.model.entropy import FrozenEntropy, entropy_of
from tenon.model.entry import blocks
from tenon.model.fused import fuse
from tenon.model.margined import Margins, margins_of
from tenon.model.rack import Rack
from tenon.model.settings import ModelSettings
from tenon.model.writer import Writer
from tenon.text.batch import batch
from tenon.train.joint import Joint
from tenon.train.loop import Course, Loop
from tenon.train.passes import Passes

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
CLOSE = 2e-2
"""Of gradients in bfloat16, by their size."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("bases")


def writer(cache, arch: str = "llama", dtype: str = "bfloat16", **own) -> Writer:
    folder = writers.causal_folder(cache, arch)
    settings = ModelSettings(device="cuda", dtype=dtype)
    trunk = trunks.load(locate(str(folder)), settings, writes=True)
    held = attach(trunk, settle("mood", {"kind": "lora.v1", **own}), seed=3)
    model = Writer(trunk, held.peft)
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def gradients(model, cache) -> dict[str, torch.Tensor]:
    rows = writers.tokens_of(writers.causal_folder(cache, "llama"))
    return writers.gradients(model, [batch(rows, np.array(part)) for part in ([0, 1, 2], [3, 4])])


def apart(one, other) -> float:
    sizes = [(float((one[n] - other[n]).norm()), float(other[n].norm())) for n in other]
    return max(error / max(size, 1e-6) for error, size in sizes)


def test_where_a_device_refuses_a_kernel_torch_computes(monkeypatch):
    scores_UV, ids_U = torch.randn(5, 96, device="cuda"), torch.arange(5, device="cuda")
    expected = [each.clone() for each in entropy_of(scores_UV.clone(), ids_U)]
    monkeypatch.setattr(kernels, "_known", {})
    monkeypatch.setattr(kernels.kernels_of("entropy_kernel"), "BLOCK", 1 << 24)
    found = entropy_of(scores_UV.clone(), ids_U)
    assert list(kernels._known.values()) == [None]
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("vocabulary", [90, 8192, 20_001])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_of_entropy_is_torchs(vocabulary, dtype):
    torch.manual_seed(0)
    head = nn.Linear(64, vocabulary, bias=False, device="cuda", dtype=dtype)
    head.requires_grad_(requires_grad=False)
    ids_U = torch.randint(vocabulary, (50,), device="cuda")
    first = torch.randn(50, 64, device="cuda", dtype=dtype)
    found = []
    for way in (0, 1):
        hidden_UD = first.clone().requires_grad_()
        nats_U = (
            FrozenEntropy.apply(hidden_UD, head, ids_U, 16)
            if way
            else functional.cross_entropy(head(hidden_UD).float(), ids_U, reduction="none")
        )
        nats_U.sum().backward()
        found.append((nats_U.detach(), hidden_UD.grad))
    most = 1e-5 if dtype is torch.float32 else 2e-2
    for mine, torchs in zip(found[1], found[0], strict=True):
        assert float((mine - torchs).norm() / torchs.norm()) < most


def test_lean_layers_are_pefts(cache):
    model = writer(cache)
    found = gradients(model, cache)
    for module in model.modules():
        if type(module) is Lean:
            module.__class__ = Linear
    assert apart(found, gradients(model, cache)) < CLOSE


@pytest.mark.filterwarnings("ignore")  # of torch's own compiler, which are many
def test_compiled_blocks_are_those_that_are_not(cache):
    model = writer(cache)
    expected = gradients(model, cache)
    compile_blocks(model.trunk.model)
    assert apart(gradients(model, cache), expected) < CLOSE


def test_adapters_beside_each_other_are_what_each_is_in_its_own_layers(cache, tmp_path):
    folder, found = writers.causal_folder(cache, "llama"), {}
    for beside in (False, True):
        settings = ModelSettings(device="cuda", dtype="float32")
        rack = Rack(trunks.load(locate(str(folder)), settings, writes=True))
        rack.router.beside, loops = beside, {}
        for n in range(3):
            held = attach(rack.trunk, settle(f"a{n}", {"kind": "lora.v1", "rank": 2 + n}), seed=n)
            rows = writers.tokens_of(folder, writers.examples(writers.pairs(12, seed=n)))
            course = Course(tmp_path / f"{beside}{n}", "p", n, writers.settings())
            loops[f"a{n}"] = Loop(Writer(rack.trunk, held.peft), rows, course)
            rack.keep(f"a{n}", "lora.v1", held.peft)
        Joint(rack, loops).step({name: next(loop.batches()) for name, loop in loops.items()})
        found[beside] = {
            f"{name} {key}": value.detach().clone()
            for name, loop in loops.items()
            for key, value in loop.parameters.items()
        }
    assert apart(found[True], found[False]) < CLOSE


def sized(model, cache, *, recording: bool) -> tuple[list[dict[str, torch.Tensor]], Passes]:
    """Give the gradients of some steps of two micro-batches, all of one size."""
    rows = writers.tokens_of(writers.causal_folder(cache, "llama"))
    model.train()
    passes = Passes(model, model.trainable(), "" if recording else "plain", sizes=True)
    steps = []
    for first in (0, 4, 8):
        model.zero_grad(set_to_none=True)
        for part in ([first, first + 1], [first + 2, first + 3]):
            passes.passed(batch(rows, np.array(part)), 10, torch.Tensor.backward)
        steps.append({n: p.grad.clone() for n, p in model.trainable().items()})
    return steps, passes


def test_replayed_passes_are_those_that_are_computed(cache):
    model = writer(cache)
    expected, computed = sized(model, cache, recording=False)
    found, passes = sized(model, cache, recording=True)
    assert computed.replayed == 0
    assert passes.why == ""
    assert passes.recorded >= 1
    assert passes.replayed == 6 - passes.computed > 0
    assert max(apart(*pair) for pair in zip(found, expected, strict=True)) < 1e-3
    assert passes.bytes > 0
    passes.make_room(least=1.0)
    assert passes.bytes == 0


def test_a_batch_in_a_size_has_the_gradients_that_it_has_without(cache):
    model = writer(cache)
    rows = writers.tokens_of(writers.causal_folder(cache, "llama"))
    expected = gradients(model, cache)
    parts = [batch(rows, np.array(part)) for part in ([0, 1, 2], [3, 4])]
    targets = sum(model.targets(part) for part in parts)
    passes = Passes(model, model.trainable())
    model.zero_grad(set_to_none=True)
    losses = [passes.passed(part, targets, torch.Tensor.backward) for part in parts]
    found = {n: p.grad.clone() for n, p in model.trainable().items()}
    assert apart({**found, "loss": sum(losses)}, expected) < CLOSE


@pytest.mark.parametrize("arch", ["llama", "qwen3"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fused_blocks_are_those_that_are_not(cache, arch, dtype):
    model = writer(cache, arch, dtype)
    expected = gradients(model, cache)
    fusion = fuse(model.trunk)
    assert fusion.fused == fusion.of, str(fusion)
    assert apart(gradients(model, cache), expected) < (1e-4 if dtype == "float32" else 5e-2)


@pytest.mark.parametrize("arch", ["llama", "qwen3", "qwen2"])
def test_adapters_in_margins_have_the_gradients_that_they_have_without(cache, arch):
    model = writer(cache, arch)
    expected, _ = sized(model, cache, recording=False)
    fusion = fuse(model.trunk)
    assert fusion.margins == fusion.of, str(fusion)
    found, passes = sized(model, cache, recording=True)
    assert passes.replayed > 0
    assert isinstance(passes._rounded, Margins)  # noqa: SLF001
    assert max(apart(*pair) for pair in zip(found, expected, strict=True)) < 5e-2


@pytest.mark.parametrize("own", [{}, {"rank": 3, "sites": ["attention.query", "mlp.in"]}])
def test_matrices_are_laid_into_margins_and_taken_out_by_kernels_as_in_torch(cache, own):
    model = writer(cache, "qwen3", **own)
    assert fuse(model.trunk).margins
    trained = list(model.trainable().values())
    held = margins_of(model.trunk.model, blocks(model.trunk.model), trained)
    back = held._back.normal_()  # noqa: SLF001
    found = []
    for way in (margin.thin(back), margin.Plain):
        for each in held.margins:
            each.down_SI.fill_(7.0)
            each.up_OS.fill_(7.0)
        way.laying(held.margins)()
        flat_M = torch.ones(sum(each.numel() for each in trained), device="cuda")
        way.taking(held.margins, back)(flat_M)
        found.append([flat_M, *(each.whole.clone() for each in held.margins)])
    for mine, torchs in zip(*found, strict=True):
        assert float((mine - torchs).detach().float().norm()) < 1e-2 * float(torchs.float().norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [64, 80, 128])
def test_the_kernels_of_a_block_are_their_twins(channels, dtype):
    torch.manual_seed(0)
    kernels = block_math.kernels()
    near = 1e-5 if dtype is torch.float32 else 1e-2

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device="cuda", dtype=dtype)

    def beside(*shape: int) -> torch.Tensor:
        """Rows with something beside them."""
        return drawn(*shape[:-1], shape[-1] + 8)[..., : shape[-1]]

    states, more, given, weight = drawn(50, 96), drawn(50, 96), drawn(50, 96), drawn(96)
    apart_ = beside(50, 96), beside(50, 96)
    turning = beside(50, 6 * channels).unflatten(1, (6, channels))
    heads, back = drawn(50, 6, channels), drawn(50, 6, channels)
    cos, sin, head = drawn(50, channels), drawn(50, channels), drawn(channels)
    scales = block_math.Plain.normed(states, weight, 1e-6)[2]
    calls = [
        ("normed", (states, weight, 1e-6)),
        ("normed", (states, weight, 1e-6, more)),
        ("normed_back", (given, states, weight, scales)),
        ("normed_back", (given, states, weight, scales, more)),
        ("turned", (heads, cos, sin, None, 0.0)),
        ("turned", (heads, cos, sin, head, 1e-6)),
        ("turned_back", (back, None, cos, sin, None, 0.0)),
        ("turned_back", (back, heads, cos, sin, head, 1e-6)),
        ("gated", (states, more)),
        ("gated_back", (given, states, more)),
        ("normed_back", (given, states, weight, scales, apart_[0])),
        ("turned", (turning, cos, sin, head, 1e-6)),
        ("turned_back", (back, turning, cos, sin, head, 1e-6)),
        ("gated", apart_),
        ("gated_back", (given, *apart_)),
    ]
    for name, arguments in calls:
        both = [getattr(each, name)(*arguments) for each in (kernels, block_math.Plain)]
        pairs = zip(*(each if isinstance(each, tuple) else (each,) for each in both), strict=True)
        for mine, torchs in pairs:
            assert float((mine - torchs).float().norm() / torchs.float().norm()) < near, name


def losses(model, cache, folder, unrecorded: str) -> list[float]:
    """Give the loss of each step of a run."""
    rows = writers.tokens_of(writers.causal_folder(cache, "llama"))
    loop = Loop(model, rows, Course(folder, "p", 1, writers.settings(), unrecorded=unrecorded))
    model.train()
    found = [loop.step(batches).loss for batches in loop.batches()]
    assert bool(loop.passes.replayed) is (not unrecorded), loop.passes.why
    return found


def test_a_run_of_replayed_passes_learns_what_one_without_them_does(cache, tmp_path):
    torch.manual_seed(0)
    model = writer(cache)
    first = {n: p.detach().clone() for n, p in model.trainable().items()}
    expected = losses(model, cache, tmp_path, "plain")
    with torch.no_grad():
        for name, parameter in model.trainable().items():
            parameter.copy_(first[name])
    found = losses(model, cache, tmp_path, "")
    assert expected[-1] < expected[0]
    assert found == pytest.approx(expected, rel=CLOSE)


@pytest.mark.parametrize("unrecorded", ["", "plain"])
def test_a_loss_that_is_not_finite_updates_nothing(cache, tmp_path, unrecorded):
    model = writer(cache)
    rows = writers.tokens_of(writers.causal_folder(cache, "llama"))
    course = Course(tmp_path, "p", 1, writers.settings(), unrecorded=unrecorded)
    loop = Loop(model, rows, course)
    model.train()
    steps = loop.batches()
    loop.step(next(steps))
    before = {n: p.detach().clone() for n, p in model.trainable().items()}
    counts = [float(state["step"]) for state in loop.optimizer.state.values()]
    odd = [
        replace(each, targets_X=torch.where(each.targets_X != 0, torch.inf, 0.0))
        for each in next(steps)
    ]
    with pytest.raises(RunError, match="nothing was updated"):
        loop.step(odd)
    assert all(torch.equal(p, before[n]) for n, p in model.trainable().items())
    assert [float(state["step"]) for state in loop.optimizer.state.values()] == counts
