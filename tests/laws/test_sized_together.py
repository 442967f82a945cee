"""L6: rows of several adapters laid out in a size give each the loss and gradients it has alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import writers
from joined import joint_of, racked, taken, weights
from tenon.adapters.wrapped import adapted
from tenon.core.errors import RunError
from tenon.model.fused import fuse
from tenon.model.recompute import recompute
from tenon.text.batch import batch
from tenon.train.joint_passes import JointPasses, unshared

PARTS = (
    {"a": [0, 1, 2], "b": [3], "c": [4, 5]},
    {"b": [6, 7, 8], "c": [9]},
    {"a": [10]},
)
"""Rows of each adapter in some micro-batches, of which not all have all."""
TARGETS = 17


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("bases")


def alone(rack, models, rows) -> dict[str, float]:
    """Add the gradients of each adapter, computed by itself; give its loss."""
    losses = dict.fromkeys(models, 0.0)
    for name, model in models.items():
        with rack.only(name):
            for part in PARTS:
                if name in part:
                    loss = model.nats(batch(rows, np.array(part[name]))) / TARGETS
                    loss.backward()
                    losses[name] += float(loss.detach())
    return losses


@pytest.mark.parametrize(
    ("arch", "how"), [("llama", ""), ("gpt2", ""), ("llama", "fused"), ("qwen3", "recomputed")]
)
def test_in_a_size_each_adapter_is_what_it_is_alone(cache, arch, how):
    folder = writers.causal_folder(cache, arch)
    rows = writers.tokens_of(folder)
    rack, models, trained = racked(folder)
    losses = alone(rack, models, rows)
    expected = taken(trained)
    if how:
        assert fuse(rack.trunk, anywhere=True).fused
    if how == "recomputed":
        recompute(rack.trunk)
    passes = JointPasses(rack, models, trained, "plain", sizes=True)
    found = dict.fromkeys(models, 0.0)
    assert passes.begin(dict.fromkeys(models, ()))
    for part in PARTS:
        batches = {name: batch(rows, np.array(places)) for name, places in part.items()}
        targets = dict.fromkeys(batches, TARGETS)
        for name, loss in passes.passed(batches, targets, torch.Tensor.backward).items():
            found[name] += float(loss)
    assert passes.recorded.computed == len(PARTS)
    assert passes.recorded.filling > 0
    assert found == pytest.approx(losses, rel=1e-5)
    made = taken(trained)
    for name, gradient in expected.items():
        assert gradient.any()
        assert float((made[name] - gradient).norm()) <= 1e-5 * float(gradient.norm()), name


def test_runs_in_sizes_learn_what_runs_without_them_do(cache, tmp_path):
    """They end at different times, and a step of one has more micro-batches than another's."""
    folder = writers.causal_folder(cache, "llama")
    ended = []
    for sizes in (False, True):
        joint = joint_of(folder, tmp_path / str(sizes), sizes=sizes)
        before = weights(joint)
        steps = {name: done.steps for name, done in joint.run().items()}
        ended.append((steps, weights(joint)))
    assert joint.passes.recorded.computed
    assert len(set(steps.values())) > 1
    assert ended[0][0] == ended[1][0]
    for name, expected in ended[0][1].items():
        moved = float((expected - before[name]).norm())
        assert moved > 0
        assert float((ended[1][1][name] - expected).norm()) <= 5e-3 * moved, name


@pytest.mark.parametrize(
    ("name", "table"),
    [("b", {"kind": "lora.v1", "dropout": 0.1}), ("c", {"kind": "dora.v1", "rank": 2})],
)
def test_what_is_not_plain_is_computed_as_ever(cache, tmp_path, name, table):
    tables = {"a": {}, name: table}
    joint = joint_of(writers.causal_folder(cache, "llama"), tmp_path, tables, sizes=True)
    joint.passes.recorded.why = ""
    joint.step({name: next(loop.batches()) for name, loop in joint.loops.items()})
    why = f"adapter {name} has other layers than LoRA without dropout"
    assert why in joint.passes.recorded.why
    with joint.rack.only(name):
        assert unshared(name, adapted(joint.rack.trunk.model)) == joint.passes.recorded.why
    with joint.rack.only("a"):
        assert unshared("a", adapted(joint.rack.trunk.model)) == ""
    assert not joint.passes.sizes
    assert joint.passes.recorded.computed == 0


@pytest.mark.parametrize("which", ["lora_A", "lora_B"])
def test_weights_that_are_not_finite_are_named_and_update_nobody(cache, tmp_path, which):
    joint = joint_of(writers.causal_folder(cache, "llama"), tmp_path, sizes=True)
    with torch.no_grad():
        for key, parameter in joint.loops["b"].parameters.items():
            if which in key:
                parameter.fill_(float("nan"))
    before = weights(joint)
    with pytest.raises(RunError, match=r"adapter b: .*nothing was updated"):
        joint.step({name: next(loop.batches()) for name, loop in joint.loops.items()})
    assert joint.passes.recorded.computed
    after = weights(joint)
    assert all(torch.equal(after[n], before[n]) for n in before if not n.startswith("b "))
    assert all(p.grad is None for loop in joint.loops.values() for p in loop.parameters.values())
