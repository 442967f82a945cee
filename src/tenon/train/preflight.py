"""Preflight: the proof, on real rows and in seconds, that a run will train what it shall."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tenon.core.errors import Faults, RunError
from tenon.core.proof import Check
from tenon.text.coloured import coloured
from tenon.text.row_checks import ROW_CHECKS
from tenon.train import model_checks, trial_checks
from tenon.train.subject import Subject

CHECKS: tuple[Callable[[Subject], Check | None], ...] = (
    model_checks.sites,
    model_checks.saved,
    model_checks.frozen,
    trial_checks.learning_rate,
    model_checks.start,
    model_checks.packing,
    model_checks.apart,
    model_checks.pooling,
    model_checks.step_mean,
    trial_checks.finite,
    trial_checks.gradient,
    trial_checks.head,
    trial_checks.base,
)
"""What is asked of the model, beside `ROW_CHECKS`; each gives None where it does not apply."""


@dataclass(frozen=True)
class Preflight:
    """What was found before a run.

    Args:
        checks: that apply.
        rows: the first rows of train; see `tenon.text.coloured`.
        seconds: that it took.
    """

    checks: tuple[Check, ...]
    rows: list[dict[str, Any]]
    seconds: float

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that have not passed."""
        return tuple(check for check in self.checks if not check.passed)

    def raise_if_failed(self, where: str) -> None:
        """Refuse to train where a check has failed.

        Raises:
            RunError: naming each that has, with its remedy.
        """
        faults = Faults()
        for check in self.failed:
            faults.add(f"{where}: {check.name}", check.what, check.remedy)
        if faults.count:
            told = f"{faults.count} of {len(self.checks)} checks failed"
            faults.add(where, f"{told}, and nothing was trained", "--preflight tell trains anyway")
        faults.raise_if_any(RunError)

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON-able values."""
        checks = [asdict(check) for check in self.checks]
        return {"checks": checks, "rows": self.rows, "seconds": round(self.seconds, 3)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Preflight:
        """Read what `to_json` gave."""
        checks = tuple(Check(**check) for check in value["checks"])
        return cls(checks, value["rows"], value["seconds"])


def preflight(subject: Subject) -> Preflight:
    """Look at a run before its first step; the model is afterwards bit for bit what it was."""
    begun = time.perf_counter()
    rows = [check(subject.taught) for check in ROW_CHECKS]
    found = [*rows, *(check(subject) for check in CHECKS)] if _computable(rows) else rows
    checks = tuple(check for check in found if check is not None)
    return Preflight(checks, coloured(subject.taught), time.perf_counter() - begun)


def _computable(rows: list[Check | None]) -> bool:
    """Whether the model can be asked: the rows have something to learn, and tokens that it has."""
    needed = {"targets", "vocabulary"}
    return not any(check and check.name in needed and not check.passed for check in rows)
