"""L4, the rest: a process killed at any moment goes on, by the same command, to the same end.

`make kill` is the deep version: TENON_KILLS says how many kills there are in all. Without it one
kind of adapter is killed, as the files of a run are the same whatever its kind.
"""

from __future__ import annotations

import os
import shutil

import pytest

from commanded import ADAPTERS, Project
from processes import FULL, INTERRUPT, KILL, moments, nursery

DEEP = os.environ.get("TENON_KILLS")
KILLS = int(DEEP or 6)
KINDS = tuple(ADAPTERS) if DEEP else ("lora",)


@pytest.fixture(scope="module", params=KINDS)
def project(request, tmp_path_factory, folder_of):
    """A project, with one run in it, `whole`, that was never disturbed."""
    folder = tmp_path_factory.mktemp(request.param)
    cradle = nursery(folder)
    made = Project(folder / "project", folder_of("bert"), request.param, cradle)
    made.train("warm")
    made.whole = made.train("whole")
    assert made.whole.code == 0, made.whole.err
    assert not made.remains("whole")
    assert len(made.result("whole")["log"]) > 8
    assert made.whole.operations > 100
    yield made


def test_killed_at_any_moment_again_and_again(project):
    """Several kills hit one run; half of them fall between two file operations, half anywhere."""
    kills = KILLS // len(KINDS)
    seed = KINDS.index(project.folder.parent.name.rstrip("0123456789"))
    moment = moments(seed, project.whole.operations, project.whole.seconds)
    expected = project.result("whole")
    killed = runs = attempts = 0
    while killed < kills:
        name, runs = f"killed-{runs}", runs + 1
        while True:
            more = next(moment) if killed < kills else {}
            ended = project.train(name, what=KILL, **more)
            attempts += 1
            if not ended.killed:
                break
            killed += 1
        assert ended.code == 0, (name, attempts, ended.err)
        assert project.result(name) == expected, (name, attempts)
        shutil.rmtree(project.folder / name)
    assert killed == kills
    assert runs <= kills


def spread(project) -> list[int]:
    """Give file operations from all over a run, more of them in the deep version."""
    every = max(1, project.whole.operations * len(KINDS) // max(6 * len(KINDS), KILLS // 2))
    return list(range(1 + KILLS % every, project.whole.operations + 1, every))


def test_a_disk_that_fills_up_at_any_moment(project):
    """What was written before survives, and with some room the same command goes on."""
    expected, refused = project.result("whole"), 0
    for operation in spread(project):
        name = f"full-{operation}"
        ended = project.train(name, what=FULL, operation=operation)
        if ended.code:
            refused += 1
            assert ended.code == 2, (operation, ended.err)
            assert "free some space" in ended.err, (operation, ended.err)
            assert ended.err.splitlines()[-1].startswith("tenon: "), (operation, ended.err)
            assert "Traceback" not in ended.err, (operation, ended.err)
        assert not project.remains(name), operation
        assert project.train(name).code == 0, operation
        assert project.result(name) == expected, operation
        shutil.rmtree(project.folder / name)
    assert refused > 3


def test_ctrl_c_at_any_moment(project):
    """It exits with 130, leaves nothing half-written, and the same command goes on."""
    expected, interrupted = project.result("whole"), 0
    operations = spread(project)
    shares = [0.1 + 0.7 * place / len(operations) for place in range(len(operations))]
    met = [
        *({"operation": operation} for operation in operations),
        *({"seconds": share * project.whole.seconds} for share in shares[:: 1 + (KILLS < 50)]),
    ]
    for place, operation in enumerate(met):
        name = f"interrupted-{place}"
        ended = project.train(name, what=INTERRUPT, **operation)
        assert ended.code in (0, 130), (operation, ended.err)
        interrupted += ended.code == 130
        assert not project.remains(name), operation
        if ended.code:
            assert ended.err.endswith("tenon: interrupted; the same command goes on from here\n")
        assert project.train(name).code == 0, operation
        assert project.result(name) == expected, operation
        shutil.rmtree(project.folder / name)
    assert interrupted > 3
