"""Step: the mean over the whole step; nothing that is not finite is ever stepped on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch.nn import functional

from runs import classifier, equal, settings, tokens, weights
from tenon.core.errors import RunError
from tenon.text.batch import batch
from tenon.train import optim
from tenon.train.step import step


@pytest.fixture
def model(folder_of):
    return classifier(folder_of("bert")).train()


@pytest.fixture(scope="module")
def accelerator():
    return Accelerator(cpu=True)


def taken(model, batches, accelerator, clip=1e9, rate=1e-2):
    optimizer = optim.adamw(
        model.trainable(), settings(learning_rate=rate, head_learning_rate=rate)
    )
    torch.manual_seed(0)
    return step(model, batches, optimizer, accelerator, clip)


def cut(rows, *borders):
    return [batch(rows, part) for part in np.split(np.arange(len(rows)), borders)]


def test_the_result_is_that_of_the_rows(model, accelerator):
    rows = tokens(9, labelled=0.6)
    model.eval()
    logits_BL = model.logits_BL(batch(rows, np.arange(9)))
    gold_B = torch.from_numpy(rows.labels_R.astype(np.int64))
    known = gold_B >= 0
    assert 0 < int(known.sum()) < 9
    expected = functional.cross_entropy(logits_BL[known], gold_B[known]).detach()
    result = taken(model, cut(rows, 4), accelerator)
    assert result.loss == pytest.approx(float(expected), rel=1e-5)
    assert result.targets == int(known.sum())
    assert result.tokens == rows.total
    assert result.norm > 0


def test_rows_without_a_label_teach_nothing(folder_of, accelerator):
    rows = tokens(12, labelled=0.5)
    known = tokens(12, labelled=0.5).take(np.flatnonzero(rows.labels_R >= 0))
    models = [classifier(folder_of("bert"), dropout=0.0) for _ in range(2)]
    results = [
        taken(model, cut(part), accelerator)
        for model, part in zip(models, (rows, known), strict=True)
    ]
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-5)
    assert results[0].norm == pytest.approx(results[1].norm, rel=1e-4)


@pytest.mark.parametrize("borders", [(3,), (1, 2, 7), (2, 4, 6, 8)])
def test_micro_batches_do_not_change_a_step(folder_of, accelerator, borders):
    """L5, for the step: a mean over the step, not a mean of means."""
    rows = tokens(9, labelled=0.8)
    results, gradients = [], []
    for parts in ((), borders):
        model = classifier(folder_of("bert"), dropout=0.0).train()
        held: dict[str, torch.Tensor] = {}
        for name, parameter in model.trainable().items():
            parameter.register_post_accumulate_grad_hook(
                lambda p, name=name, held=held: held.__setitem__(name, p.grad.clone())
            )
        results.append(taken(model, cut(rows, *parts), accelerator))
        gradients.append(held)
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-5)
    for name, gradient in gradients[0].items():
        difference = (gradients[1][name] - gradient).norm()
        assert difference <= 1e-5 * max(float(gradient.norm()), 1e-3), name


def test_the_gradient_is_clipped_and_its_norm_told_before(folder_of, accelerator):
    norms, changes = [], []
    for clip in (1e9, 1e-3):
        model = classifier(folder_of("bert"), dropout=0.0).train()
        optimizer = torch.optim.SGD(model.trainable().values(), lr=1.0)
        before = weights(model)
        result = step(model, cut(tokens(9)), optimizer, accelerator, clip)
        after = weights(model)
        norms.append(result.norm)
        changes.append(torch.stack([(after[n] - before[n]).norm() for n in before]).norm().item())
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)
    assert changes[0] == pytest.approx(norms[0], rel=1e-3)
    assert changes[1] == pytest.approx(1e-3, rel=1e-2)


def test_gradients_are_gone_afterwards(model, accelerator):
    taken(model, cut(tokens(4)), accelerator)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("planted", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("place", ["head", "adapter"])
def test_what_is_not_finite_is_refused_before_the_update(model, accelerator, planted, place):
    name = next(n for n in model.trainable() if n.startswith("head") == (place == "head"))
    with torch.no_grad():
        model.trainable()[name].view(-1)[0] = planted
    before = weights(model)
    with pytest.raises(RunError, match="not finite; nothing was updated. Lower train.learning_r"):
        taken(model, cut(tokens(6), 3), accelerator)
    after = weights(model)
    assert all(torch.equal(before[n].nan_to_num(), after[n].nan_to_num()) for n in before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_norm_that_overflows_is_refused(model, accelerator):
    """The loss is finite, the gradient is not: its square does not fit."""
    with torch.no_grad():
        model.head.linear.weight.mul_(1e30)
    before = weights(model)
    with pytest.raises(RunError, match="not finite"):
        taken(model, cut(tokens(6)), accelerator)
    assert equal(before, weights(model))


def test_a_step_in_which_no_row_has_a_label_is_refused(model, accelerator):
    before = weights(model)
    with pytest.raises(RunError, match="no row of this step has a label"):
        taken(model, cut(tokens(6, labelled=0.0), 3), accelerator)
    assert equal(before, weights(model))
