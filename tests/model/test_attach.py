"""Attach: a fresh or a trained adapter on a frozen trunk."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from attached import KIND_NAMES, MARKS, TABLES
from models import classifier, rows_of, trunk_of
from packed import adapter_on
from tenon.adapters.kind import settle
from tenon.adapters.weights import take
from tenon.core.errors import AdapterError, PlanError
from tenon.model.attach import attach, restore


def hidden(trunk):
    with torch.no_grad():
        return trunk.hidden_TD(rows_of([4, 1, 9]))


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ["bert", "gpt2", "t5"])
def test_a_fresh_adapter_leaves_the_base_frozen_and_says_where_it_sits(arch, which, folder_of):
    trunk = trunk_of(folder_of(arch))
    before = {n: p.clone() for n, p in trunk.model.state_dict().items()}
    held = attach(trunk, settle("mood", TABLES[which]), seed=0)
    trained = {n for n, p in held.peft.named_parameters() if p.requires_grad}
    assert trained and all(any(mark in name for mark in MARKS) for name in trained)
    after = {n.replace(".base_layer", ""): p for n, p in trunk.model.state_dict().items()}
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert held.places and all(held.places.values())
    modules = {name.replace(".base_layer", "") for name, _ in trunk.model.named_modules()}
    assert all(name in modules for names in held.places.values() for name in names)


@pytest.mark.parametrize("which", KIND_NAMES)
def test_another_seed_gives_other_first_weights(which, folder_of):
    first, second = (
        take(attach(trunk_of(folder_of("bert")), settle("mood", TABLES[which]), seed).peft)
        for seed in (0, 1)
    )
    assert first.keys() == second.keys()
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_a_site_that_matches_nothing_is_refused_and_the_trunk_stays_bare(folder_of):
    trunk = trunk_of(folder_of("bert"))
    names = [name for name, _ in trunk.model.named_modules()]
    with pytest.raises(PlanError, match="attention.qury"):
        attach(trunk, settle("mood", {"kind": "lora.v1", "sites": ["attention.qury"]}), seed=0)
    assert [name for name, _ in trunk.model.named_modules()] == names


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ["bert", "llama", "gpt2", "t5"])
def test_a_restored_adapter_is_frozen_and_gives_the_same_states(arch, which, folder_of):
    peft, adapter = adapter_on(arch, which)
    with torch.no_grad():
        ids_BT = rows_of([7]).ids_T[None]
        expected = peft(input_ids=ids_BT).last_hidden_state[0]
    trunk = trunk_of(folder_of(arch))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    restored = restore(trunk, adapter).eval()
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(parameter.requires_grad for parameter in restored.parameters())
    with torch.no_grad():
        found = trunk.hidden_TD(rows_of([7]))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not torch.equal(found, hidden(trunk_of(folder_of(arch))))


def test_an_adapter_with_other_tensors_is_refused(folder_of):
    _, adapter = adapter_on("bert", "lora")
    name = sorted(adapter.weights)[0]
    lacking = {key: tensor for key, tensor in adapter.weights.items() if key != name}
    with pytest.raises(AdapterError, match="the adapter does not"):
        restore(trunk_of(folder_of("bert")), replace(adapter, weights=lacking))
    wider = {**adapter.weights, name: torch.zeros(9, 32)}
    with pytest.raises(AdapterError, match="is 9x32 in the adapter, 8x32 here"):
        restore(trunk_of(folder_of("bert")), replace(adapter, weights=wider))


def test_peft_says_nothing_of_its_own_on_the_way(folder_of, recwarn):
    classifier(folder_of("roberta"), "lora")
    assert not [str(warning.message) for warning in recwarn]
