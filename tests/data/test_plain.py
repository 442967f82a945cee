"""Plain texts: of rows or of lines, a sample by content, and what is refused."""

from __future__ import annotations

import json

import pytest

from tenon.core.errors import DataError, FileError
from tenon.data.plain import read_plain

TEXTS = [f"text {place}" for place in range(30)]


def jsonl(folder, rows, name="a.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_lines_of_a_text_file_are_texts(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\ufeffone\n\n  \ntwo\none\n", encoding="utf-8")
    found = read_plain(str(path), most=10)
    assert sorted(found.texts) == ["one", "two"]
    assert found.found == len(found) == 2
    assert sorted(found.origins) == [f"{path}:1", f"{path}:4"]


def test_the_column_is_the_one_named_or_called_text_or_alone(tmp_path):
    rows = [{"text": "a", "body": "b", "n": 1}]
    assert read_plain(jsonl(tmp_path, rows), "body", most=5).texts == ["b"]
    assert read_plain(jsonl(tmp_path, rows), "gone", most=5).texts == ["a"]
    assert read_plain(jsonl(tmp_path, [{"x": "c", "n": 2}]), most=5).texts == ["c"]


def test_a_sample_depends_on_content_and_seed_alone(tmp_path):
    one = read_plain(jsonl(tmp_path, [{"text": text} for text in TEXTS]), most=8, seed=3)
    other = [{"text": text} for text in reversed([*TEXTS, *TEXTS])]
    two = read_plain(jsonl(tmp_path, other, "b.jsonl"), most=8, seed=3)
    assert one.texts == two.texts
    assert (one.found, len(one)) == (30, 8)
    third = read_plain(jsonl(tmp_path, other, "b.jsonl"), most=8, seed=4)
    assert set(third.texts) != set(one.texts)


def test_what_cannot_be_read_is_told_at_once(tmp_path):
    with pytest.raises(FileError, match="no such file"):
        read_plain(str(tmp_path / "none.txt"), most=5)
    with pytest.raises(DataError, match="its columns of texts are a, b"):
        read_plain(jsonl(tmp_path, [{"a": "x", "b": "y"}]), most=5)
    with pytest.raises(DataError, match="no column holds texts"):
        read_plain(jsonl(tmp_path, [{"a": 1}]), most=5)
    with pytest.raises(DataError, match="is 3, no text") as error:
        read_plain(jsonl(tmp_path, [{"text": "x"}, {"text": 3}, {"text": 4}]), most=5)
    assert str(error.value).count("no text") == 2
    (tmp_path / "odd.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="not UTF-8"):
        read_plain(str(tmp_path / "odd.txt"), most=5)
