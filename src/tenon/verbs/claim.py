"""Claim: the folder of a run, made for its plan or found to be the plan's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tenon.core.errors import Occupied, RunError
from tenon.core.files import is_beside, read_json, remove, write_json
from tenon.evaluate import baselines as baseline
from tenon.evaluate.report import Report
from tenon.plan.plan import SOURCES, Plan, below
from tenon.train import checkpoint, start, steplog
from tenon.verbs.folder import LOCK, PLAN
from tenon.verbs.workspace import Workspace

INPUTS = "inputs.json"
INPUTS_FORMAT = 1
WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""How launchers tell a process how many there are. Source: accelerate, `state.py`."""
MADE_BY_STEPS = ("adapter", "report", "full", "seeds")
LEFT_BY_A_RUN = (
    *(*MADE_BY_STEPS, "tensorboard", "preflight.json"),
    *(baseline.NAME, start.NAME, steplog.NAME, INPUTS),
)


def refuse_several_processes() -> None:
    """Refuse to be one of several processes: each would train the same run on all rows."""
    for name in WORLD_SIZES:
        size = os.environ.get(name, "")
        if size.isdigit() and int(size) > 1:
            raise RunError(
                f"{name} = {size}: this is one of {size} processes that were launched together; "
                "training takes one process only; run tenon train without torchrun, mpirun or "
                "accelerate launch"
            )


def refuse_foreign(out: Path) -> None:
    """Refuse a folder that holds what no run left there.

    Raises:
        Occupied: it is a file, or holds other files.
    """
    if out.exists() and not out.is_dir():
        raise Occupied(f"{out}: is a file; choose another --out")
    if not out.is_dir() or (out / PLAN).exists():
        return
    if any(path.name != LOCK and not is_beside(path) for path in out.iterdir()):
        raise Occupied(f"{out}: holds files that no run left there; choose another --out")


def claim(out: Path, space: Workspace, *, anew: bool) -> None:
    """Make `out` the folder of the plan, or find that it is.

    A run that was stopped before its first step, as by a setting that the base refused, is in
    nobody's way: another plan takes its place.

    Args:
        out: the run's folder, which this process holds the lock of.
        space: of the plan.
        anew: remove what an earlier run left there.

    Raises:
        Occupied: it holds a run of another plan, or the data or the base have changed.
    """
    inputs = {
        "format": INPUTS_FORMAT,
        "data": space.parts.digest,
        "base": space.fingerprint.digest,
        "tokenizer": space.fingerprint.tokenizer_digest,
    }
    there = not anew and (out / PLAN).exists()
    fault = (_another(out, space.plan) or _changed(out, inputs)) if there else ""
    if fault and begun(out):
        raise Occupied(fault)
    if fault or not there:
        _clear(out)
        space.plan.write(out / PLAN)
    if not (out / INPUTS).exists():
        write_json(out / INPUTS, inputs)


def begun(out: Path) -> bool:
    """Whether the run of a folder has taken a step, or left what only steps make."""
    made = any((out / name).exists() for name in MADE_BY_STEPS)
    return made or checkpoint.any_in(out) or bool(steplog.read(out))


def _clear(out: Path) -> None:
    for name in LEFT_BY_A_RUN:
        remove(out / name)
    checkpoint.clear(out)


def _another(out: Path, plan: Plan) -> str:
    """Say how the plan of a folder's run differs; empty where it is the same."""
    before = Plan.read(out / PLAN)
    if before.digest == plan.digest:
        return ""
    return (
        f"{out}: holds a run of another plan ({_differences(before, plan)}); choose another "
        "--out, or start anew there with --resume never"
    )


def _changed(out: Path, inputs: Mapping[str, Any]) -> str:
    """Say which inputs have changed since a folder's run began; empty where none has."""
    before = read_json(out / INPUTS) if (out / INPUTS).exists() else inputs
    changed = [name for name, digest in inputs.items() if before.get(name) != digest]
    if not changed:
        return ""
    what = "the data have" if changed == ["data"] else f"the {changed[-1]} has"
    return (
        f"{out}: {what} changed since this run began; choose another --out, or start anew "
        "there with --resume never"
    )


def _differences(before: Plan, now: Plan) -> str:
    old, new = _settings(before), _settings(now)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    shown = [f"{name} was {old.get(name)!r}, is {new.get(name)!r}" for name in names[:3]]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""  # noqa: PLR2004
    return "; ".join(shown) + more


def _settings(plan: Plan) -> dict[str, Any]:
    """Give the settings by name; a path below the plan's folder is told as it stands there."""
    paths = {"base", *(f"data.{source}" for source in SOURCES)}
    return {
        name: below(value, plan.folder) if name in paths and isinstance(value, str) else value
        for name, value, _ in plan.settings()
    }


def ended(out: Path) -> Report | None:
    """Give the report of a run that has ended."""
    report = out / "report" / "report.json"
    if report.exists() and (out / "adapter" / "tenon.json").exists():
        return Report.from_json(read_json(report))
    return None
