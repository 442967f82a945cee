"""Start: first weights that were computed, kept with the run."""

from __future__ import annotations

import pytest
import torch

from runs import equal
from tenon.core.errors import FileError
from tenon.train import start

WEIGHTS = {"b": torch.arange(6.0).view(2, 3), "a": torch.tensor([1.5])}


def test_what_is_read_is_what_was_written(tmp_path):
    assert start.load(tmp_path) is None
    start.save(tmp_path, WEIGHTS)
    assert equal(start.load(tmp_path), WEIGHTS)


@pytest.mark.parametrize("place", [3, 12, -1])
def test_a_changed_byte_is_told(tmp_path, place):
    start.save(tmp_path, WEIGHTS)
    path = tmp_path / start.NAME
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(FileError, match=r"start\.safetensors: .*--resume never"):
        start.load(tmp_path)
