"""Fixtures of every floor's tests."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import covering
from lawbook import Lawbook, add_options, part_of

# Of what is imported and collected nothing is garbage until the tests begin.
gc.disable()

# No test reaches a hub: what is not in a folder or a package is not there.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"

# A law is tried on the same cases every time, and slow machines are no fault of it.
ALIKE = settings(deadline=None, derandomize=True, database=None)
settings.register_profile("tenon", ALIKE, max_examples=60)
settings.register_profile("deep", ALIKE, max_examples=240)
settings.load_profile("tenon")

ROOT = Path(__file__).parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the options of the law matrix."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Gather what the cells of the law matrix give; draw more cases where all laws are asked."""
    if part_of(config) is None:
        settings.load_profile("deep")
    config.pluginmanager.register(Lawbook(config), "lawbook")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Ask a covering part of the cells where the whole matrix is not wanted."""
    covering.choose(config, items)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what was imported and collected, which stays till the end."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


@pytest.fixture(scope="session")
def deep(pytestconfig: pytest.Config) -> bool:
    """Whether this run asks everything, however long it takes."""
    return part_of(pytestconfig) is None


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_disks() -> Iterator[None]:
    """Let no test wait until a disk has written: that what is flushed outlives a loss of power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the public data: TENON_SHARED, or `shared` beside the checkout."""
    folder = Path(os.environ.get("TENON_SHARED") or ROOT.parent / "shared")
    if not (folder / "data").is_dir():
        pytest.skip(
            f"no public data in {folder.name}; set TENON_SHARED to the folder that holds data/"
        )
    return folder


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of the tiny base of an architecture, by name; see tests/folders.py."""
    from folders import base_folder  # after the environment is set, and only where it is needed

    cache = tmp_path_factory.mktemp("bases")
    return lambda arch: base_folder(cache, arch)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what can be made again out of the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENON_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
