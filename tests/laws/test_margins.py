"""L5: adapters in the margins of frozen weights have the gradients of transformers' own blocks.

The kernels of CUDA are compared in tests/gpu; here are the same functions in plain torch.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import writers
from attached import shake
from tenon.adapters.kind import settle
from tenon.model import trunk as trunks
from tenon.model.attach import attach
from tenon.model.base import locate
from tenon.model.entry import blocks
from tenon.model.fused import fuse
from tenon.model.margin import ROOM
from tenon.model.margined import Margins, margined_at, margins_of
from tenon.model.recompute import recompute
from tenon.model.settings import ModelSettings
from tenon.text.batch import batch
from tenon.train.untouched import base_sums

FACTOR = 1.5
"""By which the error of half precision may exceed that of transformers' blocks."""
SITES = {
    "all": None,
    "some": ["attention.query", "attention.value", "mlp.gate"],
    "mlp": ["mlp.out"],
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("bases")


def made(cache, arch: str, **own):
    folder = writers.causal_folder(cache, arch)
    model = writers.writer(folder, "lora", shaken=True, **own)
    rows = writers.tokens_of(folder)
    return model, [batch(rows, np.array(part)) for part in ([0, 1, 2], [3, 4])]


def held_of(model) -> Margins | None:
    found = blocks(model.trunk.model)
    return margins_of(model.trunk.model, found, list(model.trainable().values()))


def gradients(model, batches, held: Margins) -> dict[str, torch.Tensor]:
    """Give the gradients, which are added in a place of their own."""
    flat_M = torch.zeros(sum(each.numel() for each in held.trained))
    targets = sum(map(model.targets, batches))
    model.zero_grad(set_to_none=True)
    for each in batches:
        with held.within(flat_M):
            (model.nats(each) / targets).backward()
    assert all(each.grad is None for each in held.trained)
    parts = flat_M.split([each.numel() for each in held.trained])
    there = {id(each): part.view_as(each) for each, part in zip(held.trained, parts, strict=True)}
    return {name: there[id(each)] for name, each in model.trainable().items()}


def expected_of(model, batches) -> dict[str, torch.Tensor]:
    found = writers.gradients(model, batches)
    found.pop("loss")
    return found


def apart(one, other) -> float:
    return max(float((one[n] - other[n]).norm() / (other[n].norm() + 1e-9)) for n in other)


@pytest.mark.parametrize("sites", SITES)
@pytest.mark.parametrize("arch", ["llama", "qwen2", "qwen3", "mistral"])
@pytest.mark.cells
def test_adapters_in_margins_have_the_gradients_of_transformers(cache, arch, sites):
    own = {"rank": 3} if SITES[sites] is None else {"sites": SITES[sites]}
    model, batches = made(cache, arch, **own)
    expected = expected_of(model, batches)
    fusion = fuse(model.trunk, anywhere=True)
    assert fusion.margins == fusion.of > 0
    assert str(fusion).endswith("proved equal on this base, adapters in the margins of weights")
    held = held_of(model)
    assert held is not None
    assert apart(gradients(model, batches, held), expected) < 1e-5
    # Another's passes over the same layers leave its own as they are.
    held_of(model)
    assert apart(gradients(model, batches, held), expected) < 1e-5
    # Outside of a pass all is as it was.
    assert apart(expected_of(model, batches), expected) < 1e-5


def test_blocks_without_an_adapter_have_no_margins(cache):
    model, batches = made(cache, "qwen3", layers="last:1")
    expected = expected_of(model, batches)
    fusion = fuse(model.trunk, anywhere=True)
    assert (fusion.fused, fusion.margins) == (2, 1)
    assert str(fusion).endswith("1 of 2 with adapters in the margins of weights")
    assert apart(gradients(model, batches, held_of(model)), expected) < 1e-5


def test_states_may_be_computed_again(cache):
    model, batches = made(cache, "qwen3")
    expected = expected_of(model, batches)
    fuse(model.trunk, anywhere=True)
    recompute(model.trunk)
    assert apart(gradients(model, batches, held_of(model)), expected) < 1e-5


def test_the_base_keeps_its_bits_and_is_held_once(cache, tmp_path):
    model, batches = made(cache, "llama")
    before, count = base_sums(model), sum(p.numel() for p in model.trunk.model.parameters())
    fuse(model.trunk, anywhere=True)
    gradients(model, batches, held_of(model))
    assert base_sums(model) == before
    storages = {
        p.untyped_storage().data_ptr(): p.untyped_storage() for p in model.trunk.model.parameters()
    }
    margins = [m for block in blocks(model.trunk.model) for m in margined_at(block).margins]
    room = sum(m.whole.numel() - m.outputs * m.inputs for m in margins)
    assert sum(each.nbytes() for each in storages.values()) == 4 * (count + room)
    for margin in margins:
        weights = [each.frozen.weight for each in margin.members]
        assert {w.untyped_storage().data_ptr() for w in weights} == {margin.whole.data_ptr()}
    again = copy.deepcopy(model.trunk.model.state_dict())
    assert all(torch.equal(again[name], p) for name, p in model.trunk.model.state_dict().items())


def test_a_second_adapter_finds_its_room_and_one_that_is_too_wide_does_without(cache):
    folder = writers.causal_folder(cache, "llama")
    places, batches = [], made(cache, "llama")[1]
    trunk = None
    for rank, fits in ((8, True), (2, True), (ROOM, False)):
        settings = ModelSettings(device="cpu")
        trunk = trunk or trunks.load(locate(str(folder)), settings, writes=True)
        held = attach(trunk, settle("mood", {"kind": "lora.v1", "rank": rank}), seed=rank)
        model = writers.Writer(trunk, held.peft)
        shake(model, size=0.1)
        expected = expected_of(model, batches)
        assert fuse(trunk, anywhere=True).margins == (2 if fits else 0)
        if fits:
            margins = [m for block in blocks(trunk.model) for m in margined_at(block).margins]
            places.append([margin.whole.data_ptr() for margin in margins])
            # What the adapter before has left there would show in the first figure.
            assert apart(gradients(model, batches, held_of(model)), expected) < 1e-4
        else:
            assert held_of(model) is None
        held.peft.unload()
    assert places[0] == places[1]


def test_layers_that_are_watched_or_have_another_adapter_are_as_they_are(cache):
    model, batches = made(cache, "llama")
    fuse(model.trunk, anywhere=True)
    held, seen = held_of(model), []
    layer = blocks(model.trunk.model)[0].mlp.down_proj
    handle = layer.base_layer.register_forward_hook(lambda *_: seen.append(1))
    assert held_of(model) is None
    flat_M = torch.zeros(sum(each.numel() for each in held.trained))
    with held.within(flat_M):
        model.nats(batches[0]).sum().backward()
    assert seen
    assert next(iter(layer.lora_A.values())).weight.grad is not None
    handle.remove()
    assert held_of(model) is not None


def test_in_half_precision_they_are_as_near_to_the_truth_as_transformers(cache):
    folder = writers.causal_folder(cache, "qwen3")
    settings = ModelSettings(device="cpu", dtype="bfloat16")
    trunk = trunks.load(locate(str(folder)), settings, writes=True)
    held = attach(trunk, settle("mood", {"kind": "lora.v1"}), seed=3)
    model = writers.Writer(trunk, held.peft)
    shake(model, size=0.1)
    rows = writers.tokens_of(folder)
    batches = [batch(rows, np.arange(start, start + 4)) for start in (0, 4, 8)]
    truth = expected_of(copy.deepcopy(model).float(), batches)
    plain = expected_of(model, batches)
    assert fuse(trunk, anywhere=True).margins
    found = gradients(model, batches, held_of(model))

    def error(one) -> float:
        both = [(one[n].float() - truth[n]).square().sum() for n in truth]
        return float(sum(both)) ** 0.5

    assert 0 < error(found) <= FACTOR * error(plain)
