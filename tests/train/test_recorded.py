"""Which sizes are recorded: few at first, and a size of its own for what is met often."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tenon.model.sized import size_of
from tenon.text.batch import Batch
from tenon.train.recorded import WORTH, Kept, Recorded


def batch_of(tokens: int, learned: int) -> Batch:
    lengths = (*[100] * (tokens // 100), tokens % 100) if tokens % 100 else (100,) * (tokens // 100)
    ids = torch.ones(tokens, dtype=torch.int64)
    targets = torch.zeros(tokens)
    targets[:learned] = 1.0
    return Batch(ids, None, lengths, targets, np.arange(len(lengths)))


def met(recorded: Recorded, batch: Batch):
    """Meet a batch; give its size, and whether that is a new one."""
    size = recorded.size(batch)
    made = []
    recorded.kept(size, batch.tokens, lambda: made.append(size) or Kept(None, torch.zeros(())))
    return size, bool(made)


def test_a_batch_has_room_and_few_sizes_are_new():
    random = np.random.default_rng(0)
    recorded, fine = Recorded(torch.device("cpu"), ""), set()
    new = 0
    for tokens in random.normal(1000, 200, 200).astype(int).clip(300, 1900):
        batch = batch_of(int(tokens), int(0.6 * tokens))
        size, first = met(recorded, batch)
        new += first
        fine.add(size_of(batch))
        wanted = size_of(batch)
        assert size.tokens >= wanted.tokens
        assert size.learned >= wanted.learned
        assert size.rows >= wanted.rows
        assert size.longest >= wanted.longest
    assert new <= 0.8 * len(fine)
    assert recorded.filling < 0.1 * recorded.tokens


def test_what_is_met_often_has_a_size_of_its_own():
    recorded = Recorded(torch.device("cpu"), "")
    met(recorded, batch_of(2000, 1000))
    batch = batch_of(1030, 600)
    sizes = [met(recorded, batch)[0] for _ in range(200)]
    assert sizes[0].tokens > size_of(batch).tokens == sizes[-1].tokens
    waste = sizes[0].tokens - sizes[-1].tokens
    assert sizes.count(sizes[0]) == pytest.approx(WORTH / waste, abs=1)


def test_more_than_ever_before_has_room_to_spare_and_begins_anew():
    recorded = Recorded(torch.device("cpu"), "")
    first, _ = met(recorded, batch_of(1000, 600))
    second, _ = met(recorded, batch_of(first.tokens + 10, 600))
    assert second.tokens > size_of(batch_of(first.tokens + 10, 600)).tokens
    assert met(recorded, batch_of(1000, 600))[1], "what was recorded of smaller ones is gone"
    assert not met(recorded, batch_of(second.tokens - 1, 600))[1]
