"""Numbers are read strictly, and their range is told."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.core.errors import DataError
from tenon.data.example import Row
from tenon.data.numbers import LARGEST, Range, fractional, number_of, number_problem
from tenon.data.text_regression import guess, recognise

FINITE = st.floats(-LARGEST, LARGEST, allow_nan=False)


def rows_of(*cells: dict) -> list[Row]:
    return [Row(cell, f"t.csv:{place}") for place, cell in enumerate(cells, 2)]


@given(FINITE)
def test_a_number_is_read_as_json_and_as_a_table_write_it(number):
    assert number_of(number) == number_of(repr(number)) == number
    assert number_problem("score", number) is None


@pytest.mark.parametrize("text", ["1", "+1", "-1", "1.", ".5", "1e3", "1E-3", " 2.5 ", "007"])
def test_numbers_in_tables(text):
    assert number_of(text) == float(text)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "missing_number"), ("", "missing_number"), ("  ", "missing_number"),
        (True, "not_a_number"), ("good", "not_a_number"), ([1.5], "not_a_number"),
        ({"a": 1}, "not_a_number"), ("1_000", "not_a_number"), ("0x1F", "not_a_number"),
        ("２.5", "not_a_number"), ("1.2.3", "not_a_number"), ("5 stars", "not_a_number"),
        ("nan", "not_finite"), ("-Infinity", "not_finite"), ("N/A", "not_finite"),
        ("2,5", "comma_in_number"), ("1,234", "comma_in_number"),
        (1e31, "number_too_large"), ("-1e31", "number_too_large"), (10**99, "number_too_large"),
        ("9" * 400, "number_too_large"), (math.inf, "number_too_large"),
    ],
)  # fmt: skip
def test_what_is_no_number(value, kind):
    assert number_of(value) is None
    problem = number_problem("score", value)
    assert problem is not None and problem.kind == kind
    assert problem.what.startswith("'score' is ") and problem.remedy


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 3], False), ([1.0, 2.0], False), (["1", "2"], False), (["1", "2.5"], True),
        ([1, 0.5], True), (["a", "2.5"], False), ([], False), ([None, 0.5], True),
        ([True, 0.5], False),
    ],
)  # fmt: skip
def test_fractional_numbers_are_no_classes(values, expected):
    assert fractional(values) is expected


@given(st.lists(FINITE, min_size=1, max_size=30))
def test_a_range(numbers):
    found = Range()
    for number in numbers:
        found.add(number)
    assert (found.count, found.low, found.high) == (len(numbers), min(numbers), max(numbers))
    what, remedy = found.flaw
    assert bool(what) == bool(remedy)
    if min(numbers) == max(numbers):
        assert "rows have the number" in what or what.startswith("the only row has")
    elif max(numbers) - min(numbers) > 0.01 * max(map(abs, numbers)):
        assert not what


class TestRecognition:
    def test_a_score_beside_texts(self):
        rows = rows_of(
            {"sentence1": "a", "sentence2": "b", "score": "4.5"},
            {"sentence1": "c", "sentence2": "d", "score": "1"},
        )
        assert recognise(rows) == "a text and a number, not all whole ('score')"
        columns = guess(rows, {}).columns
        assert (columns.text, columns.pair, columns.label) == ("sentence1", "sentence2", "score")

    def test_a_label_goes_before_a_score(self):
        """`score` may be how sure a labeller was."""
        rows = rows_of(*({"text": "a", "label": "x", "score": 0.5 + n} for n in range(4)))
        assert recognise(rows) == ""

    def test_whole_numbers_are_not_recognised(self):
        assert recognise(rows_of({"text": "a", "label": 1}, {"text": "b", "label": 5})) == ""

    def test_of_two_columns_of_numbers_the_user_names_one(self):
        rows = rows_of({"text": "a dog", "x": 1.5, "z": 2.5}, {"text": "a fox", "x": 1, "z": 3})
        with pytest.raises(DataError, match=r"'x', 'z' hold numbers: name it with data\.columns"):
            guess(rows, {})
        assert guess(rows, {"label": "z"}).columns.label == "z"

    def test_the_only_column_of_numbers_is_taken(self):
        found = guess(rows_of({"text": "a dog", "id": 1, "x": 1.5}), {})
        assert found.columns.label == "x" and "no other holds numbers alone" in " ".join(found.why)
