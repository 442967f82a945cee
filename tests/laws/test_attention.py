"""L5: attention that is trained in blocks of few kernels is that within each row by itself.

The kernels of CUDA are compared in tests/gpu; here are the same functions in plain torch.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import writers
from tenon.model.attention_math import Attended, Plain, attended, known
from tenon.model.compiled import FAST
from tenon.model.entry import blocks
from tenon.model.fused import fuse
from tenon.model.packing import Borders, packed_attention
from tenon.model.sized import Fixed
from tenon.text.batch import batch

CPU = torch.device("cpu")
LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=6)
HEADS = st.sampled_from([(1, 1), (4, 2), (6, 2), (3, 1)])


def drawn(tokens: int, heads: tuple[int, int], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Give queries, keys and values, and the gradient of the output."""
    torch.manual_seed(tokens)
    return [
        torch.randn(tokens, count, 8, dtype=dtype)
        for count in (heads[0], heads[1], heads[1], heads[0])
    ]


def passed(states: list[Tensor], attend) -> list[Tensor]:
    """Give the output and the gradients of queries, keys and values."""
    leaves = [each.clone().requires_grad_() for each in states[:3]]
    output = attend(*leaves)
    return [output.detach(), *torch.autograd.grad(output, leaves, states[3])]


def alone(query_THD: Tensor, key_TKD: Tensor, value_TKD: Tensor, lengths, window: int) -> Tensor:
    """Attend row by row, each by torch's own attention."""
    found = []
    for states in zip(
        *(each.split(lengths) for each in (query_THD, key_TKD, value_TKD)), strict=True
    ):
        place = torch.arange(len(states[0]))
        see = place <= place[:, None]
        see &= place > place[:, None] - (window or len(place))
        sent = [each.transpose(0, 1) for each in states]
        made = functional.scaled_dot_product_attention(*sent, attn_mask=see, enable_gqa=True)
        found.append(made.transpose(0, 1))
    return torch.cat(found)


@given(LENGTHS, HEADS, st.sampled_from([0, 1, 3]))
def test_each_row_attends_as_if_it_were_alone(lengths, heads, window):
    states = drawn(sum(lengths), heads)
    spans = Borders(tuple(lengths), CPU).spans
    found = passed(states, lambda *s: Attended.apply(*s, spans, 8**-0.5, window))
    expected = passed(states, lambda *s: alone(*s, lengths, window))
    for mine, torchs in zip(found, expected, strict=True):
        assert torch.allclose(mine, torchs, rtol=1e-9, atol=1e-12)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8))
def test_each_token_knows_where_its_row_begins_and_ends(lengths):
    starts = torch.tensor(np.cumsum([0, *lengths]), dtype=torch.int32)
    spans = Fixed(tuple(lengths), CPU, starts=starts, most=9).spans
    ends = np.cumsum(lengths)
    assert spans.begins_T.tolist() == np.repeat(ends - lengths, lengths).tolist()
    assert spans.ends_T.tolist() == np.repeat(ends, lengths).tolist()


@given(LENGTHS, st.sampled_from([1, 4, 64]), st.booleans())
def test_tiles_with_the_most_to_do_come_first(lengths, tokens, back):
    spans = Borders(tuple(lengths), CPU).spans
    tiles_N3 = spans.tiles(tokens, back=back)
    assert tiles_N3.dtype == torch.int32
    count, begins, ends = sum(lengths), spans.begins_T.tolist(), spans.ends_T.tolist()
    assert sorted(tiles_N3[:, 0].tolist()) == list(range(0, count, tokens))
    most = []
    for first, reach, alone in tiles_N3.tolist():
        last = min(first + tokens, count) - 1
        assert reach == (begins[first] if back else ends[last])
        assert bool(alone) is (begins[first] == begins[last])
        most.append(last - reach if back else reach - first)
    assert most == sorted(most, reverse=True)


@pytest.mark.parametrize("window", [None, 4, 100])
def test_it_is_packed_attention(window):
    lengths = (5, 1, 9)
    states = [each[None].transpose(1, 2) for each in drawn(15, (4, 2), torch.float32)[:3]]
    layer, how = nn.Identity(), {"scaling": 0.3, "is_causal": True, "sliding_window": window}
    expected = packed_attention(layer, *states, None, borders=Borders(lengths, CPU), **how)[0]
    borders = Borders(lengths, CPU)
    flat = tuple(each.squeeze(0).transpose(0, 1) for each in states)
    assert torch.allclose(attended(flat, borders, how)[None], expected, atol=1e-6)
    assert borders.windows == ({window} if window else set())


def test_a_layer_that_attends_otherwise_is_not_known():
    layer, states = SimpleNamespace(is_causal=True, head_dim=8), torch.ones(1)
    assert known(layer, {"scaling": 0.1, "sliding_window": 3}, states)
    assert not known(layer, {"softcap": 30.0}, states)
    assert not known(layer, {"is_causal": False}, states)
    assert not known(SimpleNamespace(is_causal=False), {}, states)


def test_attention_that_proves_to_differ_is_left_to_packed_attention(tmp_path, monkeypatch):
    folder = writers.causal_folder(tmp_path, "qwen3")
    model = writers.writer(folder, shaken=True)
    batches = [batch(writers.tokens_of(folder), np.array([0, 1, 2]))]
    expected = writers.gradients(model, batches)
    right = Plain.attended

    def wrong(*given: object) -> tuple[Tensor, Tensor]:
        out_THD, whole_TH = right(*given)
        return out_THD * 1.1, whole_TH

    for faulty in (False, True):
        monkeypatch.setattr(Plain, "attended", staticmethod(wrong if faulty else right))
        for block in blocks(model.trunk.model):
            vars(block).pop("forward", None)
        fusion = fuse(model.trunk, anywhere=True)
        tiled = sum(vars(block)[FAST].compiled.tiled for block in blocks(model.trunk.model))
        assert (fusion.fused, fusion.tiled) == (fusion.of, tiled)
        assert tiled == (0 if faulty else fusion.of)
        assert ("attention too" in str(fusion)) is not faulty
        found = writers.gradients(model, batches)
        for name, gradient in expected.items():
            assert float((found[name] - gradient).norm()) <= 1e-5 * float(gradient.norm()), name
