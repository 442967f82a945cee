"""Borders and packed attention: groups of like length, masks, windows, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from tenon.adapters.prefix_attention import Seen
from tenon.core.errors import RunError
from tenon.model.packing import BEYOND, Borders, packed_attention

CPU = torch.device("cpu")
LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=12).map(tuple)


def states(heads, tokens, seed, width=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, heads, tokens, width, generator=generator)


@given(LENGTHS)
def test_the_groups_hold_every_token_once_in_its_place(lengths):
    borders = Borders(lengths, CPU)
    assert borders.starts_B1.tolist() == [sum(lengths[:n]) for n in range(len(lengths) + 1)]
    assert borders.longest == max(lengths)
    stop, rows = 0, 0
    for group in borders.groups:
        run = lengths[rows : rows + group.rows]
        assert (group.start, group.stop, group.longest) == (stop, stop + sum(run), max(run))
        assert max(run) - min(run) <= max(2, 0.25 * max(run))
        stop, rows = group.stop, rows + group.rows
        if group.token_GL is None:
            assert min(run) == max(run)
            continue
        places = group.token_GL[group.real_GL]
        assert places.tolist() == list(range(sum(run)))
        back = group.token_GL.flatten()[group.place_T]
        assert back.tolist() == list(range(sum(run)))
        owner = torch.repeat_interleave(torch.arange(len(run)), torch.tensor(run))
        assert (owner[group.token_GL] == torch.arange(len(run))[:, None]).all()
    assert (stop, rows) == (sum(lengths), len(lengths))


@given(
    LENGTHS,
    st.booleans(),
    st.none() | st.integers(1, 12),
    st.none() | st.floats(0.1, 2.0),
    st.sampled_from([1, 2, 4]),
    st.integers(0, 9),
)
def test_each_row_attends_as_it_would_alone(lengths, causal, window, scaling, kv_heads, seed):
    query, key, value = (
        states(heads, sum(lengths), seed + n) for n, heads in enumerate((4, kv_heads, kv_heads))
    )
    found, weights = packed_attention(
        SimpleNamespace(is_causal=causal),
        query,
        key,
        value,
        None,
        borders=Borders(lengths, CPU),
        scaling=scaling,
        sliding_window=window,
    )
    assert weights is None
    start = 0
    for length in lengths:
        row = slice(start, start + length)
        q, k, v = query[:, :, row], key[:, :, row], value[:, :, row]
        far = torch.arange(length)[:, None] - torch.arange(length)
        seen = far.abs() < (window or length)
        seen = seen & (far >= 0) if causal else seen
        expected = scaled_dot_product_attention(q, k, v, seen, scale=scaling, enable_gqa=True)
        torch.testing.assert_close(found[:, row], expected.transpose(1, 2), rtol=1e-5, atol=1e-5)
        start += length


@settings(max_examples=12)
@given(
    st.lists(st.integers(1, 12) | st.integers(60, 80), min_size=1, max_size=6).map(tuple),
    st.booleans(),
    st.none() | st.integers(1, 70),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_gradients_are_those_of_each_row_alone(lengths, causal, window, kv_heads, dtype):
    """Rows below and above `SHORT` attend in different ways."""
    given = [
        states(heads, sum(lengths), n).to(dtype).requires_grad_()
        for n, heads in enumerate((4, kv_heads, kv_heads))
    ]
    wanted = states(4, sum(lengths), 9).transpose(1, 2)
    found, _ = packed_attention(
        SimpleNamespace(is_causal=causal), *given, None,
        borders=Borders(lengths, CPU), sliding_window=window,
    )  # fmt: skip
    assert found.dtype == dtype
    gradients = torch.autograd.grad((found.float() * wanted).sum(), given)
    alone, start = [each.detach().float().requires_grad_() for each in given], 0
    total = torch.zeros(())
    for length in lengths:
        row = slice(start, start + length)
        far = torch.arange(length)[:, None] - torch.arange(length)
        seen = (far.abs() < (window or length)) & ((far >= 0) if causal else True)
        made = scaled_dot_product_attention(*(s[:, :, row] for s in alone), seen, enable_gqa=True)
        total = total + (made.transpose(1, 2) * wanted[:, row]).sum()
        start += length
    expected = torch.autograd.grad(total, alone)
    near = 2e-5 if dtype is torch.float32 else 2e-2
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours.float(), theirs, rtol=near, atol=near)


def test_an_is_causal_of_the_call_goes_before_that_of_the_module():
    query = states(2, 6, 0)
    args = (query, query, query, None)
    borders = Borders((6,), CPU)
    free = packed_attention(SimpleNamespace(is_causal=False), *args, borders=borders)[0]
    bound = packed_attention(SimpleNamespace(is_causal=True), *args, borders=borders)[0]
    named = packed_attention(
        SimpleNamespace(is_causal=True), *args, borders=borders, is_causal=False
    )
    assert not torch.equal(free, bound)
    assert torch.equal(named[0], free)
    assert torch.equal(packed_attention(SimpleNamespace(), *args, borders=borders)[0], free)


def test_dropout_drops_scores():
    query = states(2, 40, 0)
    args = (SimpleNamespace(is_causal=False), query, query, query, None)
    whole, dropped = (
        packed_attention(*args, borders=Borders((30, 10), CPU), dropout=p)[0] for p in (0.0, 0.5)
    )
    assert not torch.allclose(whole, dropped)


@pytest.mark.parametrize("name", ["attention_mask", *BEYOND])
def test_what_it_does_not_know_is_refused(name):
    query = states(2, 3, 0)
    mask = torch.zeros(1, 1, 3, 3) if name == "attention_mask" else None
    others = {} if name == "attention_mask" else {name: torch.ones(2)}
    with pytest.raises(RunError, match=f"adds {name}"):
        packed_attention(
            SimpleNamespace(), query, query, query, mask, borders=Borders((3,), CPU), **others
        )


def test_borders_tell_whether_and_with_which_windows_they_were_used():
    query = states(2, 3, 0)
    borders = Borders((3,), CPU)
    assert not borders.used and borders.windows == set()
    for window in (None, 5, 9):
        packed_attention(
            SimpleNamespace(), query, query, query, None, borders=borders, sliding_window=window
        )
    assert borders.used and borders.windows == {5, 9}


@given(LENGTHS, st.booleans(), st.integers(0, 9))
def test_rows_that_are_sorted_by_length_attend_as_they_lie_with_their_prefixes(
    lengths, causal, seed
):
    """Without gradients rows are sorted, whatever lies between; each keeps its own prefix."""
    query, key, value = (states(2, sum(lengths), seed + n) for n in range(3))
    generator = torch.Generator().manual_seed(seed)
    prefixes = torch.randn(2, len(lengths), 2, 3, 4, generator=generator)
    real = torch.rand(len(lengths), 3, generator=generator) < 0.5
    for prefix in (None, Seen(prefixes[0], prefixes[1], real)):
        given = (SimpleNamespace(is_causal=causal), query, key, value, None)
        told = {"borders": Borders(lengths, CPU), "prefix": prefix}
        with torch.no_grad():
            sorted_, _ = packed_attention(*given, **told)
        lying, _ = packed_attention(*given, **told)
        torch.testing.assert_close(sorted_, lying, rtol=1e-5, atol=1e-5)


def test_rows_are_sorted_where_that_makes_fewer_groups():
    assert Borders((4, 30, 4, 30, 4, 30, 4, 30), CPU).sorted is not None
    assert Borders((4, 4, 4, 4, 30, 30, 30, 30), CPU).sorted is None
    found = Borders((4, 30, 4, 30, 4, 30), CPU).sorted
    assert found.row_B.tolist() == [0, 2, 4, 1, 3, 5] and len(found.groups) == 2
    assert found.token_T[found.back_T].tolist() == list(range(102))


@given(LENGTHS, st.data())
def test_some_rows_have_borders_by_themselves(lengths, data):
    rows = tuple(sorted(data.draw(st.sets(st.sampled_from(range(len(lengths))), min_size=1))))
    borders, token_T = Borders(lengths, CPU).part(rows)
    assert borders.lengths == tuple(lengths[row] for row in rows)
    starts = [sum(lengths[:row]) for row in rows]
    wanted = [s + n for s, row in zip(starts, rows, strict=True) for n in range(lengths[row])]
    assert token_T.tolist() == wanted
