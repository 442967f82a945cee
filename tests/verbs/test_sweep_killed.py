"""A sweep as a process: killed at any file operation, it goes on to what it would have been."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from processes import INTERRUPT, KILL, Nursery, nursery
from tenon.core.files import is_beside
from verbs.test_sweep import project, result

WORDS = ("--over", "learning_rate=log:1e-4..1e-1", "--over", "rank=1,2", "--trials", "4")
WORDS += ("--at-once", "2", "--seeds", "1", "--quiet", "train.epochs=1")


class Sweeps:
    """A folder in which `tenon sweep` is run."""

    def __init__(self, plan_file: Path, cradle: Nursery):
        self.plan_file, self.cradle = plan_file, cradle

    def sweep(self, name: str, **more):
        home = self.plan_file.parent / name
        words = ["sweep", str(self.plan_file), *WORDS, "--out", str(home / "sweep")]
        known = {"TENON_CACHE": str(home / "cache")}
        return self.cradle.run(*words, watched=home, environment=known, **more)

    def out(self, name: str) -> Path:
        return self.plan_file.parent / name / "sweep"


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory, folder_of):
    """A folder with one sweep in it, `whole`, that was never disturbed."""
    folder = tmp_path_factory.mktemp("killed")
    plan_file = project(folder / "project", folder_of("bert"))
    cradle = nursery(folder)
    made = Sweeps(plan_file, cradle)
    made.whole = made.sweep("whole")
    assert made.whole.code == 0, made.whole.err
    yield made


@pytest.mark.slow
@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.deep) for seed in (2, 3))]
)
def test_killed_anywhere_it_goes_on_to_the_same_end(sweeps, seed):
    name, chosen = f"killed-{seed}", random.Random(seed)
    for _ in range(2):
        moment = chosen.randint(1, sweeps.whole.operations)
        ended = sweeps.sweep(name, what=KILL, operation=moment)
        assert ended.killed or ended.code == 0
    last = sweeps.sweep(name)
    assert last.code == 0, last.err
    assert result(sweeps.out(name)) == result(sweeps.out("whole"))
    assert not [path for path in sweeps.out(name).rglob("*") if is_beside(path)]


@pytest.mark.slow
def test_interrupted_it_says_so_and_goes_on(sweeps):
    ended = sweeps.sweep("stopped", what=INTERRUPT, operation=sweeps.whole.operations // 3)
    assert ended.code == 130
    assert "interrupted; the same command goes on from here" in ended.err
    assert sweeps.sweep("stopped").code == 0
    assert result(sweeps.out("stopped")) == result(sweeps.out("whole"))
