"""Lawbook: the part of the law matrix that a run of the tests takes, and the file of its results.

This module imports nothing heavy, as every run of the tests reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

PARTS = 11
"""A run of the tests takes one cell in so many."""
PROPERTY = "laws"
"""Under this name a test hands over the results of its cell."""


def add_options(parser: pytest.Parser) -> None:
    """Add what can be said of the law matrix on pytest's command line."""
    group = parser.getgroup("laws", "the matrix of kinds and architectures (tests/laws)")
    group.addoption(
        "--laws",
        choices=("part", "all"),
        default="part",
        help=f"the cells that are tried: one in {PARTS} (part), or all",
    )
    group.addoption("--laws-out", metavar="FILE", type=Path, help="write what each cell gave")


def part_of(config: pytest.Config) -> int | None:
    """Give the part of the matrix that this run tries; None for all of it."""
    return None if config.getoption("laws") == "all" else 0


class Lawbook:
    """What the cells of a run gave, gathered from all of its processes.

    Args:
        config: of pytest.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.cells: list[Mapping[str, Any]] = []

    def pytest_report_header(self) -> str:
        """Say which part of the matrix is tried."""
        if part_of(self.config) is None:
            return "laws: the whole matrix of kinds and architectures"
        return f"laws: 1 of {PARTS} of the matrix of kinds and architectures; make laws tries all"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what the test of a cell hands over."""
        if report.when == "call":
            self.cells += [dict(held) for name, held in report.user_properties if name == PROPERTY]

    def pytest_sessionfinish(self) -> None:
        """Write the file, where one is asked for; worker processes leave it to the first one."""
        path: Path | None = self.config.getoption("laws_out")
        if path is not None and not hasattr(self.config, "workerinput"):
            write(path, self.cells)


def write(path: Path, cells: Sequence[Mapping[str, Any]]) -> None:
    """Write results of cells, in an order that does not depend on who came first."""
    told = sorted(cells, key=lambda cell: (cell["kind"], cell["family"]))
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
