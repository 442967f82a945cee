"""An argument `key=value` is a TOML value or a bare text."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.core.errors import PlanError
from tenon.plan.override import Override, merge, parse
from tenon.plan.planfile import toml

WORDS = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
KEYS = st.lists(WORDS, min_size=1, max_size=3).map(".".join)
SCALARS = st.one_of(
    st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False), st.text()
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=4))


@given(KEYS, VALUES)
def test_a_toml_value_is_read_as_such(key, value):
    (read,) = parse([f"{key}={toml(value)}"])
    assert (read.key, read.value) == (key, value)
    assert type(read.value) is type(value)


@given(KEYS, st.text().filter(lambda text: not text.startswith(('"', "'", "[", "{"))))
def test_anything_else_is_text_as_it_stands(key, text):
    (read,) = parse([f"{key}={text}"])
    assert read.text == text
    assert not isinstance(read.value, str) or read.value == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("foo/bar", "foo/bar"),
        ("1e-4", 1e-4),
        ("16_384", 16384),
        ("true", True),
        ("True", "True"),
        ("", ""),
        ("a=b", "a=b"),
        ("3 # not a comment of ours", 3),
        ("1\nseed = 3", "1\nseed = 3"),
        ("data/train.jsonl", "data/train.jsonl"),
    ],
)
def test_examples(text, value):
    (read,) = parse([f"key={text}"])
    assert read.value == value


@pytest.mark.parametrize(
    "argument", ["epochs", "=3", "a b=3", "train.=3", ".a=3", "a..b=3", "-", ""]
)
def test_what_is_no_argument(argument):
    with pytest.raises(PlanError, match="is not key=value"):
        parse([argument])


@pytest.mark.parametrize("text", ['"open', "[1, 2", "{a = 1", "'x", "[1] 2"])
def test_what_begins_like_toml_and_is_none(text):
    with pytest.raises(PlanError, match="is not a TOML value"):
        parse([f"key={text}"])


@pytest.mark.parametrize("text", ["[mlp.out]", "[mlp.out,attention.out]"])
def test_a_list_whose_quotes_the_shell_took(text):
    with pytest.raises(PlanError) as caught:
        parse([f"sites={text}"])
    quoted = ", ".join(f'"{word}"' for word in text.strip("[]").split(","))
    assert str(caught.value).endswith(f"the shell takes quotes away: write 'sites=[{quoted}]'")


def test_all_faults_at_once():
    with pytest.raises(PlanError) as caught:
        parse(["x", "a=1", "a=2", 'b="'])
    assert len(str(caught.value).splitlines()) == 3


@given(st.dictionaries(WORDS, st.dictionaries(WORDS, st.integers())), WORDS, WORDS, st.integers())
def test_merging_changes_one_place_and_not_the_table(table, owner, name, value):
    before = copy.deepcopy(table)
    merged = merge(table, [Override(f"{owner}.{name}", value, str(value))])
    assert table == before
    assert merged[owner][name] == value
    merged[owner].pop(name)
    before.setdefault(owner, {}).pop(name, None)
    assert merged == before


def test_a_value_is_no_table():
    with pytest.raises(PlanError, match="train is a value, not a table"):
        merge({"train": 3}, parse(["train.epochs=3"]))
