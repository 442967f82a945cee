"""Where a run plainly fits: the bound is above what is found on shapes, for every kind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bases import CONFIGS
from kinds import SMALL
from runs import project
from tenon.adapters.kind import KINDS
from tenon.plan.memory import ground_here
from tenon.plan.room import SHARE, bound, plainly_fits
from tenon.verbs.decided import settled
from tenon.verbs.planned import foresee
from tenon.verbs.workspace import open_workspace

UNSEEN = ("shira.v1",)
"""Kinds of which no memory can be found on shapes."""
NAMES = [name for name, kind in KINDS if kind.compound is None and name not in UNSEEN]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("room")


@pytest.fixture(autouse=True)
def cache(folder, monkeypatch):
    monkeypatch.setenv("TENON_CACHE", str(folder / "cache"))


def opened(folder, folder_of, arch="bert", kind="lora.v1", **more):
    table = {"kind": kind, **SMALL.get(kind, {})}
    return open_workspace(project(folder, folder_of(arch), adapters={"mood": table}, **more))


def over(space):
    """Give the bound by what is found on shapes."""
    found, _ = foresee(space, space.plan, ground_here(space.trunk))
    return bound(space.plan, space.trunk, space.tokens) / found.peak


@pytest.mark.cells
@pytest.mark.parametrize("kind", NAMES)
def test_no_kind_takes_more(kind, folder, folder_of):
    assert over(opened(folder, folder_of, kind=kind)) > 1


@pytest.mark.cells
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("arch", [name for name in CONFIGS if name != "t5"])
def test_no_architecture_takes_more(arch, padded, folder, folder_of):
    more = {"model__batches": "padded"} if padded else {}
    assert over(opened(folder, folder_of, arch, **more)) > 1


def test_where_memory_is_not_known_or_little_it_is_not_plain(folder, folder_of):
    space = opened(folder, folder_of)
    ground = ground_here(space.trunk)
    given = space.plan, space.trunk, space.tokens
    least = int((ground.reached + bound(*given)) / SHARE) + 1
    for room, plain in ((least, True), (least - 10, False), (0, False)):
        assert plainly_fits(*given, replace(ground, available=room)) is plain


def test_memory_is_then_found_when_the_report_asks(folder, folder_of, tmp_path):
    space = opened(folder, folder_of)
    after, foretold = settled(space, tmp_path, anew=True)
    assert after is space
    assert "memory" not in vars(foretold)
    assert foretold.memory.fits
