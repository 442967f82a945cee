"""What `--over` says: spans that are read and written, and spaces whose every plan is one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.core.errors import PlanError
from tenon.plan.space import choices, space
from tenon.plan.span import Span, parse

TABLE = {
    "base": "some/encoder",
    "data": {"train": "x.csv"},
    "adapters": {"mood": {"kind": "lora.v1"}},
}
PATH = Path("run.toml")

numbers = st.floats(1e-6, 1e6, allow_nan=False)
whole = st.integers(-1000, 1000)


@st.composite
def spans(draw):
    form = draw(st.sampled_from(["list", "texts", "float", "log", "step", "int", "intlog"]))
    if form == "list":
        values = draw(st.lists(st.one_of(numbers, whole), min_size=2, max_size=6, unique=True))
        return "float", Span("k", tuple(sorted(values)))
    if form == "texts":
        texts = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=9)
        values = draw(st.lists(st.one_of(texts, st.booleans()), min_size=2, unique=True))
        return "", Span("k", tuple(values))
    if form in ("int", "intlog"):
        low, size = draw(st.integers(1, 99)), draw(st.integers(1, 99))
        log = form == "intlog"
        step = 0.0 if log else float(draw(st.integers(1, size)))
        return "int", Span("k", (), low, low + size, step, log=log, whole=True)
    low, high = sorted(draw(st.lists(numbers, min_size=2, max_size=2, unique=True)))
    step = (high - low) * draw(st.floats(0.01, 1)) if form == "step" else 0.0
    return "float", Span("k", (), low, high, step, log=form == "log")


@given(spans())
def test_a_span_is_read_as_it_is_written(made):
    number, span = made
    assert parse("k", span.spec, number) == span


@given(spans(), st.floats(0, 1))
def test_a_value_that_is_shown_is_one_of_the_span(made, share):
    _, span = made
    if span.choices:
        return
    value = span.shown(span.low + share * (span.high - span.low))
    assert span.low <= value <= span.high
    assert span.shown(value) == value, "shown again it is the same"
    assert isinstance(value, int) == span.whole


@pytest.mark.parametrize(
    ("spec", "number", "values"),
    [
        ("8,16,32", "int", (8, 16, 32)),
        ("32,8", "int", (8, 32)),
        ("true,false", "", (True, False)),
        ("probe,random", "", ("probe", "random")),
        ('["a"],["a","b"]', "", (["a"], ["a", "b"])),
        ('"a,b","c"', "", ("a,b", "c")),
        ("1e-3,1e-2", "float", (1e-3, 1e-2)),
    ],
)
def test_a_list_holds_what_toml_says(spec, number, values):
    assert parse("k", spec, number).choices == values


@pytest.mark.parametrize(
    ("spec", "number", "count", "ends"),
    [
        ("1..5", "int", 5, (1, 5)),
        ("8..64/8", "int", 8, (8, 64)),
        ("0.1..0.5/0.1", "float", 5, (0.1, 0.5)),
        ("0.1..0.5", "float", None, (0.1, 0.5)),
        ("log:1e-5..1e-2", "float", None, (1e-5, 1e-2)),
        ("log:4..256", "int", 253, (4, 256)),
        ("1_000..2_000", "int", 1001, (1000, 2000)),
    ],
)
def test_a_range_has_ends_and_a_count(spec, number, count, ends):
    span = parse("k", spec, number)
    assert (span.count, span.ends) == (count, ends)


@pytest.mark.parametrize(
    ("spec", "number", "phrase"),
    [
        ("5", "int", "no list of two or more and no range"),
        ("", "int", "no list of two or more"),
        ("8,,16", "int", "no list of two or more"),
        ("8,8", "int", "8 stands twice"),
        ("2..1", "float", "2 is not below 1"),
        ("1..1", "int", "1 is not below 1"),
        ("log:0..1", "float", "logarithm needs numbers above 0"),
        ("log:1..9/2", "int", "no step"),
        ("1..2/5", "float", "leaves one value"),
        ("1.5..3", "int", "1.5 is no whole number"),
        ("1..3/0.5", "int", "0.5 is no whole number"),
        ("1..3", "", "is no number; list its values"),
        ("[1,2", "", "no list of two or more"),
    ],
)
def test_what_is_no_span_is_refused(spec, number, phrase):
    with pytest.raises(PlanError, match="--over k=") as error:
        parse("k", spec, number)
    assert phrase in str(error.value)


def test_short_names_mean_the_one_setting_that_is_spelled_so():
    made = space(TABLE, PATH, (), ["learning_rate=log:1e-5..1e-2", "rank=4..16/4", "epochs=1,2"])
    assert [each.key for each in made.spans] == [
        "train.learning_rate", "adapters.mood.rank", "train.epochs",
    ]  # fmt: skip
    assert [each.whole for each in made.spans] == [False, True, False]


def test_a_star_means_the_adapter():
    made = space(TABLE, PATH, (), ["adapters.*.rank=2,4"])
    assert [each.key for each in made.spans] == ["adapters.mood.rank"]


def test_every_choice_has_the_plan_that_its_settings_give_as_arguments():
    made = space(TABLE, PATH, ["train.epochs=5"], ["rank=2,4", "learning_rate=1e-3..1e-2"])
    assert made.size is None
    assert not made.listed
    for values in choices(made):
        plan = made.plan(values)
        assert plan.adapter.own["rank"] == values["adapters.mood.rank"]
        assert plan.train.learning_rate == values["train.learning_rate"]
        assert plan.train.epochs == 5
        assert plan.digest != made.default.digest


def test_a_kind_is_swept_where_its_settings_allow():
    made = space(TABLE, PATH, (), ["kind=lora.v1,dora.v1", "rank=2,4"])
    assert made.size == 4
    assert made.listed
    kinds = {made.plan(values).adapter.kind for values in made.grid()}
    assert kinds == {"lora.v1", "dora.v1"}
    with pytest.raises(PlanError, match="not a setting of bottleneck"):
        space(TABLE, PATH, (), ["kind=lora.v1,bottleneck.v1", "rank=2,4"])


def test_the_grid_has_every_choice_once():
    made = space(TABLE, PATH, (), ["rank=2,4,8", "epochs=1,2", "schedule=cosine,linear"])
    grid = list(made.grid())
    assert len(grid) == made.size == 12
    assert len({tuple(each.values()) for each in grid}) == 12


@pytest.mark.parametrize(
    ("over", "phrase"),
    [
        ([], "nothing is swept"),
        (["learning_rte=1..2"], "did you mean train.learning_rate?"),
        (["width=8,16"], "width is not a setting"),
        (["adapters.*.width=8,16"], "width is not a setting"),
        (["adapters.other.rank=8,16"], "is not a setting"),
        (["train=1,2"], "cannot be swept: trials would be judged on other rows"),
        (["seed=1,2"], "seeds are no setting to be chosen"),
        (["evaluate.level=0.8,0.9"], "how a trial is judged"),
        (["metric=accuracy,mcc"], "what trials are compared by"),
        (["rank=2,4", "adapters.*.rank=8,16"], "swept twice"),
        (["epochs=0,3"], "greater than or equal to 1"),
        (["learning_rate=-1..1"], "greater than or equal to 0"),
        (["rank"], "is not KEY=SPEC"),
        (["=1,2"], "is not KEY=SPEC"),
        (["head_start=probe,random", "head_scale=0.1..0.9"], "has no effect"),
        (["schedule=cosine,liner"], "did you mean linear?"),
        (["kind=lora.v1,nonsense.v1"], "nonsense"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_runs(over, phrase):
    with pytest.raises(PlanError) as error:
        space(TABLE, PATH, (), over)
    assert phrase in str(error.value)


def test_all_faults_are_told_at_once():
    with pytest.raises(PlanError) as error:
        space(TABLE, PATH, (), ["learning_rte=1..2", "seed=1,2", "epochs=5..2"])
    assert str(error.value).count("--over") == 3


def test_a_setting_that_is_given_is_not_swept():
    with pytest.raises(PlanError, match=r"train.epochs=5 sets it already"):
        space(TABLE, PATH, ["train.epochs=5"], ["epochs=1,2"])


def test_several_adapters_have_no_one_goal():
    two = {**TABLE, "adapters": {"a": {"kind": "lora.v1"}, "b": {"kind": "lora.v1"}}}
    with pytest.raises(PlanError, match="holds several adapters"):
        space(two, PATH, (), ["rank=2,4"])


def test_a_bottleneck_has_a_width():
    table = {**TABLE, "adapters": {"mood": {"kind": "bottleneck.v1"}}}
    made = space(table, PATH, (), ["adapters.*.width=8,16,32"])
    assert [made.plan(values).adapter.own["width"] for values in made.grid()] == [8, 16, 32]


def test_many_lists_are_validated_value_by_value():
    over = [
        "rank=1,2,3,4,5,6,7,8", "epochs=1,2,3,4,5,6,7,8", "warmup=0,0.1,0.2,0.3",
        "weight_decay=0,0.1,0.2,0.3", "clip=0.5,1,2",
    ]  # fmt: skip
    made = space(TABLE, PATH, (), over)
    assert made.size == 8 * 8 * 4 * 4 * 3
    assert len(choices(made)) == 8 + 8 + 4 + 4 + 3
