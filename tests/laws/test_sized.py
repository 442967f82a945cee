"""L5: a micro-batch that is laid out in a size has the loss and gradients of the batch itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import writers
from tenon.model.sized import FEWEST, LONGEST, STEPS, Laid, Picked, rounded, size_of
from tenon.text.batch import batch
from tenon.train.loop import Course, Loop
from tenon.train.passes import Passes

PARTS = ([0, 1, 2], [3, 4], [5, 6, 7, 8], [9], [10, 11, 12])


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("bases")


def passed(model, batches, passes: Passes) -> tuple[dict[str, torch.Tensor], float]:
    """Give the gradients of a step and its loss."""
    model.train()
    model.zero_grad(set_to_none=True)
    targets = sum(model.targets(each) for each in batches)
    losses = [passes.passed(each, targets, torch.Tensor.backward) for each in batches]
    return {n: p.grad.clone() for n, p in model.trainable().items()}, float(sum(losses))


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_filling_changes_no_gradient(cache, arch):
    folder = writers.causal_folder(cache, arch)
    model = writers.writer(folder, shaken=True)
    rows = writers.tokens_of(folder)
    batches = [batch(rows, np.array(part)) for part in PARTS]
    expected, loss = passed(model, batches, Passes(model, model.trainable(), "plain"))
    passes = Passes(model, model.trainable(), "plain", sizes=True)
    found, same = passed(model, batches, passes)
    assert passes.computed == len(PARTS)
    assert passes.filling > 0
    assert same == pytest.approx(loss, rel=1e-6)
    for name, gradient in expected.items():
        assert gradient.any()
        assert float((found[name] - gradient).norm()) <= 1e-5 * float(gradient.norm()), name


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=300))
def test_a_size_has_room_and_little_filling(lengths):
    ids = torch.ones(sum(lengths), dtype=torch.int64)
    made = writers.Batch(ids, None, tuple(lengths), torch.ones(len(ids)), np.arange(len(lengths)))
    size = size_of(made)
    assert len(ids) < size.tokens <= len(ids) + max(FEWEST, (len(ids) + 1) / STEPS)
    assert size.learned >= len(ids)
    assert size.longest >= max(*lengths, LONGEST)
    laid = Laid(size, torch.device("cpu"))
    laid.fill(made, 1.0)
    starts = laid.starts
    assert bool((starts.diff() >= 0).all())
    assert int(starts[-1]) == size.tokens
    assert int(starts.diff().max()) <= size.longest
    assert starts[: len(lengths) + 1].tolist() == np.cumsum([0, *lengths]).tolist()
    assert float(laid.weights[:-1].sum()) == len(ids)


@given(st.integers(1, 10**6))
def test_there_are_few_sizes(count):
    found = rounded(count, STEPS)
    assert count <= found < count + max(FEWEST, count / STEPS + 1)
    assert rounded(found, STEPS) == found


def test_states_that_are_picked_go_back_to_their_places():
    hidden_TD = torch.randn(6, 3, requires_grad=True)
    places_U = torch.tensor([1, 4, 5, 5])
    picked_UD = Picked.apply(hidden_TD, places_U)
    assert torch.equal(picked_UD, hidden_TD[places_U])
    weights_U = torch.tensor([2.0, 3.0, 0.0, 0.0])
    (picked_UD * weights_U[:, None]).sum().backward()
    assert hidden_TD.grad[:, 0].tolist() == [0.0, 2.0, 0.0, 0.0, 3.0, 0.0]


def test_what_is_not_recorded_is_computed_as_ever(cache, tmp_path):
    folder = writers.causal_folder(cache, "llama")
    model = writers.writer(folder)
    course = Course(tmp_path, "p", 1, writers.settings(), unrecorded="")
    loop = Loop(model, writers.tokens_of(folder), course)
    assert loop.passes.why == "they are for CUDA"
    assert not loop.passes.sizes
    assert loop.passes.notes == []
