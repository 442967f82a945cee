"""Apart: patterns and torch files of strangers, in a process that is killed when it is late."""

from __future__ import annotations

import time

import pytest
import safetensors.torch
import torch

from tenon.core import apart
from tenon.core.apart import matching, unpickled
from tenon.core.errors import AdapterError

NAMES = ["encoder.layer.0.query", "encoder.layer.1.query", "encoder.layer.0.key"]


def test_a_pattern_matches_whole_names():
    assert matching("here", r".*\.query", NAMES) == NAMES[:2]
    assert matching("here", "query", NAMES) == []


@pytest.mark.parametrize("pattern", ["(([a-z0-9._])+)+!", "(a|a)*" * 20 + "(([a-z.0-9]+)+)+!"])
def test_a_pattern_without_an_end_is_killed(pattern, monkeypatch):
    monkeypatch.setattr(apart, "PATTERN_SECONDS", 1.0)
    begun = time.monotonic()
    with pytest.raises(AdapterError, match="here: the pattern .* was not matched within 1 seconds"):
        matching("here", pattern, ["a" * 64 + ".layer.0.query"])
    assert time.monotonic() - begun < 30


def test_what_is_no_pattern_says_so():
    with pytest.raises(AdapterError, match=r"here: '\(' is no pattern"):
        matching("here", "(", NAMES)


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_of_a_torch_file(zipped, tmp_path):
    held = {"a": torch.randn(3, 2), "b": torch.randn(4)[::2]}
    torch.save(held, tmp_path / "x.bin", _use_new_zipfile_serialization=zipped)
    found = safetensors.torch.load(unpickled(tmp_path / "x.bin"))
    assert found.keys() == held.keys()
    assert all(torch.equal(found[name], held[name]) for name in held)


@pytest.mark.parametrize("held", [[torch.zeros(1)], {"a": 1}, {1: torch.zeros(1)}, torch.zeros(1)])
def test_anything_but_names_and_tensors_is_refused(held, tmp_path):
    torch.save(held, tmp_path / "x.bin")
    with pytest.raises(AdapterError, match="more than names and tensors"):
        unpickled(tmp_path / "x.bin")


def test_what_is_no_torch_file_is_refused(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(AdapterError, match="reader of weights refuses it"):
        unpickled(tmp_path / "x.bin")
    (tmp_path / "y.bin").write_bytes(b"")
    with pytest.raises(AdapterError, match="ask its author for safetensors"):
        unpickled(tmp_path / "y.bin")
