"""Batch: rows laid end to end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import LABELS, PAIRS, TEXTS, examples, renderer_of
from tenon.text.batch import Below, batch, filled, of_ids
from tenon.text.order import Order, micro_batches
from tenon.text.tokens import collect


@pytest.fixture(scope="module")
def tokens(folder_of):
    made = examples(TEXTS * 3, PAIRS * 3, [*LABELS, None, "x"] * 3)
    return collect(made, renderer_of(folder_of("bert"), limit=20))


@given(rows=st.lists(st.integers(0, 14), min_size=1, max_size=9))
def test_the_rows_lie_end_to_end(tokens, rows):
    made = batch(tokens, np.array(rows))
    assert made.ids_T.tolist() == [token for row in rows for token in tokens.ids(row)]
    assert made.types_T.tolist() == [kind for row in rows for kind in tokens.types(row)]
    assert made.lengths == tuple(len(tokens.ids(row)) for row in rows)
    assert made.classes_X.tolist() == [tokens.labels_R[row] for row in rows]
    assert made.rows.tolist() == rows and len(made) == len(rows)
    assert made.tokens == sum(made.lengths) == len(made.positions_T)
    assert made.ids_T.dtype == made.types_T.dtype == made.classes_X.dtype == torch.int64


def test_rows_without_types_have_none(folder_of):
    tokens = collect(examples(), renderer_of(folder_of("llama")))
    made = batch(tokens, np.array([2, 0]))
    assert made.types_T is None and made.classes_X.tolist() == [-1, -1]


@given(st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=8), min_size=1, max_size=6))
def test_positions_begin_anew_in_every_row(ids):
    made = of_ids(ids)
    assert made.positions_T.tolist() == [place for row in ids for place in range(len(row))]
    assert made.ids_T.tolist() == [token for row in ids for token in row]
    assert made.lengths == tuple(map(len, ids)) and made.types_T is None
    assert made.classes_X.tolist() == [-1] * len(ids)


def test_it_goes_to_a_device_whole():
    made = of_ids([[1, 2], [3]], [[0, 1], [1]])
    there = made.to(torch.device("meta"))
    assert {t.device.type for t in (there.ids_T, there.types_T, there.targets_X)} == {"meta"}
    assert there.lengths == made.lengths and there.rows is made.rows
    assert of_ids([[1]]).to(torch.device("cpu")).types_T is None


def test_what_it_holds_is_no_view_of_the_file(tokens):
    """A batch may be changed, the mapped file may not."""
    before = tokens.ids(0).tolist()
    batch(tokens, np.array([0])).ids_T.fill_(7)
    assert tokens.ids(0).tolist() == before


def test_a_step_of_rows_becomes_batches_of_all_its_rows(tokens):
    order = Order(tokens.lengths_R, 1, 60)
    for rows in order.epoch(0):
        parts = [batch(tokens, part) for part in micro_batches(rows, tokens.lengths_R, 25)]
        assert sum(part.tokens for part in parts) == tokens.lengths_R[rows].sum()
        assert [int(row) for part in parts for row in part.rows] == rows.tolist()


@pytest.mark.parametrize("typed", [False, True])
def test_a_batch_is_filled_up_by_a_row_of_one_token(typed):
    made = of_ids([[5, 6], [7]], [[0, 1], [1]] if typed else None)
    made = replace(made, below=Below(2, torch.ones(3, 4)))
    assert filled(made, 0, 9) is made
    more = filled(made, 2, 9)
    assert more.ids_T.tolist() == [5, 6, 7, 9, 9]
    assert more.lengths == (2, 1, 2)
    assert more.tokens == 5
    assert (more.types_T is None) == (not typed)
    assert not typed or more.types_T.tolist() == [0, 1, 1, 0, 0]
    assert more.below.layers == 2
    assert more.below.states_TD.sum(1).tolist() == [4, 4, 4, 0, 0]
    assert torch.equal(more.targets_X, made.targets_X)
