"""Cells: rows get blocks that nobody else has, and find nothing in them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tenon.core.errors import RunError
from tenon.model.attending import attention
from tenon.model.cached import Line, Pass
from tenon.model.cells import Cells

CPU = torch.device("cpu")


@given(moves=st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=30))
def test_no_block_has_two_rows_and_none_is_lost(moves):
    cells, held = Cells(100, size=8), []
    for take, number in moves:
        if take and cells.needed(number) <= cells.free:
            held.append(cells.take(number))
            assert len(held[-1]) == -(-number // 8)
        elif not take and held:
            cells.give_back(held.pop(number % len(held)))
        taken = [block for blocks in held for block in blocks.tolist()]
        assert len(set(taken)) == len(taken) == cells.blocks - cells.free
    with pytest.raises(RunError, match="wait until a row has ended"):
        cells.take(8 * cells.free + 1)


def test_what_is_put_is_found_and_a_taken_block_is_empty():
    cells, module = Cells(64, size=4), nn.Identity()
    cells.take(3)
    blocks = cells.take(6)
    key, value = torch.randn(1, 2, 6, 3), torch.randn(1, 2, 6, 5)
    store = cells.store(module, key, value)
    assert store is cells.store(module, key, value) is not cells.store(nn.Identity(), key, value)
    store.put(Pass([Line(blocks, 0, 6)], cells, CPU).cells_T, key, value)
    got_key, got_value = store.get(torch.from_numpy(blocks), 1)
    assert torch.equal(got_key[:, :, :6], key) and torch.equal(got_value[:, :, :6], value)
    assert not got_key[:, :, 6:].any()
    store.key_NSKD[blocks] = math.nan
    cells.give_back(blocks)
    again = cells.take(6)
    assert np.array_equal(again, blocks)
    assert not torch.cat([s.flatten() for s in store.get(torch.from_numpy(again), 1)]).any()
    assert cells.nbytes == 2 * (64 + 4) * 2 * (3 + 5) * 4, "and a block that is nobody's"


@given(
    lines=st.lists(st.tuples(st.integers(0, 90), st.integers(1, 5)), min_size=1, max_size=12),
    window=st.sampled_from([None, 1, 7, 20]),
)
def test_a_pass_shows_each_token_its_own_past_alone(lines, window):
    """What groups see is compared to what is written down of each token."""
    cells = Cells(2000, size=8)
    made = [Line(cells.take(past + new), past, new) for past, new in lines]
    turn = Pass(made, cells, CPU)
    assert turn.positions_T.tolist() == [p for past, new in lines for p in range(past, past + new)]
    seen = []
    for part in turn.parts:
        rows = [made[place] for place in part.rows.tolist()]
        if not hasattr(part, "lines"):
            assert all(line.past == 0 for line in rows)
            seen += range(sum(line.new for line in rows))
            continue
        view = part.view(window)
        blocks_GM = view.blocks_X.view(len(rows), -1)
        cells_GL = (blocks_GM[:, :, None] * 8 + torch.arange(8)).flatten(1)
        for place, line in enumerate(rows):
            own = (torch.from_numpy(line.blocks)[:, None] * 8 + torch.arange(8)).flatten().tolist()
            assert set(cells_GL[place].tolist()) <= set(own)
            for query in range(line.new):
                at = line.past + query
                wanted = own[max(0, at + 1 - (window or at + 1)) : at + 1]
                mask = view.seen_G1QL
                found = cells_GL[place] if mask is None else cells_GL[place][mask[place, 0, query]]
                assert sorted(found.tolist()) == sorted(wanted)
        seen += range(len(rows) * rows[0].new)
    assert len(seen) == len(turn.positions_T)


def test_attention_is_named_for_a_while_and_then_as_before(folder_of):
    from models import trunk_of

    model = trunk_of(folder_of("llama")).model
    before = model.config._attn_implementation
    for _ in range(2):
        with attention(model, "tenon_packed"):
            assert model.config._attn_implementation == "tenon_packed"
            with attention(model, "tenon_cached"), attention(model, "tenon_cached"):
                assert model.config._attn_implementation == "tenon_cached"
            assert model.config._attn_implementation == "tenon_packed"
        assert model.config._attn_implementation == before
    with pytest.raises(KeyError), attention(model, "eager"):
        raise KeyError
    assert model.config._attn_implementation == before
