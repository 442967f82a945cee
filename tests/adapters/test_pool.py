"""Memory that is used again."""

from __future__ import annotations

import torch

from tenon.adapters.pool import EVEN, Pool


def test_what_is_given_back_is_taken_again():
    pool, some = Pool(), torch.zeros(1)
    first, second = pool.take(5, 3, some), pool.take(5, 3, some)
    assert first.shape == (5, 3)
    assert first.is_contiguous()
    assert first.data_ptr() != second.data_ptr()
    pool.give(first.view(3, 5))
    assert pool.take(EVEN, 3, some).data_ptr() == first.data_ptr()
    assert not any(pool.free.values())


def test_each_sort_has_its_own_and_what_is_too_small_is_let_go():
    pool, some = Pool(), torch.zeros(1)
    held = pool.take(5, 3, some)
    pool.give(held)
    for other in (pool.take(5, 4, some), pool.take(5, 3, some, torch.bfloat16)):
        assert other.data_ptr() != held.data_ptr()
    assert len(pool.take(EVEN + 1, 3, some)) == EVEN + 1
    assert not any(pool.free.values())
    assert pool.like(torch.zeros(2, 7)).shape == (2, 7)


def test_it_can_be_forgotten():
    pool = Pool()
    for device in ("cpu", "meta"):
        pool.give(pool.take(5, 3, torch.zeros(1, device=device)))
    pool.forget("meta")
    assert [sort[2].type for sort in pool.free] == ["cpu"]
    pool.forget()
    assert not pool.free
