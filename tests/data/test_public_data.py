"""What is known about public data sets, traps included, is what is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenon.core.errors import Faults
from tenon.data.check import check
from tenon.data.load import load, sniff
from tenon.data.settings import Columns, DataSettings
from tenon.data.sources import read

pytestmark = pytest.mark.public_data


@pytest.fixture(scope="module")
def data(shared: Path) -> Path:
    return shared / "data"


def rows_of(spec: str) -> list[dict[str, object]]:
    faults = Faults()
    rows = [row.values for row in read(spec, faults)]
    assert not faults.count
    return rows


class TestBanking77:
    def test_newlines_within_fields(self, data):
        train, test = (rows_of(f"{data}/banking77/{part}.csv") for part in ("train", "test"))
        assert (len(train), len(test)) == (10_003, 3_080)
        assert sum("\n" in str(row["text"]) for row in train) == 10
        assert sum("\n" in str(row["text"]) for row in test) == 3

    def test_parts(self, data):
        folder = data / "banking77"
        parts = load(DataSettings(train=f"{folder}/train.csv", test=f"{folder}/test.csv"), seed=7)
        assert parts.columns == Columns(text="text", label="category")
        assert len(parts.labels) == 77
        assert parts.counts["train"] + parts.counts["dev"] == 10_003
        assert parts.dropped == 0
        assert min(parts.label_counts["dev"].values()) > 0
        assert set(parts.label_counts["test"].values()) == {40}

    def test_check(self, data):
        findings = check(sniff(f"{data}/banking77"), 0)
        assert findings.errors == 0
        assert findings.of("normalised-leak")[0].count == 26
        assert [item.count for item in findings.of("normalised-duplicates")] == [30, 4]
        assert not findings.of("duplicates")
        assert findings.of("sorted-rows")[0].count == 76
        assert findings.of("blanks-around-text")[0].count == 12


class TestSst2:
    def test_no_header(self, data):
        counts = [len(rows_of(f"{data}/sst2/{part}.tsv")) for part in ("train", "dev", "test")]
        assert counts == [6_920, 872, 1_821]

    def test_parts(self, data):
        parts = load(sniff(f"{data}/sst2"), seed=7)
        assert parts.columns == Columns(text="0", label="1")
        assert parts.labels == ("0", "1")
        assert parts.shared == {"train & test": 2}

    def test_check(self, data):
        findings = check(sniff(f"{data}/sst2"), 0)
        assert findings.of("leak")[0].count == 2
        assert findings.of("duplicates")[0].count == 9


class TestChnSentiCorp:
    def test_literal_quotation_marks(self, data):
        path = f"{data}/chnsenticorp/chnsenticorp.zip"
        assert [len(rows_of(f"{path}#{part}.tsv")) for part in ("train", "dev", "test")] == [
            9_600,
            1_200,
            1_200,
        ]

    def test_the_leak_is_found(self, data):
        findings = check(sniff(f"{data}/chnsenticorp/chnsenticorp.zip"), 0)
        leaks = {item.what.partition("rows of ")[2]: item.count for item in findings.of("leak")}
        assert leaks == {
            "dev also stand in train": 338,
            "test also stand in train": 331,
            "test also stand in dev": 40,
        }
        assert "331 of 1,200 (27.6 %)" in findings.of("leak")[1].what
        assert findings.of("conflicting-labels")[0].count == 36
        assert findings.of("duplicates")[0].count == 1_351
        assert findings.lengths[0].longest == 1_992

    def test_the_leak_is_closed(self, data):
        parts = load(sniff(f"{data}/chnsenticorp/chnsenticorp.zip"), seed=7)
        ids = {part: {example.id for example in parts.examples(part)} for part in parts.counts}
        assert not ids["train"] & ids["test"]
        assert not ids["train"] & ids["dev"]
        assert not ids["dev"] & ids["test"]
        assert parts.counts["test"] == 1_200
        assert parts.counts["train"] + parts.dropped == 9_600


class TestClinc150:
    def test_parts(self, data):
        path = f"{data}/clinc150/data_full.json"
        parts = load(sniff(path), seed=7)
        assert len(parts.labels) == 150
        assert parts.counts == {"train": 15_000 - parts.dropped, "dev": 3_000, "test": 4_500}
        assert parts.shared == {"train & dev": 3, "train & test": 2}
        assert f"{path} also holds oos_val, oos_test, oos_train, which no part uses" in parts.notes
        assert len(rows_of(f"{path}#oos_test")) == 1_000

    def test_check(self, data):
        findings = check(sniff(f"{data}/clinc150/data_full.json"), 0)
        assert findings.of("conflicting-labels")[0].count == 4
        assert findings.of("sorted-rows")[0].count == 149
        assert not findings.of("similar-labels")
