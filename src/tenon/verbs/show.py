"""Show: anything that Tenon knows or wrote, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenon.adapters import pack
from tenon.adapters.kind import KINDS, Kind
from tenon.adapters.manifest import Manifest
from tenon.adapters.refused import REFUSED, Refused
from tenon.core.errors import FileError, RunError, did_you_mean
from tenon.core.files import read_json
from tenon.core.manual import Setting, manual
from tenon.data.findings import counted
from tenon.evaluate.report import Report
from tenon.evaluate.scorers import SCORERS, Scorer
from tenon.plan.plan import Plan
from tenon.plan.resolve import FLOORS, Top
from tenon.plan.several import resolve_several
from tenon.train import steplog
from tenon.verbs.study import STUDY, TRIALS, Sweep, concluded
from tenon.verbs.target import is_plan_file
from tenon.verbs.trial import ENDED

LISTS = ("kinds", "refused", "settings", "scorers")


@dataclass(frozen=True)
class RunView:
    """A run folder, as far as it has come.

    Args:
        folder: where it lies.
        plan: what it does.
        steps: taken up to its last logged step.
        report: how it ended; None while it has not.
    """

    folder: Path
    plan: Plan
    steps: int
    report: Report | None

    def to_json(self) -> dict[str, Any]:
        """Give the view as JSON-able values."""
        report = self.report.to_json() if self.report else None
        return {
            "folder": str(self.folder),
            "plan": self.plan.to_json(),
            "steps": self.steps,
            "report": report,
        }


Listed = (
    tuple[Plan, ...]
    | tuple[Kind, ...]
    | tuple[Refused, ...]
    | tuple[Setting, ...]
    | tuple[Scorer, ...]
)
Shown = Listed | Plan | Manifest | RunView | Report | Sweep


def show(what: str) -> Shown:
    """Give what a word or path stands for.

    Args:
        what: `kinds`, `refused`, `settings` or `scorers`; a run.toml or plan.json; a run, a sweep,
            an adapter or a report, as folder or file.

    Raises:
        FileError: it is neither a word that is known nor something that Tenon wrote.
        RunError: it is a sweep that has not ended.
    """
    match what:
        case "kinds":
            return tuple(kind for _, kind in KINDS)
        case "refused":
            return tuple(REFUSED.values())
        case "scorers":
            return tuple(scorer for _, scorer in SCORERS)
        case "settings":
            return (*manual(Top), *(s for name in FLOORS for s in manual(FLOORS[name], f"{name}.")))
        case _:
            return _written(Path(what))


def _written(path: Path) -> Shown:
    if path.name == "plan.json":
        return Plan.read(path)
    if is_plan_file(str(path)):
        first, *others = resolve_several(path)
        return (first, *others) if others else first
    if (path / "plan.json").is_file():
        return _run(path)
    if (path / STUDY).is_file():
        return _sweep(path)
    manifest = path if path.name == "tenon.json" else path / "tenon.json"
    if manifest.is_file():
        return pack.read(manifest.parent).manifest
    report = path if path.suffix == ".json" else path / "report.json"
    if report.is_file():
        return Report.from_json(read_json(report))
    if path.exists():
        raise FileError(
            f"{path}: is no plan, run, sweep, adapter or report; is something missing in it?"
        )
    raise FileError(
        f"{path}: no such file or folder, and no list of Tenon; {did_you_mean(str(path), LISTS)}"
    )


def _sweep(folder: Path) -> Sweep:
    """Give a sweep that has ended.

    Raises:
        RunError: it has not.
    """
    found = concluded(folder)
    if found is None:
        trials = sum(1 for _ in folder.glob(f"{TRIALS}/*/{ENDED}"))
        raise RunError(
            f"{folder}: this sweep has not ended ({counted(trials, 'trial')} until now); the "
            "command that began it goes on with it"
        )
    return found


def _run(folder: Path) -> RunView:
    report = folder / "report" / "report.json"
    return RunView(
        folder=folder,
        plan=Plan.read(folder / "plan.json"),
        steps=sum("loss" in entry for entry in steplog.read(folder)),
        report=Report.from_json(read_json(report)) if report.is_file() else None,
    )
