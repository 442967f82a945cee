"""When a trial is given up, and what is told of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs import plan
from tenon.verbs.grouping import grouped
from tenon.verbs.trial import FEWEST_EARLIER, Result, Trial, behind

values = st.floats(0, 1, allow_nan=False)
curves = st.lists(values, min_size=1, max_size=5).map(
    lambda found: [((place + 1) / len(found), value) for place, value in enumerate(found)]
)


@given(curves, st.lists(curves, max_size=FEWEST_EARLIER - 1), st.booleans())
def test_before_enough_have_ended_none_is_behind(seen, earlier, lower):
    assert not behind(seen, earlier, lower=lower)


@given(curves, st.lists(curves, min_size=FEWEST_EARLIER, max_size=9))
def test_lower_is_higher_turned_around(seen, earlier):
    turned = [[(at, -value) for at, value in curve] for curve in earlier]
    mirrored = [(at, -value) for at, value in seen]
    assert behind(seen, earlier, lower=False) == behind(mirrored, turned, lower=True)


@given(st.lists(curves, min_size=FEWEST_EARLIER, max_size=9))
def test_the_best_of_all_is_never_behind(earlier):
    best = max(value for curve in earlier for _, value in curve)
    assert not behind([(1.0, best)], earlier, lower=False)


@given(curves, st.lists(curves, min_size=FEWEST_EARLIER, max_size=9), values)
def test_a_better_value_never_puts_a_trial_behind(seen, earlier, more):
    raised = [(at, value + more) for at, value in seen]
    if behind(raised, earlier, lower=False):
        assert behind(seen, earlier, lower=False)


def test_a_trial_is_compared_at_its_own_share_of_the_steps():
    slow = [[(0.25, 0.1), (0.5, 0.2), (1.0, 0.9)]] * 4
    assert not behind([(0.5, 0.3)], slow, lower=False)
    assert behind([(0.5, 0.3), (1.0, 0.3)], slow, lower=False)
    assert not behind([(0.1, 0.0)], slow, lower=False), "none of them has come to an evaluation"
    assert not behind([], slow, lower=False)


def test_a_trial_and_its_result_are_read_as_they_are_written(tmp_path, folder_of):
    (tmp_path / "train.csv").write_text("text,label\na,b\n")
    made = plan(tmp_path, folder_of("bert"))
    trial = Trial(made, tmp_path / "7", 3, (((0.5, 0.25), (1.0, 0.75)),))
    assert Trial.from_json(json.loads(json.dumps(trial.to_json()))) == trial
    result = Result("pruned", 0.5, [(0.5, 0.5)], 3, 1.5, 99, 12, "", "digest")
    assert Result.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_only_trials_of_one_base_share_a_pass(tmp_path, folder_of):
    (tmp_path / "train.csv").write_text("text,label\na,b\n")
    bert, other = folder_of("bert"), folder_of("roberta")
    plans = [
        plan(tmp_path, base, model__trunk_dropout=dropout)
        for base, dropout in ((bert, False), (other, False), (bert, False), (bert, True),
                              (bert, False), (other, False))
    ]  # fmt: skip
    trials = [Trial(each, tmp_path / str(place)) for place, each in enumerate(plans)]
    groups = [[int(trial.folder.name) for trial in group] for group in grouped(trials, 2)]
    assert groups == [[0, 2], [1, 5], [3], [4]]
    assert [len(group) for group in grouped(trials, 1)] == [1] * 6


@pytest.mark.parametrize("together", [1, 2, 3, 8])
def test_each_trial_is_in_one_group(together, tmp_path, folder_of):
    (tmp_path / "train.csv").write_text("text,label\na,b\n")
    made = plan(tmp_path, folder_of("bert"))
    trials = [Trial(made, tmp_path / str(place)) for place in range(7)]
    groups = grouped(trials, together)
    assert [trial for group in groups for trial in group] == trials
    assert max(map(len, groups)) <= together
