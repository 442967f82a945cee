"""Slots: many adapters in one product give what each gives alone."""

from __future__ import annotations

import pytest
import torch

from attached import TABLES
from models import rows_of
from racks import MIXED, adapter_in, alone, rack_of
from tenon.core.errors import RunError
from tenon.model.rack import Rack
from tenon.model.slots import FIRST_SLOTS, Mixed, Pool
from tenon.model.stacked import Delta, Form, Spot, Stacked, stacked

TOLERANCE = 1e-5
"""Largest difference / largest hidden state, in float32: sums are taken in another order."""
LORAS = {
    "a": {**TABLES["lora"], "rank": 4, "rank_stabilized": True},
    "b": {**TABLES["lora"], "rank": 3, "alpha": 5},
    "c": {**TABLES["lora"], "rank": 9, "sites": ["attention.query", "mlp"]},
    "d": {"kind": "dora.v1", "rank": 4},
}
BOTTLENECKS = {
    "a": {**TABLES["houlsby"]},
    "b": {**TABLES["pfeiffer"], "reduction": 4},
    "c": {**TABLES["parallel"], "scale": "learned"},
    "d": {**TABLES["houlsby"], "scale": "channel", "activation": "gelu"},
}
GAINS = {
    "a": {"kind": "ia3.v1"},
    "b": {"kind": "ia3.v1", "sites": ["attention.key", "mlp.out"]},
    "c": {"kind": "ia3.v1"},
    "d": {**TABLES["lora"], "rank": 4, "sites": ["attention.value", "mlp"]},
}
ARCHES = ("bert", "llama", "gpt2", "t5")
LENGTHS = (9, 3, 4, 4, 12, 2, 5, 7, 3)
OWNERS = ("a", None, "b", "a", "c", "d", "b", "c", "a")


def slotted(rack: Rack, tables: dict, names: str = "abcd") -> None:
    """Move adapters of a rack into slots, under the same names."""
    held = {name: stacked(rack.trunk.model, adapter_in(rack, name, tables[name])) for name in names}
    for name, made in held.items():
        assert made is not None, f"{name} has no form of slots"
        pool = rack.slots.pool(made.form)
        if len(pool.numbers) == pool.capacity:
            pool.resize(pool.capacity + 1)
        rack.slots.put(name, made)


def mixed(rack: Rack, owners, lengths) -> list[torch.Tensor]:
    """Give the hidden states of each row, in one pass."""
    places = sorted(range(len(owners)), key=lambda row: (rack.order(owners[row]), lengths[row]))
    made = rows_of([lengths[row] for row in places], labels=False)
    route = rack.route([owners[row] for row in places], made.lengths)
    with torch.inference_mode(), rack.router.on(route):
        hidden_TD = rack.trunk.hidden_TD(made)
    states = dict(zip(places, hidden_TD.split(list(made.lengths)), strict=True))
    ids = dict(zip(places, made.ids_T.split(list(made.lengths)), strict=True))
    return [(states[row], ids[row]) for row in range(len(owners))]


def far(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Give the largest difference over the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())


def as_alone(rack: Rack, reference: Rack, owners, lengths) -> float:
    """Give how far rows of a mixed pass are from each row alone, by PEFT's own layers."""
    from tenon.text.batch import of_ids

    with rack.all():
        rows = mixed(rack, owners, lengths)
    return max(
        far(states, alone(reference, owner, of_ids([ids.tolist()])))
        for owner, (states, ids) in zip(owners, rows, strict=True)
    )


@pytest.mark.parametrize("batches", ["packed", "apart", "padded"])
@pytest.mark.parametrize("tables", [LORAS, BOTTLENECKS, GAINS], ids=["lora", "bottleneck", "ia3"])
@pytest.mark.parametrize("arch", ARCHES)
def test_rows_in_slots_are_as_each_alone(arch, tables, batches, folder_of, monkeypatch):
    if batches == "apart":  # each row with its own adapter, as of wide ones and many
        monkeypatch.setattr("tenon.model.slotted.NEEDLESS", -1)
        batches = "packed"
    if arch == "t5" and batches == "packed":
        batches = "auto"
    if arch == "gpt2" and tables is LORAS:
        tables = {**LORAS, "d": {**TABLES["lora"], "rank": 4}}  # its layers are transposed
    reference = rack_of(folder_of(arch), tables, batches=batches)
    rack = Rack(reference.trunk)
    for name in tables:
        rack.fittings[name] = reference.fittings[name]
    slotted(rack, tables)
    rack.fittings.clear()
    assert as_alone(rack, reference, OWNERS, LENGTHS) < TOLERANCE
    assert as_alone(rack, reference, ["a"] * 4, (3, 9, 4, 4)) < TOLERANCE
    assert as_alone(rack, reference, ["b", "a"] * 3, (1,) * 6) < TOLERANCE


def test_slots_stand_beside_layers_of_other_kinds(folder_of):
    tables = {**MIXED, "e": TABLES["prefix"], "f": {"kind": "ia3.v1"}}
    reference = rack_of(folder_of("bert"), tables)
    rack = Rack(reference.trunk)
    rack.fittings.update(reference.fittings)
    slotted(rack, tables, "abd")
    for name in "abd":
        del rack.fittings[name]
    owners = ["e", "a", "c", "f", "b", None, "a", "d"]
    assert as_alone(rack, reference, owners, (3, 9, 4, 6, 2, 5, 5, 7)) < TOLERANCE
    assert as_alone(rack, reference, ["e", "f", "c"], (3, 9, 4)) < TOLERANCE


@pytest.mark.parametrize("activation", ["", "relu"])
def test_what_another_adapter_would_give_is_no_part_of_a_token(activation):
    spot = Spot("mlp", "beside", 3, 2)
    pool = Pool(Form((spot,), 4, activation), torch.device("cpu"))
    pool.resize(2)
    for number, value in enumerate((1.0, 1e38)):
        biases = (torch.ones(4), torch.ones(2)) if activation else (None, None)
        part = Delta(torch.full((4, 3), value), torch.ones(2, 4), *biases)
        pool.put(str(number), Stacked(pool.form, {"mlp": part}))
    states = torch.full((1, 2, 3), 100.0)
    mixed = Mixed(torch.tensor([0, 1]), torch.tensor([0, 1]))
    found = pool.delta("mlp", mixed, states, None)[0]
    assert found[1].isinf().all()
    assert torch.equal(found[0], pool.delta("mlp", 0, states[:, :1], None)[0, 0])


def test_pools_grow_shrink_and_move_without_a_trace(folder_of):
    reference = rack_of(folder_of("bert"), LORAS)
    rack = Rack(reference.trunk)
    rack.fittings.update(reference.fittings)
    slotted(rack, LORAS)
    rack.fittings.clear()
    pool = rack.slots.held["a"]
    pool.resize(4 * FIRST_SLOTS)
    assert as_alone(rack, reference, OWNERS, LENGTHS) < TOLERANCE
    rack.slots.drop("b")
    rack.slots.trim()
    assert pool.capacity == FIRST_SLOTS
    owners = [None if owner == "b" else owner for owner in OWNERS]
    assert as_alone(rack, reference, owners, LENGTHS) < TOLERANCE


def test_rows_that_are_not_sorted_are_refused(folder_of):
    rack = rack_of(folder_of("bert"), {**LORAS, "e": TABLES["prefix"]})
    slotted(rack, LORAS, "a")
    del rack.fittings["a"]
    with rack.all(), pytest.raises(RunError, match="sort them"):
        rack.route(["e", "a"], [2, 3])
