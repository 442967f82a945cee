"""Answer files: what lines of JSON say, CSV and Parquet say too."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from pages import SYSTEMS
from tenon.core.errors import Faults, RequestError
from tenon.data.sources import read
from tenon.evaluate.exam import EXAMS
from tenon.evaluate.settings import BY_TASK
from tenon.verbs.answer_file import FIELDS, Form, format_of
from tenon.verbs.questions import Kept, plain

NASTY = [
    'a "word", b',
    "two\nlines\r\nand a \r",
    " blanks ",
    "",
    "榫 ∅\u2028",
    "null",
    "0,5",
    "=1+1",
]


def form(format: str, task: str, *, pair: str = "", keep: tuple[str, ...] = ()) -> Form:
    return Form(format, SimpleNamespace(task=task, columns={"pair": pair}), Kept(keep))


def written(tmp_path, made: Form, entries) -> list[dict]:
    """Write lines in two portions; give the rows that are read back, with their line's order."""
    halves = [entries[:2], entries[2:]]
    for place, half in enumerate(halves):
        lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in half)
        (tmp_path / f"{place}.jsonl").write_text(lines, encoding="utf-8", newline="")
    path = tmp_path / f"answers.{made.format}"
    made.write([tmp_path / "0.jsonl", tmp_path / "1.jsonl"], path)
    if made.format == "parquet":
        return pq.read_table(path).to_pylist()
    faults = Faults()
    rows = [row.values for row in read(str(path), faults)]
    assert not faults.count, faults.kept
    return rows


def test_every_task_has_its_columns():
    assert set(FIELDS) == set(BY_TASK)


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("task", list(SYSTEMS))
def test_answers_are_the_same_in_every_format(task, format, tmp_path):
    entries = list(EXAMS.get(task).entries(SYSTEMS[task]()[0]))
    entries.insert(1, {"origin": "t.csv:1", "failed": "the text is empty"})
    entries[0]["cut"] = 7
    made = form(format, task, pair="b" if "pair" in entries[0] else "")
    rows = written(tmp_path, made, entries)
    assert len(rows) == len(entries)
    for row, entry in zip(rows, entries, strict=True):
        for name, value in entry.items():
            assert _alike(row[name], value, format), (name, row[name], value)
        assert all(row[name] in (None, "") for name in row.keys() - entry.keys())
    assert (made.totals.rows, made.totals.missed, made.totals.cut) == (len(entries) - 1, 1, 1)
    assert made.totals.failed == {"t.csv:1": "the text is empty"}


def _alike(found, value, format: str) -> bool:
    if format == "csv":
        text = isinstance(value, str)
        return found == ("" if value is None else value if text else json.dumps(value))
    if format == "parquet" and isinstance(value, dict):
        return dict(found) == value
    return found == value or found == [value]


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
def test_kept_columns_stay_as_they_are(format, tmp_path):
    values = {
        "text": NASTY,
        "number": list(range(len(NASTY))),
        "share": [0.1, 1, None, 3.5, -2, 0, 1e-9, 1e300],
        "flag": [True, False, None] + [True] * 5,
        "nothing": [None] * len(NASTY),
        "list": [[1, "a"], {"b": None}] + [[]] * 6,
        "mixed": ["1", 1, None, 2.5, True, [], {}, "x"],
        "large": [2**80, *range(7)],
        "failed": ["failed"] * len(NASTY),
    }
    entries = [
        {"id": f"{at}", "origin": f"a:{at}", "text": text, "gold": None, "answer": "failed",
         "probability": 0.5, "row": {name: column[at] for name, column in values.items()}}
        for at, text in enumerate(NASTY)
    ]  # fmt: skip
    made = form(format, "text-classification", keep=tuple(values))
    rows = written(tmp_path, made, entries)
    assert (made.totals.rows, made.totals.missed) == (len(NASTY), 0)
    for at, row in enumerate(rows):
        assert row["text"] == NASTY[at]
        for name, column in values.items():
            found = row["row"][name] if format == "jsonl" else row[f"row.{name}"]
            assert found == _kept(column[at], name, format), (name, at)
    told = {note.partition(" ")[0] for note in made.notes}
    assert told == (set() if format == "jsonl" else {"'list'", "'mixed'", "'large'"})


def _kept(value, name: str, format: str):
    if format == "jsonl" or (format == "parquet" and name not in ("list", "mixed", "large")):
        return value
    if value is None:
        return None if format == "parquet" else ""
    if isinstance(value, str) and (format == "csv" or name == "text"):
        return value
    return json.dumps(value)


def test_the_suffix_says_the_format(tmp_path):
    names = {"a.jsonl": "jsonl", "a.NDJSON": "jsonl", "a.csv": "csv", "a.parquet": "parquet"}
    assert {name: format_of(tmp_path / name, "") for name in names} == names
    assert format_of(tmp_path / "answers", "") == "jsonl"
    assert format_of(tmp_path / "answers", "csv") == "csv"
    with pytest.raises(RequestError, match=r"as \.xlsx; name a file that ends in"):
        format_of(tmp_path / "a.xlsx", "")


def test_a_task_of_others_has_lines_alone(tmp_path):
    strange = SimpleNamespace(task="sorting")
    assert Form.of(tmp_path / "a", "", strange, Kept(())).format == "jsonl"
    with pytest.raises(RequestError, match="answers of sorting have no fixed columns"):
        Form.of(tmp_path / "a.csv", "", strange, Kept(()))


def test_values_are_as_json_has_them():
    odd = {"a": float("nan"), "b": (1, {"c": b"\0"}), 3: __import__("datetime").date(2026, 1, 2)}
    assert plain(odd) == {"a": None, "b": [1, {"c": "AA=="}], "3": "2026-01-02"}
