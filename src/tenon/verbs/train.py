"""Train: from a plan to a proven adapter, in a run folder that any interruption leaves whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from tenon.core.errors import Occupied, RunError
from tenon.core.files import is_beside, locked, read_json, remove, sweep, write_json
from tenon.core.progress import Progress
from tenon.evaluate import baselines as baseline
from tenon.evaluate.baselines import Baselines
from tenon.evaluate.exam import EXAMS
from tenon.evaluate.report import Report
from tenon.evaluate.scorers import SCORERS
from tenon.evaluate.settings import BY_TASK
from tenon.model.attach import Attached, attach, unchanged_random_state
from tenon.model.head import Head
from tenon.model.model import Model
from tenon.model.models import model_for
from tenon.plan.plan import SOURCES, Plan, below
from tenon.train import checkpoint, steplog
from tenon.train.loop import Course, Loop
from tenon.verbs.outcome import judge, write_adapter, write_report
from tenon.verbs.workspace import Workspace, open_workspace

PLAN = "plan.json"
INPUTS = "inputs.json"
INPUTS_FORMAT = 1
LOCK = ".lock"
WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""How launchers tell a process how many there are. Source: accelerate, `state.py`."""
LEFT_BY_A_RUN = ("adapter", "report", "tensorboard", baseline.NAME, steplog.NAME, INPUTS)


@dataclass(frozen=True)
class Run:
    """A run that has ended.

    Args:
        out: its folder.
        report: how good the adapter is.
        ended_before: whether the run had ended before this call, which then trained nothing.
    """

    out: Path
    report: Report
    ended_before: bool = False

    @property
    def adapter(self) -> Path:
        """The adapter directory."""
        return self.out / "adapter"


def train(
    plan: Plan,
    out: Path | str,
    *,
    resume: Literal["auto", "never"] = "auto",
    progress: Progress | None = None,
) -> Run:
    """Train the adapter of `plan`; go on where a run under `out` stopped.

    Args:
        plan: what is done.
        out: the run's folder; it is made, or it holds a run of the same plan.
        resume: "never" removes what an earlier run left there and starts anew.
        progress: told of every stage.

    Raises:
        TenonError: the plan cannot be carried out. What is under `out` is whole: another command
            goes on from the last checkpoint.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after a checkpoint of the last whole step.
    """
    out = Path(out)
    _refuse_several_processes()
    _refuse_foreign(out)
    space = open_workspace(plan, progress)
    with locked(out / LOCK):
        sweep(out)
        _claim(out, space, anew=resume == "never")
        ended = _ended(out)
        return Run(out, ended or _train(space, out, progress), ended_before=ended is not None)


def build(space: Workspace, known: Baselines | None) -> tuple[Model, Attached]:
    """Put the plan's fresh adapter and a head on the base; the base is changed in place.

    Args:
        known: whose linear probe the head starts from; None starts it at random.
    """
    head = new_head(space)
    attached = attach(space.trunk, space.plan.adapter, space.plan.seed)
    if known is not None and head is not None:
        start(head, known, space.plan.train.head_scale)
    settings = space.plan.model
    model = model_for(
        space.plan.data.task,
        space.trunk,
        attached.peft,
        head,
        settings.pooling,
        trunk_dropout=settings.trunk_dropout,
    )
    return model, attached


def new_head(space: Workspace) -> Head | None:
    """Make the head of a run, at random from the plan's seed; none where the base writes itself.

    A decoder's, read at its last token, has no bias, as in transformers.
    """
    if space.writes:
        return None
    bias = not (space.trunk.decoder and space.plan.model.pooling == "last")
    with unchanged_random_state():
        torch.manual_seed(space.plan.seed)
        head = Head(
            space.trunk.hidden_size, len(space.classes), normalize=space.normalize, bias=bias
        )
    head.constants = dict(EXAMS.get(space.plan.data.task).constants(space.tokens["train"]))
    return head


def start(head: Head, known: Baselines, scale: float) -> None:
    """Start a head from the linear probe, its logits scaled down."""
    parts = (scale * known.weight_LD, scale * known.bias_L, known.unit_D)
    head.start_from(*(torch.from_numpy(np.array(part)) for part in parts))


