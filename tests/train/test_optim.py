"""Optim: groups and their rates, the schedule, and state that comes back as it was."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from runs import equal
from tenon.core.errors import RunError
from tenon.train import optim
from tenon.train.settings import TrainSettings

SCHEDULES = st.sampled_from(["cosine", "linear", "constant"])


def parameters() -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "base.lora_A.weight": (2, 3),
        "base.bias": (3,),
        "head.linear.weight": (2, 3),
        "head.linear.bias": (2,),
        "base.scale": (),
    }
    return {
        name: nn.Parameter(torch.randn(shape, generator=generator))
        for name, shape in shapes.items()
    }


def take_steps(optimizer, held, count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        for parameter in held.values():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


def given_settings(**more) -> TrainSettings:
    return TrainSettings(
        **{"learning_rate": 0.1, "head_learning_rate": 0.2, "weight_decay": 0.3, **more}
    )


class TestGroups:
    def test_each_parameter_is_in_one_group_with_its_rate_and_decay(self):
        held = parameters()
        optimizer = optim.adamw(held, given_settings())
        found = {}
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                name = next(name for name, other in held.items() if other is parameter)
                assert name not in found
                found[name] = (group["peak"], group["weight_decay"])
        assert found == {
            "base.lora_A.weight": (0.1, 0.3),
            "base.bias": (0.1, 0.0),
            "base.scale": (0.1, 0.0),
            "head.linear.weight": (0.2, 0.3),
            "head.linear.bias": (0.2, 0.0),
        }

    def test_a_base_that_speaks_of_heads_is_no_head(self):
        held = {"base.head.weight": nn.Parameter(torch.ones(2, 2))}
        assert optim.adamw(held, given_settings()).param_groups[0]["peak"] == 0.1

    def test_the_rate_scales_every_group(self):
        optimizer = optim.adamw(parameters(), given_settings())
        for factor in (0.5, 0.25, 1.0):
            optim.set_rate(optimizer, factor)
            assert {group["lr"] for group in optimizer.param_groups} == {0.1 * factor, 0.2 * factor}


class TestRate:
    @given(steps=st.integers(1, 300), warmup=st.floats(0, 0.99), schedule=SCHEDULES)
    def test_a_run_learns_in_every_step_and_never_above_the_peak(self, steps, warmup, schedule):
        settings = given_settings(warmup=warmup, schedule=schedule)
        rates = [optim.rate(step, steps, settings) for step in range(steps)]
        assert all(0 < rate <= 1 for rate in rates)
        assert max(rates) == pytest.approx(1.0)

    @given(steps=st.integers(2, 300), warmup=st.floats(0, 0.9), schedule=SCHEDULES)
    def test_it_rises_and_then_never_rises_again(self, steps, warmup, schedule):
        settings = given_settings(warmup=warmup, schedule=schedule)
        rates = [optim.rate(step, steps, settings) for step in range(steps)]
        top = rates.index(max(rates))
        assert rates[: top + 1] == sorted(rates[: top + 1])
        assert rates[top:] == sorted(rates[top:], reverse=True)
        assert top <= warmup * steps + 1

    @pytest.mark.parametrize(
        ("schedule", "expected"),
        [
            ("linear", [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]),
            ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
            ("cosine", [0.5, 1.0, 1.0, 0.853553, 0.5, 0.146447]),
        ],
    )
    def test_of_six_steps_two_warm(self, schedule, expected):
        settings = given_settings(warmup=1 / 3, schedule=schedule)
        rates = [optim.rate(step, 6, settings) for step in range(6)]
        assert rates == pytest.approx(expected, abs=1e-6)

    def test_without_warm_up_the_first_step_is_at_the_peak(self):
        assert optim.rate(0, 10, given_settings(warmup=0.0)) == 1.0


class TestState:
    def test_going_on_from_it_is_bitwise_the_same(self):
        ours, theirs = parameters(), parameters()
        first = optim.adamw(ours, given_settings())
        take_steps(first, ours, 3)
        state = {k: v.clone() for k, v in optim.state_tensors(first, ours).items()}
        for name, parameter in theirs.items():
            parameter.data.copy_(ours[name].data)
        second = optim.adamw(theirs, given_settings())
        optim.load_state(second, theirs, state)
        take_steps(first, ours, 3, seed=2)
        take_steps(second, theirs, 3, seed=2)
        assert equal(
            {name: p.detach() for name, p in ours.items()},
            {name: p.detach() for name, p in theirs.items()},
        )
        assert equal(optim.state_tensors(first, ours), optim.state_tensors(second, theirs))

    def test_loading_copies(self):
        held = parameters()
        optimizer = optim.adamw(held, given_settings())
        take_steps(optimizer, held, 1)
        state = {k: v.clone() for k, v in optim.state_tensors(optimizer, held).items()}
        kept = {k: v.clone() for k, v in state.items()}
        optim.load_state(optimizer, held, state)
        take_steps(optimizer, held, 1)
        assert equal(state, kept)

    def test_before_the_first_step_there_is_none(self):
        held = parameters()
        optimizer = optim.adamw(held, given_settings())
        assert optim.state_tensors(optimizer, held) == {}
        optim.load_state(optimizer, held, {})

    def test_a_parameter_that_never_had_a_gradient_has_none_and_may_be_resumed(self):
        held = parameters()
        optimizer = optim.adamw(held, given_settings())
        held["base.bias"].grad = None
        for name in ("base.lora_A.weight", "head.linear.weight"):
            held[name].grad = torch.ones_like(held[name])
        optimizer.step()
        state = optim.state_tensors(optimizer, held)
        other = optim.adamw(held, given_settings())
        optim.load_state(other, held, state)
        assert equal(optim.state_tensors(other, held), state)

    def test_state_of_other_parameters_is_refused(self):
        held = parameters()
        optimizer = optim.adamw(held, given_settings())
        take_steps(optimizer, held, 1)
        state = optim.state_tensors(optimizer, held)
        before = {k: v.clone() for k, v in state.items()}
        odd = {**state, "base.gone|exp_avg": torch.ones(1), "base.gone|step": torch.ones(())}
        with pytest.raises(RunError, match=r"other parameters \(base\.gone, 1 in all\)"):
            optim.load_state(optimizer, held, odd)
        assert equal(optim.state_tensors(optimizer, held), before)


class TestFactors:
    def test_b_takes_its_own_rate_and_the_rest_the_plans(self):
        held = {**parameters(), "base.x.lora_B.default.weight": nn.Parameter(torch.ones(3, 2))}
        optimizer = optim.adamw(held, given_settings(), {".lora_B.": 16.0})
        peaks = {
            name: group["peak"]
            for group in optimizer.param_groups
            for name, parameter in held.items()
            if any(parameter is member for member in group["params"])
        }
        assert peaks.pop("base.x.lora_B.default.weight") == pytest.approx(1.6)
        assert set(peaks.values()) == {0.1, 0.2}
        optim.set_rate(optimizer, 0.5)
        assert sorted({group["lr"] for group in optimizer.param_groups}) == [0.05, 0.1, 0.8]

    def test_a_factor_is_never_that_of_the_head(self):
        held = {"head.lora_B.weight": nn.Parameter(torch.ones(3, 2))}
        (group,) = optim.adamw(held, given_settings(), {"lora_B": 16.0}).param_groups
        assert group["peak"] == 0.2

    def test_a_column_of_the_adapter_is_a_vector_and_is_not_decayed(self):
        """IA3 keeps its vector as [n, 1]; decay would pull it from 1 to 0."""
        held = {name: nn.Parameter(torch.ones(1, 4)) for name in ("base.x.ia3_l", "head.weight")}
        adapter, head = optim.adamw(held, given_settings()).param_groups
        assert (adapter["weight_decay"], head["weight_decay"]) == (0.0, 0.3)
