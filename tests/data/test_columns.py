"""Columns are guessed with reasons, and rows become examples or faults."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.core.errors import DataError, Faults
from tenon.data import task
from tenon.data.classification import guess, guess_text
from tenon.data.columns import require
from tenon.data.example import Row, content_id
from tenon.data.fields import canonical
from tenon.data.settings import Columns

COLUMNS = Columns(text="text", label="label")


def to_examples(rows, columns, faults):
    return task.to_examples(rows, columns, faults, "text-classification")


def rows_of(*values: dict[str, object]) -> list[Row]:
    return [Row(value, f"a.jsonl:{number}") for number, value in enumerate(values, 1)]


def columnar(n: int = 40, **columns) -> list[Row]:
    """Rows whose columns are functions of the row's number."""
    return rows_of(
        *({name: value(number) for name, value in columns.items()} for number in range(n))
    )


def sentence(number: int) -> str:
    return f"this is the sentence that has the number {number}"


class TestGuess:
    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            (("text", "label"), ("text", "", "label")),
            (("label", "text"), ("text", "", "label")),
            (("category", "Sentence", "id"), ("Sentence", "", "category")),
            (("premise", "hypothesis", "label"), ("premise", "hypothesis", "label")),
            (("sentence2", "sentence1", "idx", "label"), ("sentence1", "sentence2", "label")),
            (("label", "text_a"), ("text_a", "", "label")),
            (("标签", "内容"), ("内容", "", "标签")),
            (("text", "label", "label_text"), ("text", "", "label")),
            (("utterance", "intent", "text"), ("text", "", "intent")),
        ],
    )
    def test_by_name(self, names, expected):
        found = guess(rows_of(dict.fromkeys(names, "x"))).columns
        assert (found.text, found.pair, found.label) == expected

    def test_by_what_they_hold(self):
        rows = columnar(**{"0": sentence, "1": lambda n: "yes" if n % 3 else "no"})
        found = guess(rows)
        assert found.columns == Columns(text="0", label="1")
        assert "'0': the longest" in found.why[0]
        assert "'1': 2 values in 40 rows" in found.why[1]

    def test_the_order_of_columns_does_not_matter(self):
        rows = columnar(**{"0": lambda n: n % 4, "1": sentence, "2": lambda n: f"id-{n}"})
        found = guess(rows)
        assert found.columns == Columns(text="1", label="0")
        assert "not used: '2'" in found.why

    def test_a_sample_sorted_by_label(self):
        rows = columnar(**{"0": sentence, "1": lambda _: "card_arrival"})
        assert guess(rows).columns == Columns(text="0", label="1")

    def test_label_names_longer_than_texts(self):
        names = ["cash_withdrawal_not_recognised", "transfer_not_received_by_recipient"]
        rows = columnar(**{"0": lambda n: f"text {n}", "1": lambda n: names[n % 2]})
        assert guess(rows).columns == Columns(text="0", label="1")

    def test_label_names_before_texts(self):
        names = ["cash_withdrawal_not_recognised", "transfer_not_received_by_recipient"]
        rows = columnar(**{"0": lambda n: names[n % 2], "1": sentence})
        assert guess(rows).columns == Columns(text="1", label="0")

    def test_a_misspelt_label_column_is_refused_with_its_name(self):
        with pytest.raises(DataError) as caught:
            guess(rows_of({"text": "fine", "lable": "yes"}))
        message = str(caught.value)
        assert message.startswith("a.jsonl:1: no column 'label'; this row has text, lable")
        assert 'data.columns.label = "lable"' in message

    def test_no_column_that_could_be_the_label(self):
        with pytest.raises(DataError, match="no column 'label'.*no column holds values that recur"):
            guess(columnar(one=sentence, two=lambda n: f"word{n}"))

    def test_two_columns_that_could_be_the_label(self):
        columns = {"0": sentence, "1": lambda n: n % 2, "2": lambda n: n % 3}
        with pytest.raises(DataError, match="'1', '2' look like classes"):
            guess(columnar(**columns))

    def test_no_column_of_texts(self):
        with pytest.raises(DataError, match="no column 'text'.*none holds texts"):
            guess(columnar(a=lambda n: n, label=lambda n: n % 2))

    def test_no_rows(self):
        with pytest.raises(DataError, match="no rows"):
            guess([])

    @given(st.permutations(["text", "label", "id", "source"]))
    def test_the_guess_does_not_depend_on_the_order(self, names):
        makers = {"text": sentence, "label": lambda n: n % 2, "id": str, "source": lambda _: "x"}
        assert guess(columnar(**{name: makers[name] for name in names})).columns == COLUMNS

    def test_of_rows_without_labels(self):
        assert guess_text(rows_of({"id": 1, "sentence": "a"})).columns == Columns(text="sentence")
        assert guess_text(rows_of({"premise": "a", "hypothesis": "b"})).columns.pair == "hypothesis"
        assert guess_text(rows_of({"text": "a", "label": "longer than it"})).columns.text == "text"
        with pytest.raises(DataError):
            guess_text([])


class TestRequire:
    def test_one_fault_for_a_whole_file(self):
        faults = Faults()
        assert not require(rows_of(*[{"text": "a", "lable": "b"}] * 50), COLUMNS, faults)
        assert [str(fault) for fault in faults.kept] == [
            "a.jsonl:1: no column 'label'; this row has text, lable; "
            'set data.columns.label = "lable" or mend the row'
        ]

    def test_a_column_that_some_rows_have(self):
        assert require(rows_of({"text": "a"}, {"text": "a", "label": "b"}), COLUMNS, Faults())
        assert require([], COLUMNS, Faults())


