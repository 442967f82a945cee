"""Head and pooling: hidden states to one vector a row, and the vector to class scores."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tenon.model.head import Head, pool

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=8)


def states(lengths, seed=0, width=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(sum(lengths), width, generator=generator)


@given(LENGTHS, st.integers(0, 99))
def test_each_pooling_is_that_of_each_row_alone(lengths, seed):
    hidden_TD = states(lengths, seed)
    rows = torch.split(hidden_TD, lengths)
    expected = {
        "mean": torch.stack([row.mean(0) for row in rows]),
        "cls": torch.stack([row[0] for row in rows]),
        "pooler": torch.stack([row[0] for row in rows]),
        "last": torch.stack([row[-1] for row in rows]),
    }
    for pooling, vectors_BD in expected.items():
        found = pool(hidden_TD, tuple(lengths), pooling)
        torch.testing.assert_close(found, vectors_BD, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_the_vector_is_float32_and_summed_in_it(pooling, dtype):
    """2,048 ones and a half: in bfloat16 the sum would stop growing at 256."""
    hidden_TD = torch.ones(2048, 3, dtype=dtype)
    hidden_TD[-1] = 0.5
    found = pool(hidden_TD, (2048,), pooling)
    assert found.dtype == torch.float32
    expected = {"mean": (2047 + 0.5) / 2048, "cls": 1.0, "last": 0.5}[pooling]
    torch.testing.assert_close(found, torch.full((1, 3), expected), rtol=1e-6, atol=0)


@given(LENGTHS)
def test_the_gradient_of_a_row_reaches_its_own_tokens_only(lengths):
    hidden_TD = states(lengths).requires_grad_()
    pool(hidden_TD, tuple(lengths), "mean")[0].sum().backward()
    expected = torch.zeros_like(hidden_TD)
    expected[: lengths[0]] = 1 / lengths[0]
    torch.testing.assert_close(hidden_TD.grad, expected)


def test_normalisation_makes_length_one_and_a_zero_vector_stays_finite():
    head = Head(5, 3, normalize=True, bias=True)
    vectors_BD = torch.cat([states([4]) * 100, torch.zeros(1, 5)])
    found = head.features(vectors_BD)
    torch.testing.assert_close(found[:4].norm(dim=-1), torch.ones(4))
    assert torch.equal(found[4], torch.zeros(5))
    assert torch.equal(head(vectors_BD), head.linear(found))


def test_without_normalisation_the_vector_is_read_as_it_is():
    head = Head(5, 3, normalize=False, bias=False)
    assert torch.equal(head(states([4])), states([4]) @ head.linear.weight.T)


@pytest.mark.parametrize("normalize", [True, False])
def test_a_head_that_starts_from_a_probe_gives_the_logits_of_the_probe(normalize):
    head = Head(5, 3, normalize=normalize, bias=True)
    weight_LD, bias_L = states([3], 1), torch.tensor([1.0, -2.0, 0.5])
    head.start_from(weight_LD, bias_L, torch.zeros(5))
    vectors_BD = states([6], 2)
    read = torch.nn.functional.normalize(vectors_BD, dim=-1) if normalize else vectors_BD
    torch.testing.assert_close(head(vectors_BD), read @ weight_LD.T + bias_L)
    assert head.linear.weight.requires_grad and head.linear.bias.requires_grad


def test_a_head_without_a_bias_carries_the_bias_along_the_unit_vector():
    head = Head(5, 3, normalize=False, bias=False)
    weight_LD, bias_L = states([3], 1), torch.tensor([1.0, -2.0, 0.5])
    unit_D = torch.tensor([0.0, 0.5, 0.0, 0.0, 0.0])
    head.start_from(weight_LD, bias_L, unit_D)
    vectors_BD = states([6], 2)
    vectors_BD[:, 1] = 2.0  # so that each has a product of 1 with the unit vector
    torch.testing.assert_close(head(vectors_BD), vectors_BD @ weight_LD.T + bias_L)
    assert head.linear.bias is None


def test_a_probe_of_other_shapes_is_not_stretched_to_fit():
    head = Head(5, 3, normalize=False, bias=True)
    before = head.linear.weight.detach().clone()
    with pytest.raises(RuntimeError, match="must match|broadcastable|size"):
        head.start_from(torch.ones(2, 5), torch.zeros(3), torch.zeros(5))
    assert torch.equal(head.linear.weight, before)
