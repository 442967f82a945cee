"""Blocks that compute their states again give the very gradients of blocks that keep them."""

from __future__ import annotations

import pytest
import torch

from attached import TABLES
from bases import ARCHITECTURES
from folders import base_folder
from models import classifier, laid, rows_of, trunk_of
from tenon.core.errors import PlanError
from tenon.model.recompute import Again, blocks, recompute

LENGTHS = (3, 7, 5, 7)
KINDS = list(TABLES)


def gradients(model, batch):
    model.train()
    torch.manual_seed(11)
    model.zero_grad()
    model.nats(batch).backward()
    return {name: p.grad.clone() for name, p in model.trainable().items() if p.grad is not None}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("bases")


@pytest.mark.cells
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("which", KINDS)
def test_gradients_are_the_same_bit_for_bit(cache, arch, which, packed):
    folder = base_folder(cache, arch)
    if packed and not trunk_of(folder).packed:
        pytest.skip("this base is not packed")
    batch = rows_of(LENGTHS)
    model = laid(classifier(folder, which), packed=packed)
    kept = gradients(model, batch)
    assert any(bool(gradient.any()) for gradient in kept.values())
    for layers, count in ((1, 1), (True, len(blocks(model.trunk.model)))):
        assert recompute(model.trunk, layers) == count > 0
        again = gradients(model, batch)
        assert kept.keys() == again.keys()
        assert all(torch.equal(kept[name], again[name]) for name in kept), layers


@pytest.mark.parametrize("layers", [1, True])
def test_dropout_draws_the_same(cache, layers):
    model = classifier(base_folder(cache, "bert"), "lora", dropout=0.3, trunk_dropout=True)
    batch = rows_of(LENGTHS)
    kept = gradients(model, batch)
    recompute(model.trunk, layers)
    again = gradients(model, batch)
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_a_second_call_changes_nothing(cache):
    trunk = trunk_of(base_folder(cache, "bert"))
    recompute(trunk)
    first = [vars(block)["forward"] for block in blocks(trunk.model)]
    recompute(trunk)
    assert [vars(block)["forward"] for block in blocks(trunk.model)] == first
    assert all(isinstance(forward, Again) for forward in first)


def passes_of(model, batch):
    """Give how often each block was computed in a step."""
    found = blocks(model.trunk.model)
    counts = dict.fromkeys(range(len(found)), 0)

    def seen(number):
        def count(*_):
            counts[number] += 1

        return count

    # A block's own hooks are outside of what is computed again; those of what is in it are not.
    inside = [next(m for m in block.modules() if not list(m.children())) for block in found]
    hooks = [m.register_forward_pre_hook(seen(number)) for number, m in enumerate(inside)]
    gradients(model, batch)
    for hook in hooks:
        hook.remove()
    return list(counts.values())


@pytest.mark.parametrize("arch", ["bert", "llama"])
@pytest.mark.parametrize(
    ("layers", "which", "expected"),
    [
        (False, (), [1, 1]),
        ("auto", (), [1, 1]),
        (1, (), [2, 1]),
        (2, (), [2, 2]),
        (1, ("last:1",), [1, 2]),
    ],
)
def test_the_lowest_blocks_that_compute_gradients_are_computed_twice(
    cache, arch, layers, which, expected
):
    model = classifier(base_folder(cache, arch), "lora", **({"layers": which} if which else {}))
    batch = rows_of(LENGTHS)
    kept = gradients(model, batch)
    assert recompute(model.trunk, layers) == expected.count(2)
    assert passes_of(model, batch) == expected
    again = gradients(model, batch)
    assert all(torch.equal(kept[name], again[name]) for name in kept)
    assert all(p.grad is None for n, p in model.trunk.model.named_parameters() if "lora" not in n)


def test_more_blocks_than_compute_gradients_are_refused(cache):
    model = classifier(base_folder(cache, "bert"), "lora", layers=("last:1",))
    with pytest.raises(PlanError, match=r"recompute = 2: 1 of the base's 2 layers .* at most 1"):
        recompute(model.trunk, 2)
    assert not any("forward" in vars(block) for block in blocks(model.trunk.model))


def test_without_gradients_a_block_is_computed_once(cache):
    model = classifier(base_folder(cache, "bert")).eval()
    batch = rows_of(LENGTHS)
    with torch.inference_mode():
        before = model.logits_BL(batch)
    recompute(model.trunk)
    with torch.inference_mode():
        assert torch.equal(model.logits_BL(batch), before)


def test_a_base_without_known_blocks_is_refused(cache):
    trunk = trunk_of(base_folder(cache, "bert"))
    trunk.model.encoder.layer = torch.nn.ModuleList()
    with pytest.raises(PlanError, match="train.recompute = true: bert has no blocks"):
        recompute(trunk)
