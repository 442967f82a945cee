"""L3: the order is a pure function of (seed, epoch); every row once; as many steps each epoch."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tenon.text.order import Order, generator, micro_batches

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=80)
SEEDS = st.integers(0, 2**63 - 1)
EPOCHS = st.integers(0, 10_000)


def order(lengths, seed, tokens):
    return Order(np.array(lengths, np.int64), seed, tokens)


@given(LENGTHS, SEEDS, EPOCHS, st.integers(1, 400))
def test_every_row_comes_once_in_a_constant_number_of_even_steps(lengths, seed, epoch, tokens):
    plan = order(lengths, seed, tokens)
    steps = plan.epoch(epoch)
    assert sorted(np.concatenate(steps).tolist()) == list(range(len(lengths)))
    assert len(steps) == plan.steps_per_epoch <= -(-sum(lengths) // plan.budget)
    assert all(len(rows) for rows in steps)
    share = sum(lengths) / len(steps)
    assert share < 2 * plan.budget
    for rows in steps:
        held = [lengths[row] for row in rows]
        assert held == sorted(held)
        assert abs(sum(held) - share) < max(lengths)


@given(LENGTHS, SEEDS, EPOCHS, st.integers(1, 400))
def test_it_follows_from_seed_and_epoch_alone(lengths, seed, epoch, tokens):
    first = order(lengths, seed, tokens)
    for other in (0, epoch + 1, 3):
        first.epoch(other)
    np.random.seed(epoch)
    again = order(lengths, seed, tokens).epoch(epoch)
    assert [rows.tolist() for rows in first.epoch(epoch)] == [rows.tolist() for rows in again]


@given(SEEDS, EPOCHS)
def test_another_seed_or_epoch_is_another_order(seed, epoch):
    def shuffled(seed: int, epoch: int) -> list[int]:
        return np.concatenate(order([5] * 60, seed, 25).epoch(epoch)).tolist()

    assert shuffled(seed, epoch) != shuffled(seed, epoch + 1)
    assert shuffled(seed, epoch) != shuffled(seed ^ 1, epoch)
    assert generator(seed, epoch).random() != generator(epoch, seed + 1).random()


@given(LENGTHS, SEEDS, EPOCHS, st.integers(1, 400), st.integers(1, 200))
def test_micro_batches_cut_a_step_and_lose_no_row(lengths, seed, epoch, tokens, micro):
    lengths_R = np.array(lengths, np.int64)
    for rows in order(lengths, seed, tokens).epoch(epoch):
        parts = micro_batches(rows, lengths_R, micro)
        assert np.concatenate(parts).tolist() == rows.tolist()
        for part in parts:
            assert len(part) == 1 or lengths_R[part].sum() <= micro
        for part, following in zip(parts, parts[1:], strict=False):
            assert lengths_R[part].sum() + lengths_R[following[0]] > micro


@given(LENGTHS, SEEDS)
def test_no_row_is_preferred_to_an_early_step_for_its_length(lengths, seed):
    """The step of a row depends on where it falls in the shuffle, not on how long it is."""
    place_R = np.argsort(generator(seed, 0).permutation(len(lengths)))
    first = 0
    for rows in order(lengths, seed, 30).epoch(0):
        assert sorted(place_R[rows].tolist()) == list(range(first, first + len(rows)))
        first += len(rows)
