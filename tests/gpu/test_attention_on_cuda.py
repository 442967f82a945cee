"""On a GPU the kernels of attention within packed rows are as near to the truth as torch's."""

from __future__ import annotations

import pytest
import torch

from tenon.model import attention_math
from tenon.model.attention_math import Attended, Plain
from tenon.model.packing import VARLEN, Borders, _options
from tenon.model.sized import Fixed

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]
FACTOR = 1.5
"""By which the error against float64 may exceed that of torch's kernel."""
ROWS = {
    "short": [9, 1, 14, 30] * 8,
    "mixed": [300, 5, 1, 200, 64, 65, 129],
    "long": [1500, 33],
}


def drawn(rows: list[int], heads: tuple[int, int, int], dtype: torch.dtype) -> list[torch.Tensor]:
    """Give queries, keys and values, and the gradient of the output."""
    query, key, channels = heads
    torch.manual_seed(sum(rows) + query)
    return [
        torch.randn(sum(rows), count, channels, device="cuda", dtype=dtype)
        for count in (query, key, key, query)
    ]


def passed(states: list[torch.Tensor], attend) -> list[torch.Tensor]:
    """Give the output and the gradients of queries, keys and values."""
    query, key, value = (each.detach().clone().requires_grad_() for each in states[:3])
    output = attend(query, key, value)
    return [output.detach(), *torch.autograd.grad(output, (query, key, value), states[3])]


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.double() - other.double()).norm() / other.double().norm())


def truth(states: list[torch.Tensor], borders: Borders, window: int) -> list[torch.Tensor]:
    query, key, value, given = (each.double() for each in states)
    scaling = query.shape[2] ** -0.5
    made = Plain.attended((query, key, value), borders.spans, scaling, window)
    how = (borders.spans, scaling, window)
    return [made[0], *Plain.attended_back(given, (query, key, value), made, *how)]


@pytest.mark.parametrize("window", [0, 50])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(
    ("heads", "dtype"),
    [
        ((4, 2, 128), torch.bfloat16),
        ((2, 2, 128), torch.bfloat16),
        ((8, 1, 128), torch.float16),
        ((8, 2, 64), torch.bfloat16),
        ((14, 2, 64), torch.bfloat16),
        ((6, 1, 32), torch.float16),
    ],
)
def test_kernels_are_as_near_to_the_truth_as_torchs(rows, heads, dtype, window):
    states = drawn(ROWS[rows], heads, dtype)
    borders = Borders(tuple(ROWS[rows]), states[0].device)
    starts, longest = borders.starts_B1, borders.longest
    scaling = heads[2] ** -0.5
    spans = borders.spans
    found = passed(states, lambda q, k, v: Attended.apply(q, k, v, spans, scaling, window))
    options = _options(window or None, scaling, causal=True)
    torchs = passed(
        states, lambda q, k, v: VARLEN(q, k, v, starts, starts, longest, longest, **options)
    )
    expected = truth(states, borders, window)
    for mine, other, exact in zip(found, torchs, expected, strict=True):
        assert exact.any()
        assert apart(mine, exact) <= FACTOR * apart(other, exact)


def test_the_bits_are_always_the_same():
    rows = ROWS["mixed"]
    states = drawn(rows, (4, 2, 128), torch.bfloat16)
    spans = Borders(tuple(rows), states[0].device).spans
    one, other = (
        passed(states, lambda q, k, v: Attended.apply(q, k, v, spans, 0.1, 0)) for _ in "ab"
    )
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def test_a_recorded_pass_goes_by_the_borders_that_are_written_later():
    total = sum(ROWS["mixed"])
    states = drawn(ROWS["mixed"], (4, 2, 64), torch.bfloat16)
    starts = torch.zeros(9, dtype=torch.int32, device="cuda")
    starts[1:] = total
    graph = torch.cuda.CUDAGraph()

    def attend() -> torch.Tensor:
        borders = Fixed((total,), starts.device, starts=starts, most=total)
        return Attended.apply(*states[:3], borders.spans, 0.1, 0)

    attend()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        output = attend()
    for rows in (ROWS["mixed"], [total - 10, 10]):
        ends = torch.tensor([0, *rows], device="cuda").cumsum(0).int()
        starts[: len(ends)] = ends
        starts[len(ends) :] = total
        graph.replay()
        there = Borders(tuple(rows), starts.device)
        assert torch.equal(output, Attended.apply(*states[:3], there.spans, 0.1, 0))


def test_there_are_kernels_where_there_is_a_triton():
    assert attention_math.kernels() is not None
