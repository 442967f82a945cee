"""Train: from a plan to a proven adapter, in a run folder that any interruption leaves whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from tenon.adapters.kind import KINDS
from tenon.adapters.starts import balance
from tenon.adapters.weights import take
from tenon.core.errors import RunError
from tenon.core.files import locked, sweep
from tenon.core.progress import Progress
from tenon.evaluate import baselines as baseline
from tenon.evaluate.assessment import leading_part
from tenon.evaluate.baselines import Baselines
from tenon.evaluate.exam import EXAMS
from tenon.evaluate.language import language
from tenon.evaluate.prediction import Answers
from tenon.evaluate.report import Report
from tenon.evaluate.scorers import SCORERS
from tenon.evaluate.settings import BY_TASK
from tenon.model.attach import Attached, attach
from tenon.model.compiled import compile_blocks
from tenon.model.inputs import FROM_ROWS, begin_from_rows
from tenon.model.model import Model
from tenon.model.models import model_for
from tenon.model.recompute import recompute
from tenon.plan.plan import Plan
from tenon.train import start as first_weights
from tenon.train import steplog
from tenon.train.loop import Course, Loop, Trained
from tenon.verbs.cells import cells_of_part
from tenon.verbs.claim import begun, claim, ended, refuse_foreign, refuse_several_processes
from tenon.verbs.decided import settled
from tenon.verbs.folder import LOCK
from tenon.verbs.forgetting import forgotten, refuse_unfit
from tenon.verbs.full import forget, refuse_untrainable, train_full
from tenon.verbs.heads import from_probe, new_head, start
from tenon.verbs.kernels import quicken, unrecorded
from tenon.verbs.names import Names
from tenon.verbs.outcome import cost_of, judge, write_adapter
from tenon.verbs.planned import Foretold, foretell
from tenon.verbs.precision import HALF, open_run
from tenon.verbs.preflight import Manner, failures, found_before, look
from tenon.verbs.reported import write_page, write_report
from tenon.verbs.seeds import Concluded, train_seeds
from tenon.verbs.sitting import sit
from tenon.verbs.stored import Holding, lowest, stored
from tenon.verbs.workspace import Workspace

SEVERAL = 2
"""Runs over the same rows, at the least, where there are others than the one that goes on."""


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
    preflight: Manner = "stop",
    lang: str = "en",
    progress: Progress | None = None,
) -> Run:
    """Train the adapter of `plan`; go on where a run under `out` stopped.

    Args:
        plan: what is done.
        out: the run's folder; it is made, or it holds a run of the same plan.
        resume: "never" removes what an earlier run left there and starts anew.
        preflight: what a check that fails before the first step does: "stop" refuses to train,
            "tell" trains and leaves it to the report; "off" asks nothing.
        lang: language of the report's page, "en" or "zh".
        progress: told of every stage.

    Raises:
        TenonError: the plan cannot be carried out. What is under `out` is whole: another command
            goes on from the last checkpoint.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after a checkpoint of the last whole step.
    """
    out = Path(out)
    language(lang)
    refuse_several_processes()
    refuse_foreign(out)
    anew = resume == "never" or not begun(out)
    space = open_run(plan, progress, None if anew else out)
    with locked(out / LOCK):
        sweep(out)
        if resume == "never" or ended(out) is None:
            refuse_untrainable(space)
            refuse_unfit(space)
        space, foretold = settled(space, out, anew=anew)
        claim(out, space, anew=resume == "never")
        before = ended(out)
        report = before or _trained(space, out, preflight, progress, foretold)
        forget(out)
        write_page(report, out / "report", lang)
        return Run(out, report, ended_before=before is not None)


@dataclass(frozen=True)
class Place:
    """One of the adapters, ready to be trained.

    Args:
        space: its workspace.
        known: its baselines.
        model: over the shared trunk.
        attached: its adapter.
        loop: its run.
    """

    space: Workspace
    known: Baselines | None
    model: Model
    attached: Attached
    loop: Loop

    @property
    def out(self) -> Path:
        """Its run's folder."""
        return self.loop.course.run


