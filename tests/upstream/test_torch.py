"""What we lean on in torch that its documentation does not promise."""

from __future__ import annotations

import pytest
import torch

CHANGE = "; model/short.py writes it in its place"


@pytest.mark.parametrize("length", [16, 24, 32, 40, 64])
def test_a_softmax_and_its_gradient_may_be_written_where_they_are_read(length):
    score = torch.randn(30, length, length)
    score[:, :, length - 3 :] = -torch.inf
    expected, given = torch.softmax(score, -1), torch.randn(30, length, length)
    assert torch.equal(torch.softmax(score, -1, out=score), expected), CHANGE
    backward = torch._softmax_backward_data
    known = backward(given, expected, -1, torch.float32)
    backward(given, expected, -1, torch.float32, grad_input=given)
    assert torch.equal(given, known), CHANGE


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_that_is_not_added_passes_over_what_was_there(dtype):
    there = torch.full((40, 24), torch.nan, dtype=dtype)
    left, right = torch.ones(40, 8, dtype=dtype), torch.ones(8, 24, dtype=dtype)
    assert bool((there.addmm_(left, right, beta=0) == 8).all())
    each = torch.full((2, 16, 24), torch.nan)
    torch.baddbmm(each, torch.ones(2, 16, 8), torch.ones(2, 8, 24), beta=0, out=each)
    assert bool((each == 8).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_of_gelu_may_be_written_where_it_is_read(dtype):
    given, read = torch.randn(40, 48).to(dtype), torch.randn(40, 48).to(dtype)
    aten = torch.ops.aten
    expected = aten.gelu_backward(given, read)
    aten.gelu_backward.grad_input(given, read, approximate="none", grad_input=given)
    assert torch.equal(given, expected)
