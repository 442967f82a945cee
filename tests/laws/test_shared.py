"""L9: rows of equal tokens share the layers below their adapters, and are as each is alone.

Tolerance: 1e-5 of the largest hidden state, in float32: sums are taken in another order.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attached import FAMILY, TABLES
from bases import ARCHITECTURES
from racks import adapter_in, alone, rack_of
from tenon.model.lower import lower_TD
from tenon.model.rack import Rack
from tenon.model.stacked import stacked
from tenon.serve import shared
from tenon.serve.settings import EngineSettings
from tenon.serve.shared import Row, batch_of, births, hidden, portions
from tenon.serve.stage import Stage
from tenon.text.batch import of_ids

TOLERANCE = 1e-5
DEPTH = 4
TABLE = {
    "top": {**TABLES["lora"], "rank": 4, "layers": "last:1"},
    "upper": {**TABLES["houlsby"], "layers": "last:2"},
    "prefix": {**TABLES["prefix"], "layers": "last:2"},
    "norm": {**TABLES["pfeiffer"], "layers": ["1", "3"]},
    "whole": {**TABLES["lora"], "rank": 4},
    "outside": {"kind": "bottleneck.v1", "preset": "mad-x"},
    "behind": {**FAMILY["adapterplus"], "layers": ["0", "2"]},
}
"""Adapters of several kinds, one outside of the layers and one around them."""
LOWEST = {"top": 3, "upper": 2, "prefix": 2, "norm": 1, "whole": 0, "outside": 0, "behind": 0}
CLOSED = {"t5": "its layers hand on more than hidden states"}
OWNERS = (*TABLE, None)
TEXTS = ([5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16, 17])


@pytest.fixture(scope="module")
def stage_of(tmp_path_factory):
    """Give a stage over a base of four layers, its adapters in PEFT's layers or in slots."""

    @cache
    def make(arch: str, batches: str = "packed") -> Stage:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bases.LAYERS", DEPTH)
            from folders import base_folder

            folder = base_folder(tmp_path_factory.mktemp("deep"), arch)
        rack = rack_of(folder, TABLE, batches=batches)
        return Stage(rack, None, EngineSettings(), None)

    return make


@pytest.fixture(autouse=True)
def _small_bases_share(monkeypatch):
    monkeypatch.setitem(shared.LEAST, "cpu", 0)


def slot(rack: Rack, name: str) -> None:
    """Move an adapter of a rack into a slot, under another name."""
    made = stacked(rack.trunk.model, adapter_in(rack, name, TABLE[name]))
    pool = rack.slots.pool(made.form)
    pool.resize(pool.capacity + 1)
    rack.slots.put(f"{name}, slotted", made)


def rows_of(stage: Stage, asked) -> list[Row]:
    """Give rows of owners and texts, of different lengths each, sorted as a pass wants them."""
    rows = [
        Row(owner, stage.levels.last if owner is None else stage.lowest(owner), ids, None, 0, n)
        for n, (owner, ids) in enumerate(asked)
    ]
    return sorted(rows, key=lambda row: (stage.rack.order(row.owner), len(row.ids)))


