"""A test of learning rates: what it finds on a loss that is known, and that it leaves no trace."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from laws.test_untouched import assert_same, state
from runs import classifier, settings, tokens
from tenon.core.errors import PlanError
from tenon.terminal.rates import curve
from tenon.train.rate_test import LEAST_STEPS, RateTest, _found, rate_test


@pytest.fixture
def model(folder_of):
    return classifier(folder_of("bert")).train()


def tried(model, rows=60, **more) -> RateTest:
    given = settings(epochs=12, tokens_per_step=60, **more)
    return rate_test(model, tokens(rows), given, default=1e-2, factors={}, seed=1)


def test_it_leaves_the_model_as_it_was(model):
    for parameter in list(model.trainable().values())[:2]:
        parameter.grad = torch.ones_like(parameter)
    before = state(model)
    found = tried(model)
    assert_same(state(model), before)
    assert len(found.rates) == len(found.changes) == len(found.smoothed)
    assert tried(model) == found


def test_at_first_rates_nothing_changes_and_at_last_ones_the_loss_diverges(model):
    found = tried(model)
    assert found.rates[0] == pytest.approx(1e-5)
    assert abs(found.changes[0]) < 1e-3
    assert "diverged" in found.told or "not finite" in found.told or "not diverged" in found.told
    ratios = np.diff(np.log(found.rates))
    assert np.allclose(ratios, ratios[0])


def test_a_head_stays_as_it_is(model):
    head = {name: p.clone() for name, p in model.head.named_parameters()}
    seen = []
    model.head.register_forward_hook(lambda module, *_: seen.append(module.linear.weight.clone()))
    tried(model)
    assert all(torch.equal(each, head["linear.weight"]) for each in seen)


def test_too_few_steps_are_refused(model):
    given = settings(epochs=1, tokens_per_step=60)
    with pytest.raises(PlanError, match=rf"the run has \d+ steps, .* takes {LEAST_STEPS}; keep"):
        rate_test(model, tokens(40), given, default=1e-2, factors={}, seed=1)


def test_a_valley_is_found_where_it_is():
    rates = np.geomspace(1e-6, 1, 100).tolist()
    logs = np.log10(rates)
    changes = (-np.exp(-((logs + 2.5) ** 2) / 0.5)).tolist()
    found = _found(rates, changes, 2.0, 1e-3, "up to 1")
    assert 1e-3 < found.lowest < 2e-2 and found.steepest < found.lowest
    assert found.steepest / 4 < found.suggestion < found.lowest
    assert found.setting == f"train.learning_rate={found.suggestion:g}"


def test_of_a_flat_loss_nothing_is_suggested():
    rates = np.geomspace(1e-6, 1, 100).tolist()
    random = np.random.default_rng(0)
    found = _found(rates, random.normal(0, 0.005, 100).tolist(), 2.0, 1e-3, "up to 1")
    assert found.suggestion is found.lowest is found.steepest is None and not found.setting


@pytest.mark.parametrize("valley", [-5.5, 0.5])
def test_a_valley_far_from_what_suits_the_kind_is_told_and_not_suggested(valley):
    rates = np.geomspace(1e-6, 10, 100).tolist()
    changes = (-np.exp(-((np.log10(rates) - valley) ** 2) / 0.05)).tolist()
    found = _found(rates, changes, 2.0, 1e-3, "up to 10")
    # The means of what came before lie behind.
    assert 0.5 < found.lowest / 10**valley < 8
    assert found.suggestion is None and not found.setting


def test_a_curve_rises_and_falls_as_its_values():
    lines = curve([1e-3, 1e-2, 1e-1, 1], [0.0, 0.0, 1.0, 1.0], 20, 4)
    assert len(lines) == 4 and {len(line) for line in lines} == {20}
    blank = "\u2800"
    assert lines[0][-1] != blank and lines[0][0] == blank
    assert lines[-1][0] != blank and lines[-1][-1] == blank
    assert curve([], [], 5, 2) == [blank * 5] * 2 and len(curve([1.0], [2.0], 5, 2)) == 2
