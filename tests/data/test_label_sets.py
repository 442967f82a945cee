"""Sets of labels are read however a file writes them, and told apart from classes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.core.errors import DataError, Faults
from tenon.data.example import Row
from tenon.data.label_sets import (
    SEPARATORS,
    flag_of,
    holds_sets,
    labels_in,
    parted,
    separators_of,
)
from tenon.data.multi_label_classification import flags_of, guess, recognise, settle
from tenon.data.settings import Columns
from tenon.data.task import Tally, to_examples

TASK = "multi-label-classification"
NAMES = st.text("abcdefghij", min_size=1, max_size=4)
SETS = st.lists(st.lists(NAMES, max_size=4, unique=True), min_size=1, max_size=12)


def rows_of(*cells: dict) -> list[Row]:
    return [Row(cell, f"t.jsonl:{place}") for place, cell in enumerate(cells, 1)]


def golds(cells, columns) -> list[tuple[str, ...]]:
    faults = Faults()
    found = [example.gold for example in to_examples(rows_of(*cells), columns, faults, TASK)]
    assert not faults.count
    return found


@given(SETS, st.sampled_from(SEPARATORS), st.sampled_from(["", " "]))
def test_the_ways_of_writing_say_the_same(sets, sign, blank):
    names = sorted({label for labels in sets for label in labels})
    expected = [tuple(sorted(labels)) for labels in sets]
    lists = [{"text": "a", "labels": labels} for labels in sets]
    texts = [{"text": "a", "labels": (sign + blank).join(labels)} for labels in sets]
    dumped = [{"text": "a", "labels": json.dumps(labels)} for labels in sets]
    columns = Columns(text="text", label="labels")
    assert golds(lists, columns) == golds(dumped, columns) == expected
    assert golds(texts, columns.model_copy(update={"separator": sign})) == expected
    if names:
        flags = [{"text": "a", **{name: name in labels for name in names}} for labels in sets]
        assert golds(flags, Columns(text="text", flags=tuple(names))) == expected


@pytest.mark.parametrize(
    ("values", "signs"),
    [
        (["a|b", "a", "b"], ["|"]),
        (["a;b", "b;c", "c"], [";"]),
        (["a, b", "b, c", "a"], [","]),
        (["food|price", "price|food"], ["|"]),
        (["Paris, Texas", "Rome, Georgia", "Athens, Ohio"], []),
        (["sports, football", "politics, home", "arts, music"], []),
        (["a", "b", "c"], []),
        (["a|b"], []),
        (["a||b", "a", "b"], []),
        ([f"{'x' * 101}|b", "b|c", "c"], []),
        ([1, None, ["a|b"]], []),
    ],
)
def test_a_separator_parts_labels_that_recur(values, signs):
    assert separators_of(values) == signs
    assert bool(holds_sets(values)) == bool(signs)


@pytest.mark.parametrize(
    ("values", "held"),
    [
        ([["a"], [], ["a", "b"]], "lists of labels"),
        ([["a"], None], "lists of labels"),
        (['["a"]', "[]"], "lists of labels"),
        ([[1], [2, 3]], "lists of labels"),
        ([[0.5, 0.25]], ""),
        ([[{"start": 1}]], ""),
        ([[], []], ""),
        ([["a"], "a"], ""),
        ([None], ""),
        ([], ""),
    ],
)
def test_a_column_of_lists(values, held):
    assert holds_sets(values) == held


@pytest.mark.parametrize(
    ("value", "flag"),
    [
        (0, False), (1, True), ("0", False), ("1", True), (True, True), ("FALSE", False),
        (1.0, True), (" 1 ", True), (2, None), ("", None), (None, None), ("yes", None),
        (0.5, None), ([1], None), (float("nan"), None),
    ],
)  # fmt: skip
def test_a_flag(value, flag):
    assert flag_of(value) is flag


def test_a_blank_text_is_no_label_and_is_counted():
    tally, faults = Tally(), Faults()
    rows = rows_of({"t": "x", "l": ""}, {"t": "y", "l": " "}, {"t": "z", "l": "a|a"})
    columns = Columns(text="t", label="l", separator="|")
    found = list(to_examples(rows, columns, faults, TASK, tally))
    assert [example.gold for example in found] == [(), (), ("a",)]
    assert dict(tally) == {
        ("row", "have an empty cell of labels, which means none"): 2,
        ("label", "stand twice in a row and count once"): 1,
    }
    assert tally.origins["label", "stand twice in a row and count once"] == ["t.jsonl:3"]


def test_all_that_is_wrong_with_a_row_is_told():
    (row,) = rows_of({"t": "x", "l": ["a ", None, ["b"], 0.5, "\ud800"]})
    _, problems = labels_in(row, Columns(text="t", label="l"))
    assert [problem.kind for problem in problems] == [
        "blanks_around_label", "empty_label", "label_not_class", "label_not_class",
        "unsound_label",
    ]  # fmt: skip
    assert all(problem.remedy for problem in problems)


def test_parting_keeps_empty_parts_to_be_told():
    assert parted("a| |b", "|") == ["a", "", "b"]
    assert parted("a|b", "") == ["a|b"]


class TestRecognition:
    def test_lists_with_a_text(self):
        rows = rows_of({"text": "a dog", "tags": ["x"]}, {"text": "a fox", "tags": []})
        assert recognise(rows) == "lists of labels ('tags')"
        assert guess(rows, {}).columns == Columns(text="text", label="tags")

    def test_tags_of_tokens_are_no_labels(self):
        rows = rows_of(
            {"text": "a dog", "tokens": ["a", "dog"], "labels": ["O", "B"]},
            {"text": "fox", "tokens": ["fox"], "labels": ["B"]},
        )
        assert recognise(rows) == ""

    def test_flags_beside_a_text(self):
        rows = rows_of(*({"id": n % 2, "note": f"a dog {n}", "x": n % 2, "z": 0} for n in range(9)))
        assert flags_of(rows) == ("x", "z")
        assert recognise(rows) == "columns of 0 and 1, one for each of 2 labels ('x', 'z')"
        assert guess(rows, {}).columns == Columns(text="note", flags=("x", "z"))

    def test_one_odd_cell_does_not_hide_a_column(self):
        cells = [{"note": f"a dog {n}", "x": n % 2, "y": 0} for n in range(20)]
        cells[3]["x"] = 7
        assert flags_of(rows_of(*cells)) == ("x", "y")

    def test_a_class_is_no_flag(self):
        rows = rows_of(*({"text": f"a dog {n}", "label": n % 2, "y": 0} for n in range(9)))
        assert recognise(rows) == ""

    def test_without_a_text_nothing_is_recognised(self):
        assert recognise(rows_of({"x": 1, "y": 0}, {"x": 0, "y": 1})) == ""
        assert recognise([]) == ""

    def test_no_column_of_labels(self):
        with pytest.raises(DataError, match=r"name it with data\.columns\.label"):
            guess(rows_of({"text": "a dog"}), {})

    def test_two_separators_are_one_too_many(self):
        cells = [{"t": "x", "l": value} for value in ("a|b;c", "a|b", "b;c", "a", "b", "c")]
        with pytest.raises(DataError, match=r"by '\|' or by ';', such as 'a\|b;c'; set data"):
            settle(rows_of(*cells), Columns(text="t", label="l"), [])
        given = Columns(text="t", label="l", separator=";")
        assert settle(rows_of(*cells), given, []) == given

    def test_what_was_told_is_said(self):
        notes: list[str] = []
        rows = rows_of({"t": "x", "l": "a|b"}, {"t": "y", "l": "a"}, {"t": "z", "l": "b"})
        assert settle(rows, Columns(text="t", label="l"), notes).separator == "|"
        assert notes == ["labels are separated by '|': 1 of 3 rows have several"]
