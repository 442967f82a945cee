"""On a GPU passes of several adapters, and recomputed ones, are recorded and change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import writers
from joined import joint_of, racked, taken, weights
from tenon.adapters.kind import settle
from tenon.core.errors import RunError
from tenon.model.attach import attach
from tenon.model.base import locate
from tenon.model.fused import fuse
from tenon.model.recompute import recompute
from tenon.model.settings import ModelSettings
from tenon.model.trunk import load
from tenon.model.writer import Writer
from tenon.text.batch import batch
from tenon.train.joint_passes import JointPasses
from tenon.train.passes import DRAWN, Passes

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
CUDA = {"device": "cuda", "dtype": "bfloat16"}
CLOSE = 2e-2
"""Of gradients in bfloat16, by their size."""
STEPS = (
    {"a": [0, 1, 2], "b": [3], "c": [4, 5]},
    {"a": [6], "b": [7, 8, 9], "c": [10]},
    {"b": [11, 12], "c": [13]},
)
"""Rows of each adapter: all of one size, with other borders each time."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("bases")


def apart(one, other) -> float:
    assert one.keys() == other.keys()
    sizes = [(float((one[n] - other[n]).norm()), float(other[n].norm())) for n in other]
    return max(error / max(size, 1e-6) for error, size in sizes)


def together(cache, arch: str, *, recording: bool, again: bool, fused: bool):
    """Give the gradients and losses of some steps of three adapters, and how they were computed."""
    folder = writers.causal_folder(cache, arch)
    rack, models, trained = racked(folder, **CUDA)
    if fused:
        assert fuse(rack.trunk).fused
    if again:
        recompute(rack.trunk)
    rows = writers.tokens_of(folder)
    passes = JointPasses(rack, models, trained, "" if recording else "plain", sizes=True)
    found = []
    for step in STEPS:
        batches = {name: batch(rows, np.array(places)) for name, places in step.items()}
        assert passes.begin({name: [each] for name, each in batches.items()})
        targets = dict.fromkeys(batches, 17)
        losses = passes.passed(batches, targets, torch.Tensor.backward)
        there = {name: trained[name] for name in step}
        found.append({**taken(there), **{name: loss.clone() for name, loss in losses.items()}})
    return found, passes.recorded


@pytest.mark.parametrize(
    ("arch", "again", "fused"),
    [("llama", False, False), ("qwen3", False, True), ("qwen3", True, True)],
)
def test_replayed_passes_of_several_adapters_are_those_that_are_computed(cache, arch, again, fused):
    expected, computed = together(cache, arch, recording=False, again=False, fused=fused)
    found, recorded = together(cache, arch, recording=True, again=again, fused=fused)
    assert computed.replayed == 0
    assert recorded.why == ""
    assert recorded.replayed == 2
    assert max(apart(*pair) for pair in zip(found, expected, strict=True)) < 1e-3
    assert recorded.bytes > 0
    recorded.make_room(least=1.0)
    assert recorded.bytes == 0


def test_in_a_recorded_pass_each_adapter_is_what_it_is_alone(cache):
    folder = writers.causal_folder(cache, "qwen3")
    found, _ = together(cache, "qwen3", recording=True, again=True, fused=True)
    rack, models, trained = racked(folder, **CUDA)
    rows = writers.tokens_of(folder)
    for step, made in zip(STEPS, found, strict=True):
        expected = {}
        for name, places in step.items():
            with rack.only(name), rack.trunk.attending():
                loss = models[name].nats(batch(rows, np.array(places))) / 17
                loss.backward()
            expected |= {**taken({name: trained[name]}), name: loss.detach()}
        # Of one matrix alone rounding may be more.
        assert apart({"all": flat(made)}, {"all": flat(expected)}) < CLOSE


def flat(found) -> torch.Tensor:
    return torch.cat([found[name].flatten().float() for name in sorted(found)])


def test_runs_of_replayed_passes_learn_what_those_without_them_do(cache, tmp_path):
    folder = writers.causal_folder(cache, "llama")
    logs = []
    for unrecorded in ("plain", ""):
        joint = joint_of(folder, tmp_path / f"{unrecorded}x", unrecorded=unrecorded, **CUDA)
        ends = joint.run()
        assert bool(joint.passes.recorded.replayed) is (not unrecorded)
        assert any("were replayed" in note for note in ends["a"].notes) is (not unrecorded)
        logs.append({
            name: [float(line.split('"loss": ')[1].split(",")[0]) for line in log(loop)]
            for name, loop in joint.loops.items()
        })  # fmt: skip
    for name, expected in logs[0].items():
        assert logs[1][name] == pytest.approx(expected, rel=CLOSE), name


def log(loop) -> list[str]:
    lines = (loop.course.run / "steps.jsonl").read_text().splitlines()
    return [line for line in lines if '"loss": ' in line]


@pytest.mark.parametrize("which", ["lora_A", "lora_B"])
def test_weights_that_are_not_finite_are_named_and_update_nobody(cache, tmp_path, which):
    joint = joint_of(writers.causal_folder(cache, "llama"), tmp_path, **CUDA)
    steps = {name: loop.batches() for name, loop in joint.loops.items()}
    joint.step({name: next(batches) for name, batches in steps.items()})
    with torch.no_grad():
        for key, parameter in joint.loops["b"].parameters.items():
            if which in key:
                parameter.fill_(float("nan"))
    before = weights(joint)
    with pytest.raises(RunError, match=r"adapter b: .*nothing was updated"):
        joint.step({name: next(batches) for name, batches in steps.items()})
    after = weights(joint)
    assert all(torch.equal(after[n], before[n]) for n in before if not n.startswith("b "))


def recomputed(cache, *, recording: bool, again: bool, dropout: float = 0.0):
    """Give the gradients of some micro-batches of one adapter, and its passes."""
    folder = writers.causal_folder(cache, "qwen3")
    torch.manual_seed(0)
    trunk = load(locate(str(folder)), ModelSettings(**CUDA), writes=True)
    held = attach(trunk, settle("a", {"kind": "lora.v1", "dropout": dropout}), seed=3)
    model = Writer(trunk, held.peft)
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    if again:
        recompute(trunk)
    rows = writers.tokens_of(folder)
    model.train()
    passes = Passes(model, model.trainable(), "" if recording else "plain", sizes=True)
    found = []
    for first in (0, 4, 8):
        model.zero_grad(set_to_none=True)
        passes.passed(batch(rows, np.array([first, first + 1])), 10, torch.Tensor.backward)
        found.append({n: p.grad.clone() for n, p in model.trainable().items()})
    return found, passes


def test_replayed_passes_that_compute_states_again_are_those_that_keep_them(cache):
    expected, _ = recomputed(cache, recording=False, again=False)
    found, passes = recomputed(cache, recording=True, again=True)
    assert passes.why == ""
    assert passes.replayed == 2
    assert max(apart(*pair) for pair in zip(found, expected, strict=True)) < 1e-3


def test_what_dropout_draws_is_not_recorded_where_states_are_computed_again(cache):
    found, passes = recomputed(cache, recording=True, again=True, dropout=0.3)
    assert passes.why == DRAWN
    assert passes.replayed == 0
    expected, _ = recomputed(cache, recording=False, again=False, dropout=0.3)
    assert apart(found[0], expected[0]) < CLOSE