def begin(space: Workspace, known: Baselines | None, course: Course) -> Place:
    """Put a run's adapter on the trunk, at its newest checkpoint if it has one.

    Args:
        space: its workspace; the trunk is changed in place.
        known: its baselines.
        course: its folder, and how it is trained.

    Raises:
        PlanError: a site matches nothing, or the kind refuses the base.
        RunError: what the folder holds is not of this run.
    """
    model, attached = build(space, known if from_probe(space) else None, course.run)
    loop = Loop(model, space.tokens["train"], course)
    loop.resume()
    return Place(space, known, model, attached, loop)


def spare(
    places: Sequence[Place],
    progress: Progress | None = None,
    *,
    runs: int = 1,
    holding: Holding = lambda _: nullcontext(),
) -> None:
    """Let runs read what the layers below all of their adapters give, where that saves work.

    Args:
        places: that share one trunk.
        runs: that each one's rows are for.
        holding: puts the adapter of the place of a number on the trunk; it is there unless given.

    Raises:
        PlanError: that is asked for, and cannot be done.
        FileError: the disk refused.
    """
    entry = lowest([place.model for place in places], holding)
    spaces = [place.space for place in places]
    found = stored(spaces, places[0].model, entry, progress, runs=runs)
    for place, (tokens, choice) in zip(places, found, strict=True):
        if not choice.layers:
            continue
        loop, seen = place.loop, replace(place.space, tokens=tokens)
        loop.tokens = tokens["train"]
        if loop.course.score:
            loop.course = replace(loop.course, score=score_of(seen))
        loop.notes.append(f"trunk cache: {choice.why}, {choice.form}, {choice.bytes:,} bytes")


def build(
    space: Workspace, known: Baselines | None, out: Path | None = None
) -> tuple[Model, Attached]:
    """Put the plan's fresh adapter and a head on the base; the base is changed in place.

    Args:
        known: whose linear probe the head starts from; None starts it at random.
        out: the run's folder, where first weights that were computed are kept; None keeps none.

    Raises:
        PlanError: a site matches nothing, the kind refuses the base, or it cannot be compiled.
        FileError: the first weights that the folder holds are damaged.
    """
    head = new_head(space)
    first = None if out is None else first_weights.load(out)
    attached = attach(space.trunk, space.plan.adapter, space.plan.training_seed, first)
    if known is not None and head is not None:
        start(head, known, space.plan.train.head_scale)
    settings = space.plan.model
    recompute(space.trunk, space.plan.train.recompute)
    if settings.compile is True:
        compile_blocks(space.trunk.model)
    else:
        quicken(space.plan, space.trunk)
    model = model_for(
        space.plan.data.task,
        space.trunk,
        attached.peft,
        head,
        settings.pooling,
        trunk_dropout=settings.trunk_dropout,
    )
    if first is None:
        compute_first(space, model, attached, out)
    return model, attached


def compute_first(
    space: Workspace, model: Model, attached: Attached, out: Path | None = None
) -> None:
    """Compute the first weights that rows of train decide, and keep those that are computed."""
    start = KINDS.get(space.plan.adapter.kind).begins_from(space.plan.adapter.own)
    if start in FROM_ROWS:
        begin_from_rows(model, attached.peft, space.tokens["train"], space.plan.training_seed)
    if start and out is not None:
        first_weights.save(out, take(attached.peft))


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
    answers = dev_answers(model, space)
    return {name: SCORERS.get(name).score(answers) for name in BY_TASK[space.plan.data.task].dev}


