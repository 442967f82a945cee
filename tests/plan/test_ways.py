"""Which way a step finds room: it fits, and with more memory it is never a slower one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenon.plan.devices import DEVICES, OTHER, device_like
from tenon.plan.footprint import Footprint
from tenon.plan.memory import Ground, memory_of
from tenon.plan.resolve import resolve_table
from tenon.plan.ways import (
    MICRO,
    RECOMPUTE,
    at_once,
    first_that_fits,
    is_open,
    kept_whole,
    told,
    ways,
)
from tenon.plan.work import passes_of
from tenon.text.order import Order, micro_batches

LAYERS = 28
MB = 1 << 20
GROUND = Ground("cuda", 0, 0, 0, 0, "of a card")


@pytest.fixture(scope="module")
def settled(tmp_path_factory):
    data = {"train": "t.csv", "task": "text-classification"}
    table = {"base": "owner/base", "data": data, "adapters": {"mood": {"kind": "lora.v1"}}}
    path = tmp_path_factory.mktemp("plan") / "run.toml"

    def make(step: int, *arguments: str):
        plan = resolve_table(table, path, [f"train.tokens_per_step={step}", *arguments])
        left = plan.train.recompute == "auto"
        return plan.decided({RECOMPUTE: False}) if left else plan

    return make


class Machine:
    """A device on which a pass takes a part for itself and one for each token, and a state room."""

    def __init__(self, lengths, fixed: float, layer: int = MB) -> None:
        self.lengths_R, self.fixed, self.layer = np.array(lengths, np.int64), fixed, layer

    def parts(self, plan):
        order = Order(self.lengths_R, plan.seed, plan.train.tokens_per_step)
        size = plan.train.micro_batch_tokens
        return [p for step in order.epoch(0) for p in micro_batches(step, self.lengths_R, size)]

    def seconds(self, plan) -> float:
        passes = passes_of(plan.train.recompute, LAYERS)
        return passes * sum(
            self.fixed + float(self.lengths_R[part].sum()) for part in self.parts(plan)
        )

    def found(self, plan) -> Footprint:
        tokens = max(int(self.lengths_R[part].sum()) for part in self.parts(plan))
        again = plan.train.recompute
        kept = 0 if again is True else LAYERS - int(again)
        states = tokens * self.layer // 64
        return Footprint(
            500 * MB, MB, MB, MB, kept * states, tokens * 4096, states, 20 * MB, 0, tokens
        )

    def foresee(self, plan, room: int):
        found = self.found(plan)
        return found, memory_of(found, replace(GROUND, available=room))

    def chosen(self, plan, room: int):
        """Give what a plan becomes, and what its steps take."""
        found, memory = self.foresee(plan, room)
        tried = list(ways(plan, self.lengths_R, LAYERS, self.seconds))
        if memory.fits:
            return tried[0], plan, memory
        ground = replace(GROUND, available=room)
        made = first_that_fits(
            plan, found, ground, LAYERS, tried[1:], lambda each: self.foresee(each, room)
        )
        return None if made is None else (made[0], made[1], made[3])


MACHINES = st.builds(
    Machine, st.lists(st.integers(5, 400), min_size=8, max_size=30), st.floats(0, 3000)
)
ROOMS = st.integers(500, 20_000).map(lambda size: size * MB)


def wide_enough(machine, plan):
    """Give the plan as it is where there is room for all of it."""
    return next(ways(plan, machine.lengths_R, LAYERS, machine.seconds))


@settings(max_examples=25)
@given(MACHINES, ROOMS, ROOMS)
def test_what_is_chosen_fits_and_more_memory_never_chooses_a_slower_way(
    settled, machine, first, second
):
    plan = settled(4000)
    less, more = sorted((first, second))
    tight, wide = machine.chosen(plan, less), machine.chosen(plan, more)
    for made in (tight, wide):
        if made is not None:
            way, changed, memory = made
            assert memory.fits
            assert memory.surely or way == wide_enough(machine, plan)
            assert changed.train.micro_batch_tokens == way.tokens
            assert changed.train.recompute == way.recompute
    if tight is not None:
        assert wide is not None
        assert wide[0].seconds <= tight[0].seconds
        again = machine.chosen(plan, less)
        assert again is not None
        assert again[:2] == tight[:2]


def test_where_starting_costs_much_layers_are_computed_again_and_else_batches_are_smaller(settled):
    plan, lengths = settled(4000), [200] * 60
    room = 1500 * MB
    costly, cheap = Machine(lengths, 5000.0).chosen(plan, room), Machine(lengths, 0.0)
    assert costly is not None
    assert costly[0].layers > 0
    assert costly[0].tokens == 8192
    small = cheap.chosen(plan, room)
    assert small is not None
    assert small[0].layers == 0
    assert small[0].tokens < 4200


def test_what_a_user_gave_is_not_open(settled):
    machine = Machine([200] * 60, 5000.0)
    for given_, held in (
        ("train.recompute=false", {False}),
        ("train.recompute=true", {True}),
        ("train.recompute=3", {3}),
    ):
        plan = settled(4000, given_)
        assert not is_open(plan, RECOMPUTE)
        tried = list(ways(plan, machine.lengths_R, LAYERS, machine.seconds))
        assert {way.recompute for way in tried} == held
        assert len({way.tokens for way in tried}) > 1
    plan = settled(4000, "train.micro_batch_tokens=1000")
    tried = list(ways(plan, machine.lengths_R, LAYERS, machine.seconds))
    assert {way.tokens for way in tried} == {1000}
    assert [way.layers for way in tried] == [0, 4, 8, 12, 16, 20, 24, 28]
    assert tried[-1].recompute is True


def test_a_whole_step_is_computed_at_once_on_a_gpu_alone(settled):
    lengths = np.full(500, 100)
    assert at_once(settled(20_000), lengths, "cpu") == 8192
    assert at_once(settled(20_000), lengths, "cuda") == 20_100
    assert at_once(settled(2_000), lengths, "cuda") == 8192
    assert at_once(settled(20_000, "train.micro_batch_tokens=4096"), lengths, "cuda") == 4096
    plan = settled(20_000).decided({MICRO: 20_100})
    assert len(Machine(lengths, 0.0).parts(plan)) == Order(lengths, 0, 20_000).steps_per_epoch


def test_it_is_told_with_the_memory_without_and_with_it(settled):
    plan, machine = settled(4000), Machine([200] * 60, 5000.0)
    made = machine.chosen(plan, 1500 * MB)
    assert made is not None
    way, changed, after = made
    first = next(ways(plan, machine.lengths_R, LAYERS, machine.seconds))
    before = machine.foresee(plan, 1500 * MB)[1]
    (note,) = told(way, first, before, after, LAYERS)
    assert note.setting == RECOMPUTE
    assert note.value == changed.train.recompute
    said = str(note)
    for part in (
        "train.recompute = ",
        "without, 2.6 GB",
        "there are 1.6 GB of a card",
        "times as long",
    ):
        assert part in said
    (kept,) = kept_whole(plan, machine.foresee(plan, 20_000 * MB)[1])
    assert str(kept).startswith("train.recompute = false: all states fit")
    (none,) = kept_whole(plan, before)
    assert "do not fit in" in str(none)
    assert kept_whole(settled(4000, "train.recompute=false"), before) == ()


@pytest.mark.parametrize(
    ("product", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100-80gb"),
        ("NVIDIA L40S", "l40s-48gb"),
        ("NVIDIA L4", "l4-24gb"),
        ("Tesla T4", "t4-16gb"),
        ("NVIDIA GeForce RTX 4090", "rtx4090-24gb"),
        ("Quadro P6000", OTHER),
    ],
)
def test_a_card_is_known_by_its_name(product, name):
    assert device_like(product) is DEVICES[name]


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "often", '"true"'])
def test_other_values_are_refused(settled, value):
    from tenon.core.errors import PlanError

    with pytest.raises(PlanError, match=r"train\.recompute = .*it should be"):
        settled(4000, f"train.recompute={value}")