REFUSED = [
    ({"text": "", "label": "a"}, "'text' is empty", "remove the row"),
    ({"text": " \t\u3000", "label": "a"}, "'text' is blank", "give a text"),
    ({"text": None, "label": "a"}, "'text' is null", "give a text"),
    ({"text": 5, "label": "a"}, "'text' is a number, '5', not text", "quote it"),
    ({"text": True, "label": "a"}, "'text' is a boolean", "quote it"),
    ({"text": ["x"], "label": "a"}, "'text' is a list", "another column"),
    ({"text": {"x": 1}, "label": "a"}, "'text' is an object", "another column"),
    ({"text": "a\0b", "label": "a"}, "NUL", "remove it"),
    ({"text": "a\ud83d", "label": "a"}, "half of a surrogate pair: 'a\\ud83d'", "mend it"),
    ({"label": "a"}, "no column 'text'; this row has label", "data.columns.text"),
    ({"txet": "x", "label": "a"}, "no column 'text'", 'data.columns.text = "txet"'),
    ({"text": "x", "lable": "a"}, "no column 'label'", 'data.columns.label = "lable"'),
    ({"text": "x", "label": ""}, "'label' is empty", "label the row"),
    ({"text": "x", "label": None}, "'label' is null", "label the row"),
    ({"text": "x", "label": " a"}, "'label' is ' a', with blanks", "write 'a'"),
    ({"text": "x", "label": "a\n"}, "'label' is 'a\\n', with blanks", "write 'a'"),
    ({"text": "x", "label": "  "}, "with blanks around it", "label the row"),
    ({"text": "x", "label": ["a", "b"]}, "'label' is a list", "one class a row"),
    ({"text": "x", "label": {"a": 1}}, "'label' is an object", "one class"),
    ({"text": "x", "label": 0.5}, "'label' is 0.5, not a class", "whole numbers"),
    ({"text": "x", "label": "a\ud83d"}, "surrogate", "mend it"),
    (
        {"text": "x", "label": 1},
        "label 1 is a number, but the label of a.jsonl:1 is text",
        "one type",
    ),
    ({"text": "x", "label": True}, "label True is a boolean", "one type"),
    ({"text": "x", "label": 1.0}, "label 1.0 is a number with a point", "one type"),
]


@pytest.mark.parametrize(
    ("values", "what", "remedy"), REFUSED, ids=[what for _, what, _ in REFUSED]
)
def test_a_row_that_is_no_example(values, what, remedy):
    faults = Faults()
    fine = {"text": "fine", "label": "a"}
    found = list(to_examples(rows_of(fine, values, fine), COLUMNS, faults))
    assert [example.origin for example in found] == ["a.jsonl:1", "a.jsonl:3"]
    (fault,) = faults.kept
    assert fault.where == "a.jsonl:2"
    assert what in fault.what
    assert remedy in fault.remedy


def test_a_row_without_columns():
    faults = Faults()
    assert not list(to_examples(rows_of({}), COLUMNS, faults))
    told = [fault.what for fault in faults.kept]
    assert told == [f"no column {name!r}; this row has no columns" for name in ("text", "label")]


def test_all_that_is_wrong_with_a_row_is_told():
    faults = Faults()
    columns = Columns(text="text", pair="pair", label="label")
    assert not list(to_examples(rows_of({"text": "", "pair": 1, "label": None}), columns, faults))
    assert [fault.what.split(" ")[0] for fault in faults.kept] == ["'text'", "'pair'", "'label'"]


def test_a_bad_first_label_does_not_decide_the_type():
    faults = Faults()
    rows = rows_of({"text": "a", "label": ["x"]}, {"text": "b", "label": "x"})
    assert len(list(to_examples(rows, COLUMNS, faults))) == 1
    assert faults.count == 1


class TestExamples:
    def test_single_and_pair(self):
        rows = rows_of({"a": "one", "b": "two", "c": 3})
        columns = Columns(text="a", pair="b", label="c")
        (example,) = to_examples(rows, columns, Faults())
        assert (example.text, example.pair, example.gold) == ("one", "two", "3")
        assert example.id == content_id("one", "two")
        assert example.origin == "a.jsonl:1"

    def test_without_a_label_column(self):
        rows = rows_of({"text": "one", "label": 5})
        (example,) = to_examples(rows, Columns(text="text"), Faults())
        assert example.gold is None

    def test_the_text_is_kept_as_it_is(self):
        text = "  Straße\r\nﬁ \u200b "
        (example,) = to_examples(rows_of({"text": text, "label": "a"}), COLUMNS, Faults())
        assert example.text == text

    @given(st.text(min_size=1).filter(lambda text: text.strip()), st.integers())
    def test_equal_inputs_have_equal_ids_whatever_the_label(self, text, label):
        text = text.replace("\0", "0")
        rows = rows_of({"text": text, "label": label}, {"text": text, "label": label + 1})
        first, second = to_examples(rows, COLUMNS, Faults())
        assert first.id == second.id
        assert first.gold != second.gold

    @pytest.mark.parametrize(
        ("label", "expected"),
        [(1, "1"), (True, "true"), (False, "false"), ("1", "1"), (2.0, "2.0")],
    )
    def test_labels_are_texts(self, label, expected):
        (example,) = to_examples(rows_of({"text": "a", "label": label}), COLUMNS, Faults())
        assert example.gold == expected == canonical(label)

    def test_they_come_one_by_one(self):
        """No row is read before it is asked for."""
        read: list[int] = []

        def rows():
            for number in range(10):
                read.append(number)
                yield Row({"text": "a", "label": "b"}, f"x:{number}")

        examples = to_examples(rows(), COLUMNS, Faults())
        next(examples)
        assert read == [0]
