"""Seeds: one plan trained several times, each time from a seed of its own, with one report of all.

The runs differ in the order of rows, in dropout and in first weights. Rows, split, tokens, base and
baselines are the same, and are made once. Each is a run of its own below `seeds/`, so that the
same command goes on wherever it was stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from peft import PeftModel

from tenon.adapters import pack
from tenon.core.files import locked, sweep
from tenon.core.progress import Progress
from tenon.evaluate import baselines as baseline
from tenon.evaluate.averaged import Drawn, average
from tenon.evaluate.card import card
from tenon.evaluate.ground import headed
from tenon.evaluate.report import Report
from tenon.model.attach import restore
from tenon.train.chosen import better, chosen
from tenon.verbs import full
from tenon.verbs.bared import bared
from tenon.verbs.cells import Cells, cells_of_part
from tenon.verbs.claim import claim, ended
from tenon.verbs.folder import LOCK
from tenon.verbs.names import Names
from tenon.verbs.outcome import command_of
from tenon.verbs.reported import write_report
from tenon.verbs.sitting import Sitting, sit
from tenon.verbs.workspace import Workspace

FOLDER = "seeds"


class Concluded(NamedTuple):
    """A run that has come to its end.

    Args:
        report: how good its adapter is.
        sat: what was answered.
        peft: the adapter, which is still on the trunk.
        cells: what the rows of the part that leads hold.
    """

    report: Report
    sat: Sitting
    peft: PeftModel
    cells: Cells


Training = Callable[[Workspace, Path, Progress | None], Concluded]


def train_seeds(
    space: Workspace, out: Path, train_one: Training, progress: Progress | None
) -> Report:
    """Train each seed of the plan, or go on, and report on all of them.

    The adapter of the run is that of the seed that did best on dev, the first of them in `seeds`
    where there is no dev or several did as well.

    Args:
        space: of the whole plan; its base carries no adapter.
        out: the run's folder, which this process holds the lock of.
        train_one: trains one run to its end.

    Raises:
        TenonError: a run cannot be carried out. What is under `out` is whole.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after a checkpoint of the last whole step.
    """
    folders = {seed: out / FOLDER / str(seed) for seed in space.plan.training_seeds}
    reports: dict[int, Report] = {}
    sittings: dict[int, Sitting] = {}
    cells: Cells | None = None
    space = replace(space, beside=space, shared={})
    for number, (seed, folder) in enumerate(folders.items(), 1):
        mine = replace(space, plan=space.plan.of_seed(seed))
        told = progress and Numbered(progress, f"seed {seed} ({number} of {len(folders)})")
        with locked(folder / LOCK):
            sweep(folder)
            claim(folder, mine, anew=False)
            if before := ended(folder):
                reports[seed] = before
                continue
            _share_baselines(folder, list(folders.values()))
            reports[seed], sittings[seed], peft, cells = train_one(mine, folder, told)
        space = bared(mine, peft, space)
    for seed in [seed for seed in folders if seed not in sittings]:
        mine = replace(space, plan=space.plan.of_seed(seed))
        sittings[seed], peft = _again(mine, folders[seed], progress)
        space = bared(mine, peft, space)
    sittings = {seed: sittings[seed] for seed in folders}
    return _concluded(space, out, folders, reports, sittings, cells)


class Numbered:
    """A progress that says of which seed its stages are.

    Args:
        inner: who is told.
        said: before each stage.
    """

    def __init__(self, inner: Progress, said: str) -> None:
        self.inner, self.said = inner, said

    def start(self, what: str, total: int | None, *, done: int = 0) -> None:
        """Begin a stage."""
        self.inner.start(f"{self.said}: {what}", total, done=done)

    def advance(self, n: int, **fields: float) -> None:
        """Tell of what is done."""
        self.inner.advance(n, **fields)


def _share_baselines(folder: Path, others: Sequence[Path]) -> None:
    """Give a run the baselines that another one has fitted: they know of no seed."""
    known = next((found for other in others if (found := baseline.load(other))), None)
    if known is not None and baseline.load(folder) is None:
        known.save(folder)


def _again(mine: Workspace, folder: Path, progress: Progress | None) -> tuple[Sitting, PeftModel]:
    """Let the adapter of a run that had ended answer once more; also its full fine-tuning."""
    adapter = pack.read(folder / "adapter")
    peft = restore(mine.trunk, adapter)
    model = headed(adapter.manifest, mine.trunk, peft, adapter.head)
    known = baseline.load(folder)
    whole = full.train_full(mine, known, None, folder, progress)
    sat = sit(mine, model, known, whole.answers, progress)
    return sat.named(Names.of(mine.plan)), peft


def _concluded(
    space: Workspace,
    out: Path,
    folders: Mapping[int, Path],
    reports: Mapping[int, Report],
    sittings: Mapping[int, Sitting],
    cells: Cells | None,
) -> Report:
    """Report on all seeds, and keep the adapter that did best on dev as the run's.

    Args:
        cells: as one of the runs has read them; None where all had ended before.
    """
    kept, why = _kept(space, folders)
    settings, part = space.plan.evaluate, reports[kept].part
    cells = cells or cells_of_part(space.parts, Names.of(space.plan), settings, part)
    drawn = Drawn(settings.level, settings.resamples, space.plan.seed, cells.grouping)
    report = average(
        {seed: sat.answers for seed, sat in sittings.items()},
        {seed: sat.rivals for seed, sat in sittings.items()},
        reports,
        drawn,
        kept=kept,
        why=why,
    )
    environment = {**report.environment, "plan": space.plan.digest}
    report = replace(report, command=command_of(out), environment=environment)
    if known := baseline.load(folders[kept]):
        known.save(out)
    adapter = pack.read(folders[kept] / "adapter")
    told: dict[str, Any] = {"plan_digest": space.plan.digest, "report": report.summary()}
    adapter = replace(adapter, manifest=adapter.manifest.model_copy(update=told))
    pack.write(out / "adapter", adapter, card=card(adapter.manifest, report))
    answers = sittings[kept].answers[report.part]
    write_report(report, answers, out / "report", grouping=cells.grouping)
    for folder in folders.values():
        full.forget(folder)
    return report


def _kept(space: Workspace, folders: Mapping[int, Path]) -> tuple[int, str]:
    """Choose the seed whose adapter is the run's, on dev alone, and say why."""
    metric = space.plan.train.metric
    first, *_ = folders
    if "dev" not in space.tokens:
        return first, "the first, as there is no dev part to choose on"
    kept, value = first, None
    for seed, folder in folders.items():
        best = chosen(folder, metric)
        if best is not None and (value is None or better(metric, best.value, value)):
            kept, value = seed, best.value
    return kept, f"the best on dev by {metric}"
