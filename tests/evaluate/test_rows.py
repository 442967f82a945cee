"""Rows won, lost and most surely wrong are the right ones, and files hold every row."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from answers import drawn, predictions
from tenon.core.errors import FileError
from tenon.evaluate import rows
from tenon.evaluate.scorers import hits


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(1, 300))
def test_won_and_lost_are_what_mcnemar_counts(seed, count):
    first, second = drawn(count, 3, 0.8, seed=seed), drawn(count, 3, 0.6, seed=seed + 1)
    found = rows.won_and_lost(first, second)
    assert found["won"]["count"] == (hits(first) & ~hits(second)).sum()
    assert found["lost"]["count"] == (hits(second) & ~hits(first)).sum()
    for group in found.values():
        assert len(group["rows"]) == min(group["count"], rows.SHOWN_ROWS)
    for entry in found["won"]["rows"]:
        assert entry["answer"] == entry["gold"] != entry["baseline_answer"]
    for entry in found["lost"]["rows"]:
        assert entry["answer"] != entry["gold"] == entry["baseline_answer"]


def test_the_largest_change_comes_first():
    first = predictions([0, 0, 0], np.log([[0.6, 0.4], [0.99, 0.01], [0.8, 0.2]]))
    second = predictions([0, 0, 0], np.log([[0.4, 0.6], [0.4, 0.6], [0.4, 0.6]]))
    won = rows.won_and_lost(first, second)["won"]["rows"]
    assert [entry["text"] for entry in won] == ["text 1", "text 2", "text 0"]
    lost = rows.won_and_lost(second, first)["lost"]["rows"]
    assert [entry["text"] for entry in lost] == ["text 1", "text 2", "text 0"]


def test_rows_are_matched_by_origin():
    first, second = drawn(100, 3, 0.8, seed=1), drawn(100, 3, 0.6, seed=2)
    shuffled = second.take(np.random.default_rng(0).permutation(100)[:90])
    found = rows.won_and_lost(first, shuffled)
    kept = set(shuffled.origins)
    whole = (hits(first) & ~hits(second)).tolist()
    expected = sum(won for won, origin in zip(whole, first.origins, strict=True) if origin in kept)
    assert found["won"]["count"] == expected


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999))
def test_surest_errors_are_wrong_and_ordered(seed):
    found = rows.surest_errors(drawn(200, 3, 0.6, seed=seed))
    sure = [entry["probability"] for entry in found["rows"]]
    assert sure == sorted(sure, reverse=True)
    assert all(entry["gold"] != entry["answer"] for entry in found["rows"])
    assert found["count"] == (~hits(drawn(200, 3, 0.6, seed=seed))).sum()


@pytest.mark.parametrize("length", [1, 399, 400, 401, 5000])
def test_long_texts_are_cut_and_show_it(length):
    answers = predictions([1], np.log([[0.9, 0.1]]), texts=["x" * length], pairs=["y" * length])
    (entry,) = rows.surest_errors(answers)["rows"]
    for text in (entry["text"], entry["pair"]):
        assert len(text) == min(length, 400)
        assert text.endswith("…") == (length > 400)


def test_half_a_surrogate_pair_can_still_be_written():
    answers = predictions([1], np.log([[0.9, 0.1]]), texts=["broken \ud83d here"])
    (entry,) = rows.surest_errors(answers)["rows"]
    assert entry["text"] == "broken ? here"


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@settings(max_examples=20, deadline=None)
@given(texts=st.lists(st.text(max_size=30), min_size=1, max_size=8))
def test_every_row_is_written_on_its_own_line(tmp_path_factory, texts):
    """Whatever a text holds: line ends of every alphabet, quotes, markup, surrogates."""
    path = tmp_path_factory.mktemp("rows") / "predictions.jsonl"
    answers = predictions([0] * len(texts), np.log(np.full((len(texts), 2), 0.5)), texts=texts)
    rows.write_entries(path, rows.entries(answers))
    raw = path.read_bytes()
    assert raw.count(b"\n") == len(texts)
    assert [entry["text"] for entry in read(path)] == texts


def test_a_written_row_has_all_that_is_known_of_it(tmp_path):
    answers = predictions(
        [1, -1],
        np.log([[0.2, 0.8], [0.75, 0.25]]),
        labels=["no", "yes"],
        texts=["first", "second"],
        failed={"test.csv:9": "too long"},
    )
    rows.write_entries(tmp_path / "p.jsonl", rows.entries(answers))
    assert read(tmp_path / "p.jsonl") == [
        {
            "id": f"{0:032x}",
            "origin": "test.csv:2",
            "text": "first",
            "gold": "yes",
            "answer": "yes",
            "probability": pytest.approx(0.8, abs=1e-6),
        },
        {
            "id": f"{1:032x}",
            "origin": "test.csv:3",
            "text": "second",
            "gold": None,
            "answer": "no",
            "probability": pytest.approx(0.75, abs=1e-6),
        },
        {"origin": "test.csv:9", "failed": "too long"},
    ]


def test_pairs_are_written(tmp_path):
    answers = predictions([0], np.log([[0.5, 0.5]]), pairs=["the other"])
    rows.write_entries(tmp_path / "p.jsonl", rows.entries(answers))
    assert read(tmp_path / "p.jsonl")[0]["pair"] == "the other"


def test_no_rows_make_an_empty_file(tmp_path):
    rows.write_entries(tmp_path / "p.jsonl", rows.entries(predictions([], np.zeros((0, 2)))))
    assert (tmp_path / "p.jsonl").read_bytes() == b""


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text("before")
    answers = predictions([0], np.array([[np.nan, np.nan]]))
    with pytest.raises(ValueError, match="not JSON compliant"):
        rows.write_entries(path, rows.entries(answers))
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be written"):
        rows.write_entries(tmp_path / "file" / "p.jsonl", rows.entries(drawn(3, 2, 0.5, seed=0)))
