"""What several runs take that share their passes, by what each takes alone."""

from __future__ import annotations

from dataclasses import asdict

from hypothesis import given, settings
from hypothesis import strategies as st

from tenon.plan.footprint import Footprint
from tenon.plan.shared import together

BYTES = st.integers(0, 1 << 34)
ALONE = st.builds(Footprint, *[BYTES] * 9, st.integers(1, 1 << 16))
RUNS = st.lists(ALONE, min_size=1, max_size=4)


@settings(max_examples=40)
@given(ALONE)
def test_one_run_is_itself(alone):
    assert together([alone], [(alone.tokens // 2,), (alone.tokens,)]) == alone


@settings(max_examples=40)
@given(RUNS)
def test_several_take_more_than_one_and_less_than_as_many_processes(runs):
    found = together(runs, [tuple(run.tokens for run in runs)])
    assert found.training <= sum(run.training for run in runs)
    assert found.peak >= max(run.training for run in runs) - len(asdict(found))
    assert found.lasting - found.base == sum(run.lasting - run.base for run in runs)


@settings(max_examples=40)
@given(RUNS, st.data())
def test_the_pass_that_takes_most_decides(runs, data):
    sizes = st.tuples(*(st.integers(0, run.tokens) for run in runs))
    shared = data.draw(st.lists(sizes, min_size=1, max_size=5))
    found = together(runs, shared)
    assert found.training == max(together(runs, [each]).training for each in shared)
    assert found.training <= together(runs, [tuple(run.tokens for run in runs)]).training + 3
