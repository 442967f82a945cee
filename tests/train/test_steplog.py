"""Steplog: one line a step; of a torn end and of a future that did not happen, nothing is kept."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disk import small_disk
from tenon.core.errors import FileError
from tenon.train import steplog
from tenon.train.steplog import StepLog

ENTRIES = st.lists(st.integers(0, 9), max_size=12).map(
    lambda steps: [{"step": step, "loss": 0.5} for step in sorted(steps)]
)


def test_lines_come_back_in_their_order(tmp_path):
    log = StepLog(tmp_path, 0)
    entries = [{"step": 0, "loss": 0.25}, {"step": 0, "dev": {"accuracy": 1.0}}, {"step": 1}]
    for entry in entries:
        log.add(entry)
    assert steplog.read(tmp_path) == entries
    lines = (tmp_path / "steps.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == entries


def test_a_run_that_never_began_has_none(tmp_path):
    assert steplog.read(tmp_path) == []


@given(entries=ENTRIES, position=st.integers(0, 10))
def test_lines_of_the_future_are_dropped(tmp_path_factory, entries, position):
    run = tmp_path_factory.mktemp("run")
    first = StepLog(run, 0)
    for entry in entries:
        first.add(entry)
    second = StepLog(run, position)
    past = [entry for entry in entries if entry["step"] < position]
    assert steplog.read(run) == past
    second.add({"step": position})
    assert steplog.read(run) == [*past, {"step": position}]


def test_a_line_torn_anywhere_is_no_line(tmp_path):
    log = StepLog(tmp_path, 0)
    for step in range(3):
        log.add({"step": step, "loss": 0.123})
    whole = log.path.read_bytes()
    line = len(whole) // 3
    for size in range(2 * line, len(whole)):
        log.path.write_bytes(whole[:size])
        assert [entry["step"] for entry in steplog.read(tmp_path)] == [0, 1]


@pytest.mark.parametrize("damage", [b"\0" * 20 + b"\n", b'{"loss": 1}\n', b"\xff\n", b"[1]\n"])
def test_a_line_that_cannot_be_one_is_named(tmp_path, damage):
    log = StepLog(tmp_path, 0)
    log.add({"step": 0})
    with log.path.open("ab") as file:
        file.write(damage)
    log.add({"step": 1})
    with pytest.raises(FileError, match=r"steps\.jsonl:2: not a line of a step.*--resume never"):
        steplog.read(tmp_path)


def test_a_full_disk_is_named(tmp_path):
    log = StepLog(tmp_path, 0)
    log.add({"step": 0})
    with small_disk(log.path.stat().st_size), pytest.raises(FileError, match="free some space"):
        log.add({"step": 1})
    assert steplog.read(tmp_path) == [{"step": 0}]
