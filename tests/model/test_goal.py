"""The losses of several labels and of numbers, against torch and by hand."""

from __future__ import annotations

import math

import pytest
import torch

from formed import FORMS, NUMBER, SEVERAL, formed, tokens_of
from tenon.model.goal import CLASS, LABELS
from tenon.model.goal import NUMBER as STANDARD
from tenon.model.head import Head
from tenon.text.batch import batch


def head(**constants) -> Head:
    made = Head(4, 3, normalize=False, bias=True)
    made.constants = constants
    return made


def test_labels_cost_what_each_of_them_costs():
    logits = torch.tensor([[0.0, 2.0, -1.0], [1.0, 1.0, 1.0]])
    targets = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    expected = -torch.where(targets > 0, logits.sigmoid(), 1 - logits.sigmoid()).log().sum()
    torch.testing.assert_close(LABELS.nats(logits, targets.ravel(), head()), expected)
    assert LABELS.rows(targets.ravel(), 3) == 2


def test_rows_whose_labels_are_not_known_cost_nothing():
    logits = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    targets = torch.tensor([1.0, 0.0, 1.0, -1.0, -1.0, -1.0])
    LABELS.nats(logits, targets, head()).backward()
    assert LABELS.rows(targets, 3) == 1
    assert logits.grad[0].abs().min() > 0 and (logits.grad[1] == 0).all()


def test_a_number_costs_half_its_squared_distance_in_spreads():
    logits = torch.tensor([[0.0], [1.0], [2.0]])
    targets = torch.tensor([10.0, 14.0, math.nan])
    nats = STANDARD.nats(logits, targets, head(mean=(10.0,), spread=(2.0,)))
    torch.testing.assert_close(nats, torch.tensor(0.5))
    assert STANDARD.rows(targets, 1) == 2


def test_an_offset_far_larger_than_the_spread_is_taken_off_exactly():
    targets = torch.tensor([20_000.5, 20_001.5])
    nats = STANDARD.nats(torch.zeros(2, 1), targets, head(mean=(20_001.0,), spread=(0.5,)))
    torch.testing.assert_close(nats, torch.tensor(1.0))


def test_a_row_without_targets_has_no_gradient():
    logits = torch.zeros(2, 1, requires_grad=True)
    targets = torch.tensor([1.0, math.nan])
    STANDARD.nats(logits, targets, head(mean=(0.0,), spread=(1.0,))).backward()
    assert logits.grad.tolist() == [[-1.0], [0.0]]
    assert CLASS.rows(torch.tensor([1.0, -1.0]), 3) == 1


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_without_gold_has_no_targets(form, folder_of):
    model = formed(folder_of("bert"), form)
    tokens = tokens_of(folder_of("bert"), form, 3, gold=False)
    rows = batch(tokens, torch.arange(3).numpy())
    assert model.targets(rows) == 0
    assert float(model.nats(rows).detach()) == 0


@pytest.mark.parametrize("form", [SEVERAL, NUMBER])
def test_steps_lower_the_loss(form, folder_of):
    model = formed(folder_of("bert"), form, shaken=False)
    rows = batch(tokens_of(folder_of("bert"), form, 16), torch.arange(16).numpy())
    optimizer = torch.optim.Adam(model.trainable().values(), lr=1e-2)
    losses = []
    for _ in range(12):
        loss = model.nats(rows) / model.targets(rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