def fit_baselines(space: Workspace, progress: Progress | None = None) -> Baselines:
    """Fit the majority class and the linear probe on the base, which carries no adapter yet."""
    plan = space.plan
    bare = model_for(plan.data.task, space.trunk, None, new_head(space), plan.model.pooling)
    return baseline.fit(
        EXAMS.get(plan.data.task),
        bare,
        space.tokens,
        space.classes,
        seed=plan.seed,
        batch_tokens=plan.evaluate.batch_tokens,
        settings=plan.evaluate,
        progress=progress,
    )


def dev_score(model: Model, space: Workspace) -> dict[str, float]:
    """Give the metrics of the dev part, without intervals.

    Raises:
        RunError: a row could not be answered.
    """
    settings, task = space.plan.evaluate, space.plan.data.task
    exam, size = space.exam, settings.batch_tokens
    answer = exam.quick or exam.answer
    answers = answer(model, space.tokens["dev"], space.classes, batch_tokens=size)
    answers = exam.tune(model, answers, settings)
    if answers.failed:
        origin, cause = next(iter(answers.failed.items()))
        raise RunError(
            f"{origin}: {cause} ({len(answers.failed):,} such rows of dev); "
            "lower train.learning_rate"
        )
    return {name: SCORERS.get(name).score(answers) for name in BY_TASK[task].dev}


def _train(space: Workspace, out: Path, progress: Progress | None) -> Report:
    known = baseline.load(out)
    if known is None and not space.writes:
        known = fit_baselines(space, progress)
        known.save(out)
    from_probe = space.plan.train.head_start == "probe"
    model, attached = build(space, known if from_probe else None)
    course = Course(
        run=out,
        plan=space.plan.digest,
        seed=space.plan.seed,
        settings=space.plan.train,
        score=(lambda judged: dev_score(judged, space)) if "dev" in space.tokens else None,
        progress=progress,
    )
    loop = Loop(model, space.tokens["train"], course)
    loop.resume()
    trained = loop.run()
    report, answers = judge(space, model, known, attached, trained, out, progress)
    write_adapter(space, model, report, out / "adapter")
    write_report(report, answers, out / "report")
    return report


def _refuse_several_processes() -> None:
    """Refuse to be one of several processes: each would train the same run on all rows."""
    for name in WORLD_SIZES:
        size = os.environ.get(name, "")
        if size.isdigit() and int(size) > 1:
            raise RunError(
                f"{name} = {size}: this is one of {size} processes that were launched together; "
                "training takes one process only; run tenon train without torchrun, mpirun or "
                "accelerate launch"
            )


def _refuse_foreign(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise Occupied(f"{out}: is a file; choose another --out")
    if not out.is_dir() or (out / PLAN).exists():
        return
    if any(path.name != LOCK and not is_beside(path) for path in out.iterdir()):
        raise Occupied(f"{out}: holds files that no run left there; choose another --out")


def _claim(out: Path, space: Workspace, *, anew: bool) -> None:
    """Make `out` the folder of the plan, or find that it is."""
    if anew or not (out / PLAN).exists():
        _clear(out)
        space.plan.write(out / PLAN)
    else:
        _refuse_another(out, space.plan)
    inputs = {
        "format": INPUTS_FORMAT,
        "data": space.parts.digest,
        "base": space.fingerprint.digest,
        "tokenizer": space.fingerprint.tokenizer_digest,
    }
    if (out / INPUTS).exists():
        _refuse_changed(out, inputs)
    else:
        write_json(out / INPUTS, inputs)


def _clear(out: Path) -> None:
    for name in LEFT_BY_A_RUN:
        remove(out / name)
    checkpoint.clear(out)


def _refuse_another(out: Path, plan: Plan) -> None:
    before = Plan.read(out / PLAN)
    if before.digest != plan.digest:
        raise Occupied(
            f"{out}: holds a run of another plan ({_differences(before, plan)}); choose another "
            "--out, or start anew there with --resume never"
        )


def _refuse_changed(out: Path, inputs: Mapping[str, Any]) -> None:
    before = read_json(out / INPUTS)
    changed = [name for name, digest in inputs.items() if before.get(name) != digest]
    if changed:
        what = "the data have" if changed == ["data"] else f"the {changed[-1]} has"
        raise Occupied(
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


def _ended(out: Path) -> Report | None:
    report = out / "report" / "report.json"
    if report.exists() and (out / "adapter" / "tenon.json").exists():
        return Report.from_json(read_json(report))
    return None
