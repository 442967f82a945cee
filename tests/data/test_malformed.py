"""Every fault of a file is told, once, with its line, what is there, and what to do."""

from __future__ import annotations

import pytest

from data.malformed import CASES, Case
from tenon.core.errors import DataError, Faults
from tenon.data.sources import read


@pytest.mark.parametrize("case", CASES, ids=[f"{case.name}: {case.title}" for case in CASES])
def test_a_malformed_file_is_told(case: Case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / case.name).write_bytes(case.content)
    faults = Faults()
    rows = list(read(case.name, faults, quoting=case.quoting))
    told = [(fault.where, str(fault)) for fault in faults.kept]
    expected = [f"{case.name}:{line}" if line else case.name for line, _ in case.faults]
    assert [where for where, _ in told] == expected, told
    for (_, message), (_, phrases) in zip(told, case.faults, strict=True):
        for phrase in phrases:
            assert phrase in message
    assert faults.count == len(case.faults)
    if case.rows >= 0:
        assert len(rows) == case.rows


def test_the_table_is_as_long_as_it_claims():
    assert len(CASES) >= 70
    assert len({(case.name, case.title) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=[f"{case.name}: {case.title}" for case in CASES])
def test_every_fault_has_a_remedy(case: Case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / case.name).write_bytes(case.content)
    faults = Faults()
    for _ in read(case.name, faults, quoting=case.quoting):
        pass
    assert all(fault.remedy and not fault.remedy.endswith(".") for fault in faults.kept)


@pytest.mark.parametrize(
    ("content", "phrases"),
    [
        (b"%PDF-1.7 and so on, and on", ("a PDF document",)),
        (b"SQLite format 3\x00 and so on", ("an SQLite database", "CSV")),
        (b"version https://git-lfs.github.com/spec/v1\noid", ("Git LFS pointer", "git lfs pull")),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", (".xls", "CSV UTF-8")),
        (b"<!DOCTYPE html><html>", ("a web page", "fetch the file itself")),
        (b"<html><body>", ("a web page",)),
        (b"\x80\x04\x95\x10\x00", ("pickle", "reads none")),
        (b"ARROW1\0\0", ("Arrow file", "Parquet")),
    ],
)
def test_a_foreign_file_is_named(content, phrases, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(read(str(path), Faults()))
    assert str(caught.value).startswith(f"{path}: ")
    for phrase in phrases:
        assert phrase in str(caught.value)


def test_broken_quotations_do_not_cost_quadratic_time(tmp_path):
    """Each line opens a quotation that reaches to the end of the file; reading gives up in time."""
    path = tmp_path / "rows.csv"
    path.write_bytes(b"text,label\n" + b'"open,no\n' * 1_001 + b"fine,yes\n" * 1_000)
    faults = Faults(keep=2_000)
    assert not list(read(str(path), faults))
    assert faults.count == 1_001
    assert "reading stops here" in str(faults.kept[-1])


def test_only_the_first_faults_are_kept_and_all_are_counted(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b"text,label\nfine,yes\n" + b"alone\n" * 3_000)
    faults = Faults()
    assert len(list(read(str(path), faults))) == 1
    assert (faults.count, len(faults.kept)) == (3_000, 1_000)
    with pytest.raises(DataError, match="2,980 more"):
        faults.raise_if_any(DataError)
