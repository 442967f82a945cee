"""Short rows attend, each by itself, as a softmax over its own tokens does."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tenon.model.rule import Rule
from tenon.model.short import STEP, WIDE, Short, attended, returned, slots_of

CPU = torch.device("cpu")
H, D = 4, 6
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=6)
RULES = st.builds(
    Rule,
    scaling=st.sampled_from([None, 0.3]),
    dropout=st.just(0.0),
    causal=st.booleans(),
    window=st.sampled_from([None, 1, 3, 20]),
)


def states(tokens: int, kept: int, dtype=torch.float64):
    torch.manual_seed(tokens)
    heads = (H, kept, kept)
    return [torch.randn(tokens, n, D, dtype=dtype).requires_grad_() for n in heads]


def known(query, key, value, lengths, rule):
    """Attend row by row."""
    made = []
    for row in zip(*(each.split(lengths) for each in (query, key, value)), strict=True):
        q, k, v = (each.transpose(0, 1) for each in row)
        k, v = (each.repeat_interleave(H // len(each), 0) for each in (k, v))
        back = torch.arange(q.shape[1])[:, None] - torch.arange(q.shape[1])
        window = rule.window or len(back)
        seen = (back < window) & (back > (-1 if rule.causal else -window))
        score = (q @ k.mT) * rule.scale(D)
        made.append((score.masked_fill(~seen, -torch.inf).softmax(-1) @ v).transpose(0, 1))
    return torch.cat(made)


@settings(max_examples=30)
@given(lengths=LENGTHS, rule=RULES, kept=st.sampled_from([1, 2, 4]))
def test_it_is_a_softmax_over_each_row(lengths, rule, kept):
    truth = states(sum(lengths), kept)
    found = [each.detach().float().requires_grad_() for each in truth]
    expected = known(*truth, lengths, rule)
    made = Short.apply(*found, slots_of(lengths, CPU), rule)
    along = torch.sin(torch.arange(made.numel())).view_as(made)
    wanted = torch.autograd.grad(expected, truth, along.double())
    given_back = torch.autograd.grad(made, found, along)
    for one, other in zip((made.detach(), *given_back), (expected.detach(), *wanted), strict=True):
        assert one.shape == other.shape
        assert float((one - other).abs().max()) <= 2e-5 * max(1.0, float(other.abs().max()))


@given(lengths=LENGTHS)
def test_each_head_of_a_token_has_a_place_in_a_slot_of_its_row(lengths):
    slots = slots_of(lengths, CPU)
    lay = slots.lay(H, 2)
    assert torch.equal(lay.state_P[lay.place_NH] // 2, torch.arange(sum(lengths) * H) // H)
    assert torch.equal(lay.state_P[lay.place_NH] % 2, torch.arange(sum(lengths) * H) % H // 2)
    assert len(lay.state_P) == H * sum(max(WIDE, -(-n // STEP) * STEP) for n in lengths)
    row_T = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    for size in slots.sizes:
        assert torch.equal(row_T[size.token_GL], size.rows_G[:, None].expand(size.token_GL.shape))


@given(lengths=LENGTHS, filling=st.integers(0, 3), unasked=st.integers(0, 1))
def test_one_token_of_each_row_may_be_asked_for(lengths, filling, unasked):
    """Behind the rows that are asked may be one that is not, and queries that are read by none."""
    query, key, value = states(sum(lengths), H, torch.float32)
    count = max(1, len(lengths) - unasked)
    ends_U = torch.tensor(lengths).cumsum(0)[:count] - 1
    slots, rule = slots_of(lengths, CPU), Rule(None, 0.0, causal=False, window=None)
    expected = Short.apply(query, key, value, slots, rule)[ends_U].flatten(1)
    along = torch.sin(torch.arange(expected.numel())).view_as(expected)
    wanted = torch.autograd.grad(expected, (query, key, value), along)
    read_U = torch.cat([ends_U, ends_U[:1].expand(filling)])
    given_states = query.detach()[read_U], key.detach(), value.detach()
    made, held = attended(given_states, slots, rule, count)
    filled = torch.cat([along, torch.zeros(filling, along.shape[1])])
    found = returned(filled, held)
    query_THD = torch.zeros_like(query).index_copy_(0, ends_U, found[0][:count])
    pairs = zip((made[:count], query_THD, *found[1:]), (expected.detach(), *wanted), strict=True)
    for one, other in pairs:
        assert float((one - other).abs().max()) <= 2e-5 * max(1.0, float(other.abs().max()))


@pytest.mark.parametrize("causal", [False, True])
def test_a_row_that_is_not_finite_spoils_no_other(causal):
    lengths, rule = [3, 5, 20], Rule(None, 0.0, causal, None)
    held = [each.detach().float() for each in states(28, 2)]
    for each in held:
        each[4] = torch.nan
    found = [each.clone().requires_grad_() for each in held]
    made = Short.apply(*found, slots_of(lengths, CPU), rule)
    gradients = torch.autograd.grad(made, found, torch.ones_like(made))
    for each in (made, *gradients):
        assert bool(each[:3].isfinite().all())
        assert bool(each[8:].isfinite().all())


def test_gradients_can_be_asked_for_once():
    found = states(8, 2, torch.float32)
    made = Short.apply(*found, slots_of([3, 5], CPU), Rule(None, 0.0, causal=False, window=None))
    made.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="once a pass"):
        made.sum().backward()
