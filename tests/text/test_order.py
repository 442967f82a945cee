"""Order and micro-batches by example; the law L3 stands in tests/laws/test_order.py."""

from __future__ import annotations

import numpy as np
import pytest

from tenon.text.order import Order, generator, micro_batches


def order(lengths, tokens, seed=0):
    return Order(np.array(lengths), seed, tokens)


def test_a_step_holds_its_tokens_and_the_longest_row_always_fits():
    assert order([4] * 10, 8).steps_per_epoch == 5
    assert [len(rows) for rows in order([4] * 10, 8).epoch(3)] == [2] * 5
    assert order([4] * 10, 9).steps_per_epoch == 5
    assert order([4] * 10, 10**9).steps_per_epoch == 1
    long = order([50, 1, 1, 1], 1)
    assert long.budget == 50 and long.steps_per_epoch == 1
    assert order([50, 30, 30, 1], 1).steps_per_epoch == 2


def test_one_row_is_one_step():
    (rows,) = order([7], 1).epoch(0)
    assert rows.tolist() == [0]


def test_rows_of_a_step_go_from_short_to_long():
    for rows in order(list(range(1, 40)), 100).epoch(0):
        assert rows.tolist() == sorted(rows.tolist())


@pytest.mark.parametrize(
    ("lengths", "tokens", "expected"),
    [
        ([1, 2, 3], 100, [[0, 1, 2]]),
        ([1, 2, 3], 3, [[0, 1], [2]]),
        ([1, 2, 3], 1, [[0], [1], [2]]),
        ([9, 1, 9], 8, [[0], [1], [2]]),
        ([5, 5], 10, [[0, 1]]),
    ],
)
def test_micro_batches_hold_at_most_their_tokens(lengths, tokens, expected):
    found = micro_batches(np.arange(len(lengths)), np.array(lengths), tokens)
    assert [part.tolist() for part in found] == expected


def test_streams_of_a_seed_are_apart_and_seeds_reach_to_the_end():
    first = {
        float(generator(seed, stream).random())
        for seed in (0, 1, 2**63 - 1, 2**63 - 2)
        for stream in (0, 1, 1 << 40)
    }
    assert len(first) == 12


def test_the_order_is_the_same_on_every_machine():
    """What Philox gives is stated by numpy for all platforms; the permutation is pinned here."""
    assert np.concatenate(order([1] * 8, 8, seed=1).epoch(0)).tolist() == [0, 5, 4, 1, 2, 6, 3, 7]
    assert generator(1, 0).permutation(8).tolist() == [0, 5, 4, 1, 2, 6, 3, 7]
