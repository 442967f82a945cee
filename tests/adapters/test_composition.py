"""Compositions as values: text and JSON give them back, and none exists that means nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.adapters.composition import (
    FORMS,
    Average,
    Composed,
    Fuse,
    Parallel,
    Route,
    Stack,
    depth,
    from_json,
    names,
    text,
    to_json,
)
from tenon.adapters.expression import is_expression, parse
from tenon.adapters.nesting import ALL, MOST_NESTED, NESTING, refusal
from tenon.core.errors import PlanError

NAMES = st.one_of(
    st.sampled_from(["a", "b", "c", "runs/a", "-a", "a b", "x:y", 'q"q', "average", "..", "a\\b"]),
    st.text(min_size=1, max_size=8).filter(str.strip),
)
WEIGHTS = st.floats(allow_nan=False, allow_infinity=False).filter(bool)


def parts(inner):
    return st.lists(inner, min_size=2, max_size=4, unique=True)


def mixed(inner):
    """A part that may stand in a stack or an average."""
    return st.one_of(
        parts(inner).map(lambda p: Stack(*p)),
        st.dictionaries(inner, WEIGHTS, min_size=1, max_size=4).map(Average),
    )


INNER = st.recursive(NAMES, mixed, max_leaves=6)


@st.composite
def routes(draw):
    owners = draw(st.lists(INNER, min_size=1, max_size=3, unique=True))
    rows = draw(st.lists(st.integers(0, 40), min_size=len(owners), max_size=12, unique=True))
    return Route({part: rows[n :: len(owners)] for n, part in enumerate(owners)})


COMPOSITIONS = st.one_of(
    INNER,
    parts(INNER).map(lambda p: Parallel(*p)),
    parts(NAMES).map(lambda p: Fuse(*p)),
    routes(),
)


@given(COMPOSITIONS)
def test_text_and_json_give_the_value_back(composition):
    assert parse(text(composition)) == composition
    assert from_json(json.loads(json.dumps(to_json(composition)))) == composition
    assert text(parse(text(composition))) == text(composition)
    assert hash(parse(text(composition))) == hash(composition)


@given(COMPOSITIONS)
def test_each_adapter_is_named_once(composition):
    found = names(composition)
    assert len(set(found)) == len(found) >= 1
    assert depth(composition) == text_depth(text(composition))


def text_depth(written: str) -> int:
    """Count brackets outside of quotes."""
    deepest = now = 0
    quoted = escaped = False
    for sign in written:
        if quoted:
            quoted = sign != '"' or escaped
            escaped = sign == "\\" and not escaped
            continue
        quoted = sign == '"'
        now += (sign == "(") - (sign == ")")
        deepest = max(deepest, now)
    return deepest


@given(st.text(alphabet='ab(),:[]-0."\\ averagstck', max_size=30))
def test_any_text_is_read_or_refused_with_a_place(written):
    try:
        made = parse(written)
    except PlanError as error:
        assert "character " in str(error) and "; " in str(error)
    else:
        assert parse(text(made)) == made


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("a", "a"),
        (" average( a : 0.7 , b:3e-1 ) ", Average({"a": 0.7, "b": 0.3})),
        ("average(a, b)", Average({"a": 0.5, "b": 0.5})),
        ("-a", Average({"a": -1})),
        ('-"a b"', Average({"a b": -1})),
        ("-stack(a, b)", Average([(Stack("a", "b"), -1)])),
        ("stack(a, average(b:2))", Stack("a", Average({"b": 2}))),
        ("parallel(runs/a, runs/b)", Parallel("runs/a", "runs/b")),
        ("route(a:[0-2 7], b:[3,5])", Route({"a": (0, 1, 2, 7), "b": (3, 5)})),
        ("fuse(a, b, c)", Fuse("a", "b", "c")),
    ],
)
def test_what_is_written_is_what_is_meant(written, value):
    assert parse(written) == value
    assert parse(text(value)) == value


def test_values_are_frozen_and_equal_by_what_they_say():
    one = Average({"a": 1, "b": 2})
    assert one == Average([("a", 1.0), ("b", 2.0)]) != Average({"b": 2, "a": 1})
    assert Stack("a", "b") != Parallel("a", "b")
    with pytest.raises(AttributeError):
        one.weighted = ()
    assert text(one) == "average(a:1, b:2)" and text(Average({"-a": 1})) == 'average("-a":1)'
    assert text(Route({"a": (5, 0, 1, 2)})) == "route(a:[0-2 5])"


WRONG = [
    ("", r"character 1 is empty; expected an adapter"),
    ("average()", r"character 1 .*average: is empty; expected at least one adapter"),
    ("stack(a)", r"stack: has one part, a; expected at least two"),
    ("fuse(a)", r"fuse: has one part, a; expected at least two"),
    ("parallel(a)", r"parallel: has one part"),
    ("stack(a, a)", r"stack: a stands twice; .* write average\(a:2\)"),
    ("average(a:1, a:2)", r"average: a stands twice; add up its weights"),
    ("parallel(a, b, a)", r"parallel: a stands twice"),
    ("average(a:x)", r"character 11 is 'x'; expected a weight, a number such as 0\.5"),
    ("average(a:0.5, b)", r"b has no weight; give each part one, or none"),
    ("average(a:0, b:1)", r"weight of a is 0\.0, which has no effect; leave a out"),
    ("average(a:nan)", r"weight of a is nan; expected a finite number"),
    ("average(a:1e999)", r"weight of a is inf; expected a finite"),
    ("parallel(a, route(b:[1]))", r"route cannot stand in it: rows are given .* outermost"),
    ("stack(a, parallel(b, c))", r"parallel cannot stand in it: it gives several answers"),
    ("route(a:[0], route(b:[1]):[1])", r"route cannot stand in it: rows have their parts already"),
    ("fuse(a, average(b:1))", r"average cannot stand in it: its attention is learned"),
    ("route(a)", r"character 8 has no rows before it; expected :\[0-3 5\]"),
    ("route(a:[])", r"rows of a are \(\); expected places of rows"),
    ("route(a:[5-2])", r"character 9 has the rows '5-2'; expected places from 0"),
    ("route(a:[0-99999999])", r"has the rows '0-99999999'"),
    ("route(a:[1], b:[0-1])", r"rows of b: row 1 is also of a; give it to one"),
    ("stack(a:1, b)", r"character 8 is ':'; stack has neither weights nor rows"),
    ("avrage(a, b)", r"character 1 is 'avrage', which is no form; did you mean average\?"),
    ("stack(a, b", r"character 11 is the end; expected \",\" or \"\)\""),
    ("a b", r"character 3 is 'b'; expected the end"),
    ('stack("a, b)', r"character 7 is .*is a quote or a bracket not closed\?"),
    ('""', r"character 1 is an empty name"),
    (r'"\x"', r"expected a name in quotes, as in JSON"),
    ("average(" * 40 + "a" + ")" * 40, r"nested too deep; expected at most 16"),
    ("-" * 400 + "a", r"nested too deep"),
]


@pytest.mark.parametrize(("written", "told"), WRONG, ids=[case[0][:24] for case in WRONG])
def test_a_wrong_composition_is_refused_with_its_place_and_cause(written, told):
    with pytest.raises(PlanError, match=told) as refused:
        parse(written)
    assert str(refused.value).startswith("composition ")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Average({"a": "1"}), "weight of a is '1'; expected a number"),
        (lambda: Average({"a": True}), "weight of a is True; expected a number"),
        (lambda: Stack("a", " "), "a part is ' '; expected the name"),
        (lambda: Stack("a", 3), "a part is 3; expected the name"),
        (lambda: Route({"a": (-1,)}), "rows of a have -1; expected whole numbers"),
        (lambda: Route({"a": "0"}), "rows of a are '0'"),
        (lambda: deep(MOST_NESTED + 1), "nested deeper than 16"),
        (lambda: from_json({"average": [], "stack": []}), "expected a name, or an object of one"),
        (lambda: from_json(["a"]), r"is \[\"a\"\]; expected a name"),
        (lambda: from_json({"average": ["a"]}), "expected an object with part and weight"),
        (lambda: from_json({"route": [{"part": "a", "rows": 3}]}), "rows of a are 3"),
        (lambda: refusal("blend", "a"), "blend: is no form"),
    ],
)
def test_a_wrong_value_is_refused(make, told):
    with pytest.raises(PlanError, match=told):
        make()


def deep(levels: int) -> Composed:
    made = Average({"a": 1})
    for _ in range(levels - 1):
        made = Average([(made, 1)])
    return made


def test_the_table_of_nestings_is_what_is_refused():
    """Each pair of forms is allowed, or refused with the reason of the table."""
    inside = {
        "adapter": "x",
        "stack": Stack("x", "y"),
        "average": Average({"x": 1}),
        "parallel": Parallel("x", "y"),
        "fuse": Fuse("x", "y"),
        "route": Route({"x": (0,)}),
    }
    assert set(NESTING) == set(FORMS) and set(inside) == set(ALL)
    for outer, form in FORMS.items():
        for inner, part in inside.items():
            why = NESTING[outer].get(inner)
            given_parts = {
                "average": ([("z", 1), (part, 1)],),
                "route": ([("z", (0,)), (part, (1,))],),
            }.get(outer, ("z", part))
            if why is None:
                assert form(*given_parts).parts == ("z", part)
            else:
                with pytest.raises(PlanError) as refused:
                    form(*given_parts)
                assert why in str(refused.value)


def test_what_is_an_expression():
    assert all(map(is_expression, ["average(a)", " stack (a, b)", "-a", "avrage(a:1)"]))
    assert not any(map(is_expression, ["a", "runs/average", "runs/a(1)", ""]))
