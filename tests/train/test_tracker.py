"""Tracker: TensorBoard gets every number, also of a run that was stopped."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections import defaultdict

import pytest

from runs import classifier, log, settings, tokens
from tenon.core.errors import RunError
from tenon.train.loop import Course, Loop

pytest.importorskip("tensorboard")

BLOCKED = """
import sys
sys.modules["tensorboard"] = None
import pathlib
from accelerate import Accelerator
from tenon.train.settings import TrainSettings
from tenon.train.tracker import Tracker
try:
    Tracker(Accelerator(cpu=True), pathlib.Path("."), TrainSettings(trackers=("tensorboard",)))
except ImportError as error:
    print(error)
"""


def events(run) -> dict[str, dict[int, float]]:
    """Read the scalars under `run`: name to step to value."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
        from tensorboard.util import tensor_util
    found = defaultdict(dict)
    for path in sorted((run / "tensorboard").rglob("events*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                found[value.tag][event.step] = float(tensor_util.make_ndarray(value.tensor))
    return found


def loop_of(folder_of, run, **more):
    score = {"accuracy": 0.25, "log_loss": 1.5}
    given = settings(trackers=("tensorboard",), **more)
    course = Course(run, "plan", 1, given, lambda _: score)
    return Loop(classifier(folder_of("bert")), tokens(20), course)


def test_every_number_of_the_log_is_there(folder_of, tmp_path):
    loop = loop_of(folder_of, tmp_path, epochs=2)
    loop.run()
    found = events(tmp_path)
    assert set(found) == {"train/loss", "train/norm", "dev/accuracy", "dev/log_loss"}
    steps = [entry for entry in log(tmp_path) if "loss" in entry]
    assert len(steps) == loop.steps > 2
    for entry in steps:
        for name in ("loss", "norm"):
            assert found[f"train/{name}"][entry["step"] + 1] == pytest.approx(entry[name], rel=1e-5)
    assert found["dev/accuracy"] == {loop.steps // 2: 0.25, loop.steps: 0.25}
    assert found["dev/log_loss"] == {loop.steps // 2: 1.5, loop.steps: 1.5}


def test_a_run_that_fails_has_written_what_it_did(folder_of, tmp_path):
    loop = loop_of(folder_of, tmp_path, epochs=2)
    taken = iter(range(loop.steps))

    class Broken:
        def start(self, what, total, *, done=0):
            pass

        def advance(self, n, **fields):
            if n and next(taken) == 1:
                raise RunError("stop")

    course = loop.course
    loop.course = Course(
        course.run, course.plan, course.seed, course.settings, course.score, Broken()
    )
    with pytest.raises(RunError, match="stop"):
        loop.run()
    assert set(events(tmp_path)["train/loss"]) == {1, 2}


def test_by_default_nothing_is_written(folder_of, tmp_path):
    course = Course(tmp_path, "plan", 1, settings(epochs=1))
    Loop(classifier(folder_of("bert")), tokens(20), course).run()
    assert not (tmp_path / "tensorboard").exists()


def test_without_the_package_one_is_told_how_to_get_it():
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=True
    )
    assert 'train.trackers = ["tensorboard"] needs tensorboard' in done.stdout
    assert "tenonlm[trackers]" in done.stdout
