"""What the data and the base decide, and what they cannot hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plan.tables import NEEDED, table_of
from tenon.core.errors import PlanError
from tenon.plan import measure
from tenon.plan.resolve import resolve_table

FILE = Path("/project/run.toml")


def plan_of(**more):
    return resolve_table(
        table_of({**NEEDED, **{key.replace("__", "."): v for key, v in more.items()}}), FILE
    )


@given(wanted=st.integers(1, 2_000), holds=st.integers(1, 2_000))
def test_what_is_set_is_taken_or_refused_with_both_numbers(wanted, holds):
    plan = plan_of(text__max_tokens=wanted)
    if wanted <= holds:
        assert measure.limit(plan, holds) == wanted
        return
    with pytest.raises(PlanError) as caught:
        measure.limit(plan, holds)
    told = f"text.max_tokens: is {wanted}; this base holds at most {holds} tokens a row"
    assert str(caught.value).startswith(told)


@given(holds=st.integers(1, 1 << 30), micro=st.integers(1, 100_000))
def test_what_is_left_out_is_what_the_base_and_a_micro_batch_hold(holds, micro):
    assert measure.limit(plan_of(train__micro_batch_tokens=micro), holds) == min(holds, micro)


@given(tokens=st.integers(10, 10_000), norm=st.floats(0.1, 100))
def test_what_is_given_is_left_as_it_is(tokens, norm):
    measured = measure.Measured("cls", "float32", 128, 10, tokens, norm)
    free = measure.settle(plan_of(), measured)
    assert free.train.tokens_per_step == round(measure.ROWS_PER_STEP * tokens / 10)
    assert free.model.pooling == "cls"
    assert free.train.learning_rate > 0 < free.train.head_learning_rate
    given_all = {name: getattr(getattr(free, name.split(".")[0]), name.split(".")[1])
                 for name, origin in free.origins.items() if origin == "measured"}  # fmt: skip
    again = resolve_table(table_of({**NEEDED, **given_all}), FILE)
    assert measure.settle(again, measured).digest == free.digest
    assert "measured" not in measure.settle(again, measured).origins.values()
