"""Errors: each is a builtin too, all faults come at once, and the nearest name is offered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.core import errors
from tenon.core.errors import Fault, Faults, TenonError, did_you_mean, nearest

LEAVES = {
    errors.PlanError: ValueError,
    errors.DataError: ValueError,
    errors.AdapterError: ValueError,
    errors.RequestError: ValueError,
    errors.RunError: RuntimeError,
    errors.FileError: OSError,
    errors.MissingExtra: ImportError,
}


@pytest.mark.parametrize(("leaf", "builtin"), LEAVES.items())
def test_a_leaf_is_the_builtin_that_one_would_catch(leaf, builtin):
    assert issubclass(leaf, TenonError)
    assert issubclass(leaf, builtin)


def test_every_leaf_is_known_here():
    assert set(TenonError.__subclasses__()) == set(LEAVES)


def test_a_missing_extra_says_what_to_type():
    error = errors.MissingExtra("plots", "matplotlib", "report")
    assert str(error) == (
        'plots needs matplotlib, which is not installed; run: pip install "tenonlm[report]"'
    )


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault("a.csv:3", "no label"), "a.csv:3: no label"),
        (Fault("a.csv:3", "no label", "mend the row"), "a.csv:3: no label; mend the row"),
    ],
)
def test_a_fault_reads_as_where_what_remedy(fault, text):
    assert str(fault) == text


class TestFaults:
    def test_none_raise_nothing(self):
        Faults().raise_if_any(errors.DataError)

    @given(count=st.integers(1, 60), keep=st.integers(1, 40))
    def test_all_are_counted_and_the_first_are_told(self, count, keep):
        faults = Faults(keep=keep)
        for line in range(count):
            faults.add(f"a.csv:{line + 1}", "odd")
        with pytest.raises(errors.DataError) as raised:
            faults.raise_if_any(errors.DataError)
        lines = str(raised.value).splitlines()
        shown = min(count, keep, errors.SHOWN_FAULTS)
        assert lines[:shown] == [f"a.csv:{line + 1}: odd" for line in range(shown)]
        assert faults.count == count
        if count > shown:
            assert lines[shown:] == [f"... and {count - shown} more faults of this kind or others"]
        else:
            assert len(lines) == shown

    def test_one_fault_that_was_not_kept_is_an_error_still(self):
        faults = Faults(keep=0)
        faults.add("a.csv:1", "odd")
        with pytest.raises(errors.DataError, match="1 more fault"):
            faults.raise_if_any(errors.DataError)


class TestNearest:
    def test_the_nearest_first(self):
        assert nearest("lable", ["text", "label", "table", "id"], 2) == ["table", "label"]

    def test_what_was_only_begun_is_nearest(self):
        assert nearest("acc", ["accuracy", "mcc"]) == ["accuracy"]
        assert nearest("Order", ["orders_open", "order_status", "border"], 2) == [
            "orders_open",
            "order_status",
        ]

    def test_case_does_not_matter(self):
        assert nearest("LABEL", ["Label", "text"]) == ["Label"]

    def test_nothing_near(self):
        assert nearest("zzz", ["label", "text"]) == []
        assert nearest("label", []) == []

    @given(st.lists(st.text(min_size=1), min_size=1, unique_by=str.casefold), st.data())
    def test_a_name_that_is_there_is_nearest_to_itself(self, names, data):
        name = data.draw(st.sampled_from(names))
        assert nearest(name, names) == [name]

    @pytest.mark.parametrize(
        ("word", "told"),
        [
            ("widht", "did you mean width?"),
            ("qqq", "known here: rank, width"),
        ],
    )
    def test_told_as_a_question_or_as_a_list(self, word, told):
        assert did_you_mean(word, {"width": 1, "rank": 2}) == told

    def test_the_full_name_is_offered(self):
        assert did_you_mean("widht", ["width"], before="a.b.") == "did you mean a.b.width?"
        assert did_you_mean("qqq", ["width"], before="a.b.") == "known here: width"

    def test_told_where_there_is_nothing(self):
        assert did_you_mean("width", []) == "nothing is known here"
