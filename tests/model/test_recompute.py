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
    assert recompute(model.trunk) == len(blocks(model.trunk.model)) > 0
    again = gradients(model, batch)
    assert kept.keys() == again.keys()
    assert all(torch.equal(kept[name], again[name]) for name in kept)
    assert any(bool(gradient.any()) for gradient in kept.values())


def test_dropout_draws_the_same(cache):
    model = classifier(base_folder(cache, "bert"), "lora", dropout=0.3, trunk_dropout=True)
    batch = rows_of(LENGTHS)
    kept = gradients(model, batch)
    recompute(model.trunk)
    again = gradients(model, batch)
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_a_second_call_changes_nothing(cache):
    trunk = trunk_of(base_folder(cache, "bert"))
    recompute(trunk)
    first = [vars(block)["forward"] for block in blocks(trunk.model)]
    recompute(trunk)
    assert [vars(block)["forward"] for block in blocks(trunk.model)] == first
    assert all(isinstance(forward, Again) for forward in first)


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
