"""L5: the last block computed for the tokens that are read changes no loss and no gradient.

Tolerance: 3e-5 of the largest value of each tensor, in float32, as for packing.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attached import KIND_NAMES
from bases import ARCHITECTURES
from models import bare, classifier, rows_of
from tenon.model import last
from tenon.model.classifier import Classifier
from tenon.model.recompute import recompute
from tenon.text.batch import Batch

TOLERANCE = 3e-5
PACKED = tuple(arch for arch in ARCHITECTURES if arch != "t5")
POOLINGS = ("cls", "last")
LENGTHS = st.lists(st.integers(1, 20), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def model_of(folder_of):
    """Give a shaken classifier, and the modules of its last block that are narrowed."""

    @cache
    def load(arch: str, which: str) -> tuple[Classifier, tuple[str, ...]]:
        names = last.proved(bare(folder_of(arch)).trunk).alone
        return classifier(folder_of(arch), which, pooling="cls", dropout=0.0), names

    return load


def gradients(model: Classifier, batch: Batch) -> dict[str, torch.Tensor]:
    """Give the loss of a batch and all gradients."""
    model.train()
    model.zero_grad(set_to_none=True)
    loss = model.nats(batch)
    loss.backward()
    found = {name: parameter.grad for name, parameter in model.trainable().items()}
    assert sum(float(grad.abs().sum()) for grad in found.values()) > 0
    return {**found, "loss": loss.detach()}


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("arch", PACKED)
@settings(max_examples=4)
@given(lengths=LENGTHS, seed=st.integers(0, 99))
def test_a_narrow_last_block_gives_the_same_gradients(
    arch, pooling, which, model_of, lengths, seed
):
    model, names = model_of(arch, which)
    model.pooling = pooling
    batch = rows_of(lengths, seed)
    model.trunk = replace(model.trunk, alone=())
    expected = gradients(model, batch)
    model.trunk = replace(model.trunk, alone=names)
    found = gradients(model, batch)
    largest = max(float(grad.abs().max()) for grad in expected.values())
    for name, tensor in expected.items():
        size = max(float(tensor.abs().max()), 1e-3 * largest)
        assert float((found[name] - tensor).abs().max()) <= TOLERANCE * size, name


@pytest.mark.parametrize(
    ("arch", "wide"),
    [("bert", "intermediate"), ("llama", "mlp"), ("qwen3", "mlp"), ("gpt2", "mlp")],
)
def test_the_last_block_is_found_whole_and_computed_less(arch, wide, folder_of):
    model = classifier(folder_of(arch), "lora", pooling="cls", dropout=0.0)
    trunk = model.trunk = last.proved(bare(folder_of(arch)).trunk)
    assert any(name.endswith(f".1.{wide}") for name in trunk.alone)
    assert not any("key" in name or "k_proj" in name or ".0." in name for name in trunk.alone)
    model = classifier(folder_of(arch), "lora", pooling="cls", dropout=0.0)
    model.trunk = replace(model.trunk, alone=trunk.alone)
    seen = []
    name = next(name for name in trunk.alone if name.endswith(wide))
    inner = next(
        m for m in model.trunk.model.get_submodule(name).modules() if not list(m.children())
    )
    inner.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    batch = rows_of([5, 9, 3], 0)
    gradients(model, batch)
    model.eval().nats(batch)
    assert seen == [3, 17]


def test_nothing_is_narrowed_where_blocks_are_computed_again_or_hooked(folder_of):
    names = last.proved(bare(folder_of("bert")).trunk).alone
    for change in ("again", "hook", "mean", "dropout"):
        model = classifier(folder_of("bert"), "lora", pooling="cls", dropout=0.0)
        batch, seen = rows_of([5, 9, 3], 0), []
        expected = gradients(model, batch)
        model.trunk = replace(model.trunk, alone=names)
        dense = model.trunk.model.get_submodule("encoder.layer.1.output")
        dense.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0][0, :, 0]))
        if change == "again":
            recompute(model.trunk)
        if change == "hook":
            model.trunk.model.get_submodule(names[0]).register_forward_hook(lambda *_: None)
        model.pooling = "mean" if change == "mean" else "cls"
        model.trunk_dropout = change == "dropout"
        found = gradients(model, batch)
        assert (seen[0] != 0).all()
        if change in ("again", "hook"):
            for name, tensor in expected.items():
                torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-6)
