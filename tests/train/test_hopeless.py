"""A run that its evaluations show to be hopeless ends cleanly, alone and beside others."""

from __future__ import annotations

import shutil

import pytest

from runs import Keeping, classifier, equal, log, settings, tokens, weights
from tenon.train import checkpoint
from tenon.train.loop import Course, Loop

STEPS = 14


def score(model):
    del model
    return {"accuracy": 0.5}


def loop_of(folder, run, hopeless, progress=None, **more) -> Loop:
    rules = settings(epochs=2, evaluate_every=2, **more)
    course = Course(run, "plan", 3, rules, score, progress, hopeless=hopeless)
    return Loop(classifier(folder), tokens(40), course)


def after(count: int):
    """Give up at the n-th evaluation."""
    return lambda seen: len(seen) >= count


@pytest.mark.parametrize("count", [1, 3])
def test_it_ends_at_the_evaluation_that_says_so(count, folder_of, tmp_path):
    made = loop_of(folder_of("bert"), tmp_path / "run", after(count))
    ended = made.run()
    assert ended.given_up
    assert not ended.stopped_early, "that is patience's word"
    assert ended.steps == 2 * count < made.steps
    assert f"given up at step {2 * count} of {made.steps}" in ended.notes
    assert [share * made.steps for share, _ in made.seen] == pytest.approx(
        [2 * (place + 1) for place in range(count)]
    )
    found, damaged = checkpoint.newest(tmp_path / "run")
    assert found is not None
    assert (found.position, damaged) == (2 * count, [])


def test_its_steps_are_those_of_a_run_that_is_not_given_up(folder_of, tmp_path):
    whole = loop_of(folder_of("bert"), tmp_path / "whole", None)
    whole.run()
    loop_of(folder_of("bert"), tmp_path / "run", after(2)).run()
    short = log(tmp_path / "run")
    assert short == log(tmp_path / "whole")[: len(short)]


def test_at_its_end_a_run_is_never_given_up(folder_of, tmp_path):
    made = loop_of(
        folder_of("bert"), tmp_path / "run", lambda seen: bool(seen) and seen[-1][0] == 1.0
    )
    ended = made.run()
    assert not ended.given_up
    assert ended.steps == made.steps


def test_nothing_is_given_up_before_an_evaluation(folder_of, tmp_path):
    asked = []
    made = loop_of(folder_of("bert"), tmp_path / "run", lambda seen: bool(asked.append(len(seen))))
    assert not made.run().given_up
    assert min(asked) == 0, "it is asked, and says no"


def test_resumed_anywhere_it_is_given_up_at_the_same_step(folder_of, tmp_path):
    """What it has seen comes back from its log, whatever step it stopped at."""
    folder, run = folder_of("bert"), tmp_path / "run"
    copies = tmp_path / "copies"
    kept = loop_of(folder, run, after(3), Keeping(run, copies), save_every=1)
    kept.run()
    assert len(list(copies.iterdir())) == 6
    for copy in sorted(copies.iterdir())[1:]:
        again = loop_of(folder, copy, after(3), save_every=1)
        again.resume()
        assert len(again.seen) == again.position // 2
        ended = again.run()
        assert ended.given_up
        assert ended.steps == 6
        assert log(copy) == log(run)
        assert equal(weights(again.model), weights(kept.model))
        assert again.seen == kept.seen


def test_resumed_where_it_was_given_up_it_takes_no_step(folder_of, tmp_path):
    folder = folder_of("bert")
    loop_of(folder, tmp_path / "run", after(1)).run()
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    again = loop_of(folder, tmp_path / "copy", after(1))
    again.resume()
    ended = again.run()
    assert (ended.given_up, ended.steps, ended.tokens) == (True, 2, 0)
    assert log(tmp_path / "copy") == log(tmp_path / "run")
