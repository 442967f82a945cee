"""Threads: by affinity and quota, never more than before, and not where the user has decided."""

from __future__ import annotations

import os

import pytest
import torch

from tenon.model import threads


@pytest.fixture
def several():
    """Let torch have three threads, and what it had before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


@pytest.fixture
def undecided(monkeypatch):
    for name in threads.CHOSEN:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("told", "most"),
    [
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("199000 100000", 1),
        ("max 100000", 10**6),
        ("99900000 100000", 10**6),
        ("", 10**6),
        ("100000", 10**6),
        ("100000 0", 10**6),
        ("a b", 10**6),
    ],
)
def test_cores_are_those_of_the_quota_and_never_more_than_there_are(tmp_path, told, most):
    (tmp_path / "cpu.max").write_text(told)
    here = len(os.sched_getaffinity(0))
    assert threads.cores(tmp_path / "cpu.max") == min(here, most)
    assert threads.cores(tmp_path / "absent") == here


@pytest.mark.usefixtures("several", "undecided")
def test_torch_gets_no_more_threads_than_there_are_cores(tmp_path):
    (tmp_path / "cpu.max").write_text("100000 100000")
    assert threads.fit(tmp_path / "cpu.max") == 1 == torch.get_num_threads()
    (tmp_path / "cpu.max").write_text("max 100000")
    assert threads.fit(tmp_path / "cpu.max") == 1, "it is never raised"


@pytest.mark.usefixtures("undecided")
@pytest.mark.parametrize("name", threads.CHOSEN)
def test_who_has_decided_is_left_alone(tmp_path, monkeypatch, several, name):
    monkeypatch.setenv(name, "3")
    (tmp_path / "cpu.max").write_text("100000 100000")
    assert threads.fit(tmp_path / "cpu.max") == several