def far(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def assert_as_alone(stage: Stage, rows: list[Row]) -> None:
    found = hidden(stage, rows, sharing=True)
    plain = hidden(stage, rows, sharing=False)
    stage.close()
    known: dict[tuple[str | None, int], torch.Tensor] = {}
    for row, states, other in zip(rows, found, plain, strict=True):
        name = row.owner and row.owner.removesuffix(", slotted")
        key = name, len(row.ids)
        if key not in known:
            known[key] = alone(stage.rack, name, of_ids([row.ids]))
        expected = known[key]
        assert far(states, expected) <= TOLERANCE, row
        assert far(other, expected) <= TOLERANCE, row


@pytest.mark.cells
@pytest.mark.parametrize("batches", ["packed", "padded"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_one_text_through_adapters_of_all_kinds(arch, batches, stage_of):
    if arch == "t5" and batches == "packed":
        batches = "padded"
    stage = stage_of(arch, batches)
    rows = rows_of(stage, [(owner, ids) for owner in OWNERS for ids in TEXTS[:2]])
    if arch in CLOSED:
        assert {row.lowest for row in rows if row.owner} == {0}
        assert set(stage.levels.known.values()) == {"", CLOSED[arch]}
    else:
        assert {row.owner: row.lowest for row in rows if row.owner} == LOWEST
        levels = {birth.level for birth in births(rows, stage.levels)}
        assert levels == {*LOWEST.values()}, "each level at which rows part has a stretch"
    assert_as_alone(stage, rows)


@pytest.fixture(scope="module")
def bert(stage_of):
    stage = stage_of("bert")
    for name in ("top", "upper", "whole"):
        slot(stage.rack, name)
    return stage


@settings(max_examples=15)
@given(data=st.data())
def test_whatever_is_asked_together_and_whatever_failed_before(data, bert):
    owners = (*OWNERS, "top, slotted", "upper, slotted", "whole, slotted")
    pairs = st.tuples(st.sampled_from(owners), st.sampled_from(TEXTS))
    rows = rows_of(bert, data.draw(st.lists(pairs, min_size=1, max_size=9)))
    if data.draw(st.booleans()):
        fail_within(bert, rows, data.draw(st.integers(0, 12)))
    assert_as_alone(bert, rows)


def fail_within(stage: Stage, rows: list[Row], depth: int) -> None:
    """Let a pass fail within some layer, in whichever stretch that is."""
    seen = 0

    def fail(*_):
        nonlocal seen
        seen += 1
        if seen > depth:
            raise ValueError("planted")

    modules = stage.rack.trunk.model.modules()
    hooks = [m.register_forward_pre_hook(fail) for m in modules if type(m) is torch.nn.LayerNorm]
    try:
        hidden(stage, rows, sharing=True)
    except ValueError as error:
        assert "planted" in str(error)
    for hook in hooks:
        hook.remove()
    assert stage.rack.router.route is None
    assert not any("forward" in vars(module) for module in stage.rack.trunk.model.modules())


def test_lower_layers_are_computed_once_for_each_text(bert):
    """Counted where a layer computes, and by the tally."""
    owners = ["top", "upper", "prefix", "top, slotted", None, None]
    rows = rows_of(bert, [(owner, ids) for owner in owners for ids in TEXTS])
    tokens = sum(map(len, TEXTS))
    bert.open()
    counted = [count_tokens(bert, layer) for layer in range(DEPTH)]
    before = bert.tally.computed, bert.tally.spared
    hidden(bert, rows, sharing=True)
    computed, spared = bert.tally.computed - before[0], bert.tally.spared - before[1]
    assert [sum(seen) for seen, _ in counted] == [tokens, tokens, 3 * tokens, 5 * tokens]
    assert computed == 10 * tokens
    assert spared == (DEPTH * 6 - 10) * tokens
    hidden(bert, rows, sharing=False)
    for seen, hook in counted:
        assert seen[-1] == 6 * tokens
        hook.remove()
    assert bert.tally.spared - before[1] == spared


def count_tokens(stage: Stage, layer: int):
    """Note how many tokens the norm at the end of a layer is given."""
    seen: list[int] = []
    path = f"encoder.layer.{layer}.output.LayerNorm"
    norm = stage.rack.trunk.model.get_submodule(path)
    hook = norm.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    return seen, hook


def test_a_stretch_that_saves_too_little_is_not_begun(bert, monkeypatch):
    rows = rows_of(bert, [(owner, TEXTS[0]) for owner in ("top", "upper", "norm", None)])
    saved = len(TEXTS[0]) * bert.levels.products
    for least, levels in ((saved, {3, 2, 1, 0}), (2 * saved, {2, 0}), (4 * saved, {0})):
        monkeypatch.setitem(shared.LEAST, "cpu", least)
        assert {birth.level for birth in births(rows, bert.levels)} == levels
        assert_as_alone(bert, rows)
    assert {b.level for b in births(rows[:1] * 2, bert.levels)} == {0, bert.levels.last}


def test_token_types_are_part_of_what_is_read(bert):
    kinds = ([0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0], None)
    rows = [Row(None, bert.levels.last, TEXTS[0], types, 0, 0) for types in kinds]
    assert [birth.source for birth in births(rows, bert.levels)] == [0, 1, 2, 2]
    first, second, *same = hidden(bert, rows, sharing=True)
    assert far(first, second) > 1e-3 and torch.equal(*same)


def test_a_base_goes_on_from_what_left_any_of_its_layers(bert):
    bert.close()
    batch = batch_of(rows_of(bert, [(None, ids) for ids in TEXTS]))
    states = {level: lower_TD(bert.rack.trunk, batch, level) for level in range(1, DEPTH + 1)}
    assert all(far(states[n], states[n + 1]) > 1e-2 for n in range(1, DEPTH))
    assert not any(bert.levels.fault(level) for level in states)


@given(
    asked=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), min_size=1, max_size=30),
    tokens=st.integers(1, 40),
    count=st.integers(1, 8),
)
def test_portions_hold_every_row_once_and_no_more_than_they_may(asked, tokens, count):
    rows = [Row(owner, 0, np.arange(n), None, 0, place) for place, (owner, n) in enumerate(asked)]
    found = portions(rows, tokens, count)
    assert sorted(row.place for some in found for row in some) == list(range(len(rows)))
    for some in found:
        assert len(some) <= count
        assert len(some) == 1 or sum(len(row.ids) for row in some) <= tokens