def dev_answers(model: Model, space: Workspace) -> Answers:
    """Give the answers to the dev part, as far as its metrics need them.

    Raises:
        RunError: a row could not be answered.
    """
    settings, exam = space.plan.evaluate, space.exam
    size = settings.batch_tokens
    answer = exam.quick or exam.answer
    answers = answer(model, space.tokens["dev"], space.classes, batch_tokens=size)
    answers = exam.tune(model, answers, settings)
    if answers.failed:
        origin, cause = next(iter(answers.failed.items()))
        raise RunError(
            f"{origin}: {cause} ({len(answers.failed):,} such rows of dev); "
            "lower train.learning_rate"
        )
    return answers


def known_baselines(space: Workspace, out: Path, progress: Progress | None) -> Baselines | None:
    """Give the baselines of a run, fitted on the bare base if they are not there yet."""
    known = baseline.load(out)
    if known is None and not space.writes:
        known = fit_baselines(space, progress)
        known.save(out)
    return known


def _trained(
    space: Workspace,
    out: Path,
    manner: Manner,
    progress: Progress | None,
    foretold: Foretold | None,
) -> Report:
    how = partial(_train, manner=manner, foretold=foretold)
    if len(space.plan.training_seeds) > 1:
        return train_seeds(space, out, how, progress)
    return how(space, out, progress).report


def _train(
    space: Workspace,
    out: Path,
    progress: Progress | None,
    *,
    manner: Manner,
    foretold: Foretold | None,
) -> Concluded:
    foretold = foretold or foretell(space)
    known = known_baselines(space, out, progress)
    place = begin(space, known, course_of(space, out, progress))
    model, attached = place.model, place.attached
    if not place.loop.position:
        look(space, model, attached, out, manner, progress)
    spare([place], progress, runs=1 if space.shared is None else SEVERAL)
    trained = place.loop.run()
    return conclude(space, model, known, attached, trained, out, progress, foretold)


def course_of(space: Workspace, out: Path, progress: Progress | None) -> Course:
    """Give what the run of a workspace is made of."""
    return Course(
        run=out,
        plan=space.plan.digest,
        seed=space.plan.training_seed,
        settings=space.plan.train,
        score=score_of(space),
        progress=progress,
        factors=KINDS.get(space.plan.adapter.kind).factors(space.plan.adapter.own),
        unrecorded=unrecorded(space.plan),
    )


def score_of(space: Workspace) -> Callable[[Model], dict[str, float]] | None:
    """Give what scores a model on dev; None without a dev part."""
    return (lambda judged: dev_score(judged, space)) if "dev" in space.tokens else None


def conclude(
    space: Workspace,
    model: Model,
    known: Baselines | None,
    attached: Attached,
    trained: Trained,
    out: Path,
    progress: Progress | None,
    foretold: Foretold | None = None,
) -> Concluded:
    """Judge a run that has come to its end, and write its adapter and report."""
    balance(attached.peft)
    cost = cost_of(model, out)
    full = train_full(space, known, score_of(space), out, progress)
    names, settings = Names.of(space.plan), space.plan.evaluate
    sat = sit(space, model, known, full.answers, progress).named(names)
    cells = cells_of_part(space.parts, names, settings, leading_part(sat.answers))
    held = [f"number format: {space.precision}"] if space.precision.startswith(HALF) else []
    decided = () if foretold is None else foretold.notes
    notes = (*held, *decided, *trained.notes, *full.notes, *sat.notes)
    report = judge(space, known, attached, sat, out, progress, cells=cells, cost=cost, notes=notes)
    write = partial(write_adapter, space, model, report)
    report = forgotten(space, report, attached.peft, write, progress)
    found = found_before(out, names)
    report = replace(report, preflight=found, notes=[*report.notes, *failures(found)])
    if foretold is not None:
        report = replace(report, planned=foretold.beside(report.cost, steplog.read(out)))
    write_adapter(space, model, report, out / "adapter")
    answers = sat.answers[report.part]
    write_report(report, answers, out / "report", grouping=cells.grouping)
    return Concluded(report, sat, attached.peft, cells)
