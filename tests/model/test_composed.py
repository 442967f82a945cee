"""Composed modules: what they pass on, what they keep while they run, and what they forget."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attached import TABLES
from models import rows_of
from racks import mixed, put, rack_of
from tenon.adapters.composition import Average, Parallel, Stack
from tenon.adapters.once import Once
from tenon.core.errors import PlanError
from tenon.model.composed import Composed, changed, composed
from tenon.model.route import Switch


@pytest.fixture(scope="module")
def rack(folder_of):
    tables = {
        "lora": {**TABLES["lora"], "sites": ["attention.out"]},
        "after": {**TABLES["houlsby"], "sites": ["attention.out"]},
        "again": {**TABLES["houlsby"], "sites": ["attention.out"]},
    }
    return rack_of(folder_of("bert"), tables)


@pytest.fixture
def place(rack):
    path = sorted(rack.bases)[0]
    return path, rack.bases[path], {n: f.layers for n, f in rack.fittings.items()}


class Counted(nn.Module):
    """A linear layer that counts its calls, and gives a tuple if told to."""

    def __init__(self, *, several: bool = False):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.several = several
        self.calls = 0
        self.size = 4

    def forward(self, x, scale=1.0):
        self.calls += 1
        y = self.linear(x) * scale
        return (y, "kept") if self.several else y


class TestOnce:
    def test_the_same_inputs_are_computed_once_while_it_remembers(self):
        base, x = Counted(), torch.ones(2, 4)
        once = Once(base)
        with once.remembering():
            first, second = once(x), once(x)
        assert base.calls == 1 and torch.equal(first, second)
        once(x)
        assert base.calls == 2, "nothing is kept afterwards"

    def test_other_inputs_are_computed_and_the_first_kept(self):
        base, x = Counted(), torch.ones(2, 4)
        once = Once(base)
        with once.remembering():
            once(x)
            assert not torch.equal(once(x + 1), once(x))
            once(x, scale=2.0)
            once(x)
        assert base.calls == 3

    def test_what_is_written_over_does_not_reach_the_others(self):
        once, x = Once(Counted()), torch.ones(2, 4)
        with once.remembering(), torch.no_grad():
            first = once(x)
            before = first.clone()
            taken = once(x)
            taken += 1
            assert torch.equal(once(x), before) and torch.equal(first, before)

    def test_a_tuple_is_copied_in_its_first(self):
        once, x = Once(Counted(several=True)), torch.ones(2, 4)
        with once.remembering():
            first, second = once(x), once(x)
        assert second[1] == "kept" and torch.equal(first[0], second[0])
        assert first[0] is not second[0]

    def test_it_forgets_after_a_failure(self):
        once, x = Once(Counted()), torch.ones(2, 4)
        with pytest.raises(ValueError, match="planted"), once.remembering():
            once(x)
            raise ValueError("planted")
        assert once._known is None and not once._remembers
        assert once.size == 4, "what the module has is passed on"


class TestForms:
    def test_an_adapter_alone_is_its_own_layer(self, place):
        path, base, layers = place
        assert composed("lora", path, base, layers) is layers["lora"][path]
        assert composed("lora", "elsewhere", base, layers) is None
        assert composed(Average({"lora": 2}), "elsewhere", base, layers) is None
        assert composed(Stack("lora", "after"), "elsewhere", base, layers) is None

    def test_what_several_answers_need_is_no_module(self, place):
        with pytest.raises(PlanError, match="a parallel is no one module"):
            composed(Parallel("lora", "after"), *place)

    def test_only_what_reads_outputs_follows(self, place):
        def follows(composition):
            return composed(composition, *place).follows

        assert follows(Stack("after", "again")) and follows(Average({"after": 1, "again": 1}))
        assert not follows(Stack("lora", "after"))
        assert not follows(Average([(Stack("lora", "after"), 1.0), ("again", 1.0)]))
        assert not follows(Average({"lora": 1, "after": 1}))

    @torch.no_grad()
    def test_changing_an_output_is_running_on_the_inputs(self, place):
        base, x_D = place[1], torch.randn(3, 32, generator=torch.manual_seed(0))
        for composition in (
            Stack("after", "again"),
            Average({"after": 0.5, "again": -2}),
            Stack(Average({"after": 0.5, "again": 1}), "again"),
            Average([(Stack("again", "after"), 3), ("again", 1)]),
        ):
            module = composed(composition, *place)
            torch.testing.assert_close(module.changed(base(x_D)), module(x_D))
        assert torch.equal(changed(base, x_D), x_D), "a bare module changes nothing"

    def test_the_base_s_own_attributes_are_seen_through_it(self, place):
        module = composed(Average({"lora": 0.5, "after": 0.5}), *place)
        assert module.weight is place[1].weight and isinstance(module, Composed)
        with pytest.raises(AttributeError):
            _ = module.nothing


def test_modes_reach_every_layer(rack):
    with rack.mixed(Average([(Stack("lora", "after"), 0.5), ("again", 0.5)])):
        rack.trunk.model.train()
        assert all(f.layers[path].training for f in rack.fittings.values() for path in f.layers)
        rack.trunk.model.eval()
        assert not any(f.layers[path].training for f in rack.fittings.values() for path in f.layers)


def test_one_place_takes_a_switch_of_compositions(rack):
    with rack.all({"x": Average({"lora": 1, "after": 1}), "y": "again"}):
        switches = [m for m in rack.trunk.model.modules() if isinstance(m, Switch)]
        assert len(switches) == len(rack.bases)
        assert all(len(switch.layers) == 2 for switch in switches)
    assert not any(isinstance(m, Switch | Composed) for m in rack.trunk.model.modules())


def test_a_half_precision_base_is_averaged_in_float32(folder_of):
    rack = rack_of(folder_of("bert"), {"a": TABLES["lora"]}, dtype="bfloat16")
    put(rack, "b", TABLES["houlsby"], seed=3, size=0.2)
    found = mixed(rack, Average({"a": 0.5, "b": 0.5}), rows_of([3, 4]))
    assert found.dtype == torch.bfloat16 and bool(torch.isfinite(found.float()).all())
