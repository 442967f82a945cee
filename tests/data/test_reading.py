"""Reading: rows for an adapter that was trained on others, by its columns and labels."""

from __future__ import annotations

import pytest

from tenon.core.errors import DataError, FileError
from tenon.data.reading import open_reading
from tenon.data.settings import Columns

SINGLE = {"text": "text", "pair": "", "label": "label"}
PAIR = {"text": "first", "pair": "second", "label": "label"}
LABELS = ("calm", "glad", "sad")


@pytest.fixture
def write(tmp_path):
    def go(text):
        (tmp_path / "rows.csv").write_text(text)
        return str(tmp_path / "rows.csv")

    return go


@pytest.mark.parametrize("rows", ["a dog,glad", "a dog,glad\na fox,glad\na cow,glad"])
def test_few_rows_of_one_label_are_enough(write, rows):
    reading = open_reading(write(f"text,label\n{rows}\n"), SINGLE, LABELS)
    assert [example.gold for example in reading.examples()] == ["glad"] * len(rows.split("\n"))
    assert reading.columns == Columns(text="text", label="label")
    assert reading.notes == ()


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("sentence,class\na dog of mine,glad\na fox,sad\n", ("sentence", "class")),
        ("text,what\na dog of mine,glad\na fox,sad\n", ("text", "what")),
        ("words,category,mood\na dog of mine,x,glad\na fox,y,sad\n", ("words", "mood")),
        ("text,label_text\na dog,strange\n", None),
    ],
)
def test_columns_of_other_names_are_guessed(write, text, columns):
    if columns is None:
        with pytest.raises(DataError, match="label 'strange' is none of the adapter's; it has"):
            open_reading(write(text), SINGLE, LABELS)
        return
    reading = open_reading(write(text), SINGLE, LABELS)
    assert (reading.columns.text, reading.columns.label) == columns
    assert any(columns[1] in note for note in reading.notes)


def test_a_label_column_is_no_text(write):
    reading = open_reading(write("a,label\nhi,a very long name of a label\n"), SINGLE)
    assert reading.columns == Columns(text="a")
    assert [example.gold for example in reading.examples()] == [None]


def test_no_column_of_labels(write):
    with pytest.raises(DataError, match=r"rows\.csv:2: no column 'label'; this row has text, n"):
        open_reading(write("text,n\na dog,17\n"), SINGLE, LABELS)


def test_strange_labels_are_told_once_each_with_their_rows(write):
    rows = "a,angry\nb,angry\nc,gladd\nd,glad\n,sad\n"
    with pytest.raises(DataError) as refused:
        open_reading(write(f"text,label\n{rows}"), SINGLE, LABELS)
    lines = [line.rpartition("rows.csv:")[2] for line in str(refused.value).splitlines()]
    assert lines[0].startswith("2: label 'angry' (2 rows) is none of the adapter's; it has calm")
    assert lines[1].endswith("did you mean glad?")
    assert lines[2].startswith("6: ") and len(lines) == 3


@pytest.mark.parametrize(
    ("trained", "header", "told"),
    [
        (PAIR, "text,label", "has text, label; the adapter reads pairs of texts .*first, second"),
        (SINGLE, "premise,hypothesis", "reads single texts and was trained on the column text;"),
        (PAIR, "label,other", "reads pairs"),
    ],
)
@pytest.mark.parametrize("labels", [None, LABELS])
def test_rows_of_the_other_sort(write, trained, header, told, labels):
    path = write(f"{header}\nglad,sad\n")
    with pytest.raises(DataError, match=told if labels is None else r"rows\.csv:2: "):
        open_reading(path, trained, labels)


def test_an_adapter_whose_columns_are_not_known_takes_both(write):
    assert open_reading(write("premise,hypothesis\na,b\n"), {}).columns.pair == "hypothesis"
    assert open_reading(write("text\na\n"), {}).columns == Columns(text="text")


@pytest.mark.parametrize("text", ["", "text,label\n"])
def test_nothing_to_read(write, text):
    with pytest.raises(DataError, match=r"rows\.csv.*(is empty|holds no rows)"):
        open_reading(write(text), SINGLE, LABELS)


def test_an_empty_path():
    with pytest.raises(FileError, match="'': is an empty path; name a file of rows"):
        open_reading("", SINGLE)


def test_a_file_that_changes_meanwhile(write):
    reading = open_reading(write("text\na\nb\n"), SINGLE)
    write("text\na\n\x00\n")
    with pytest.raises(DataError, match="NUL"):
        list(reading.examples())
