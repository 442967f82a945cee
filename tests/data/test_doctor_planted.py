"""The data doctor tells what was planted, and is silent on clean rows."""

from __future__ import annotations

import random

import pytest

from planted import FAULTS, INSTANCES, alarms, clean, judged, write
from tenon.data.check import check
from tenon.data.settings import DataSettings

ROWS = 600
NEAR = {"repeats with a typo", "test rows in train with a typo"}


def test_there_are_25_classes_and_20_of_each():
    assert len(FAULTS) >= 25
    for fault in FAULTS.values():
        rows = clean(fault.task, random.Random(0), 60)
        assert len(fault.plant(random.Random(0), rows)) >= INSTANCES


@pytest.mark.parametrize("name", FAULTS)
def test_planted_rows_are_told(name, tmp_path):
    rng, fault = random.Random(name), FAULTS[name]
    found = judged(fault, clean(fault.task, rng, ROWS), tmp_path, rng)
    least = 0.95 * found.planted if name in NEAR else found.planted
    assert found.told >= least, found.findings.findings


@pytest.mark.parametrize("task", ["text-classification", "token-classification", "text-generation"])
@pytest.mark.parametrize("han", [False, True])
def test_clean_rows_raise_no_alarm(task, han, tmp_path):
    rows = clean(task, random.Random(1), ROWS, han=han)
    path = write(tmp_path / "train.jsonl", rows)
    findings = check(DataSettings(task=task, train=path), 0)
    assert findings.errors == findings.warnings == 0
    assert len(alarms(findings)) <= 0.01 * ROWS, findings.findings


@pytest.mark.parametrize(
    "name",
    [
        "exact repeats",
        "repeats with a typo",
        "email addresses",
        "phone numbers",
        "mojibake",
        "Chinese identity numbers",
        "card numbers",
        "HTML",
    ],  # fmt: skip
)
def test_planted_rows_are_told_among_chinese_ones(name, tmp_path):
    rng, fault = random.Random(name), FAULTS[name]
    found = judged(fault, clean(fault.task, rng, ROWS, han=True), tmp_path, rng)
    least = 0.95 * found.planted if name in NEAR else found.planted
    assert found.told >= least, found.findings.findings
