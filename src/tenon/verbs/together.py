"""Together: several adapters of one base, trained side by side in one process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tenon.core.errors import PlanError
from tenon.core.files import locked, sweep
from tenon.core.progress import Progress
from tenon.evaluate.language import language
from tenon.evaluate.report import Report
from tenon.model.base import locate
from tenon.model.rack import Rack, refuse_unroutable
from tenon.model.seq2seq import SEPARATE
from tenon.plan.plan import Plan
from tenon.train.joint import Joint
from tenon.train.loop import Trained
from tenon.verbs.claim import begun, claim, ended, refuse_foreign, refuse_several_processes
from tenon.verbs.decided import decide_together, recorded
from tenon.verbs.folder import LOCK
from tenon.verbs.forgetting import refuse_unfit
from tenon.verbs.full import forget, refuse_untrainable
from tenon.verbs.planned import Foretold, foretell_together
from tenon.verbs.precision import as_begun
from tenon.verbs.preflight import Manner, look
from tenon.verbs.reported import write_page
from tenon.verbs.train import (
    Place,
    Run,
    begin,
    conclude,
    course_of,
    known_baselines,
    spare,
)
from tenon.verbs.workspace import Workspace, load_trunk, open_workspace


@dataclass(frozen=True)
class Runs:
    """Runs that have ended.

    Args:
        runs: adapter to its run.
    """

    runs: Mapping[str, Run]


def train_together(
    plans: Sequence[Plan],
    out: Path | str,
    *,
    resume: Literal["auto", "never"] = "auto",
    preflight: Manner = "stop",
    lang: str = "en",
    progress: Progress | None = None,
) -> Runs:
    """Train the adapters of `plans` side by side, with one pass over the base for all of them.

    Each run lies in a folder of its own, `out/NAME`, and is what `train` makes of its plan, up to
    rounding: a run that was begun together goes on alone, and the other way.

    Args:
        plans: of one base, with the same settings of it; each adapter has a name of its own.
        out: folder of the runs' folders.
        resume: "never" removes what earlier runs left there and starts anew.
        preflight: what a check that fails before the first step of one of them does; see `train`.
        lang: language of the reports' pages, "en" or "zh".
        progress: told of every stage.

    Raises:
        TenonError: a plan cannot be carried out, or the plans do not fit together. What is under
            `out` is whole: another command goes on from the last checkpoints.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after a checkpoint of each at its last step.
    """
    language(lang)
    refuse_several_processes()
    _refuse_unlike(plans)
    folders = {plan.adapter.name: Path(out) / plan.adapter.name for plan in plans}
    known = {n: f for n, f in folders.items() if resume != "never" and begun(f)}
    plans = _in_one_format(plans, known)
    for folder in folders.values():
        refuse_foreign(folder)
    spaces = _workspaces(plans, progress)
    with ExitStack() as stack:
        for name, folder in folders.items():
            stack.enter_context(locked(folder / LOCK))
            sweep(folder)
            if resume == "never" or ended(folder) is None:
                refuse_untrainable(spaces[name])
                refuse_unfit(spaces[name])
        spaces, foretold = _settled(spaces, known)
        for name, folder in folders.items():
            claim(folder, spaces[name], anew=resume == "never")
        before = {name: report for name in spaces if (report := ended(folders[name]))}
        left = {name: space for name, space in spaces.items() if name not in before}
        made = _train(left, folders, preflight, progress, foretold) if left else {}
        runs = {
            name: Run(folders[name], before.get(name) or made[name], ended_before=name in before)
            for name in spaces
        }
        for run in runs.values():
            write_page(run.report, run.out / "report", lang)
    return Runs(runs)


def _refuse_unlike(plans: Sequence[Plan]) -> None:
    """Refuse plans that cannot share a pass over one base.

    Raises:
        PlanError: they name several bases, or one name twice; a kind cannot be given to single
            rows; or the base's own dropout is wanted, which all rows would share.
    """
    names = [plan.adapter.name for plan in plans]
    if len(set(names)) < len(names):
        raise PlanError(f"adapters: {', '.join(names)}: a name stands twice; each needs its own")
    if len({(plan.base, plan.model.revision, plan.model.quantize) for plan in plans}) > 1:
        raise PlanError(
            "base: adapters that are trained together are of one base, quantised in one way"
        )
    for plan in plans:
        if len(plan.training_seeds) > 1:
            raise PlanError(
                f"seeds = {plan.seeds}: adapters that are trained together have one run each; "
                "train them one by one, each from a file of its own, or leave seeds out"
            )
        refuse_unroutable(plan.adapter.name, plan.adapter.kind)
        if plan.model.trunk_dropout:
            raise PlanError(
                "model.trunk_dropout = true: adapters that are trained together share the base's "
                "states; train them one by one, or leave it out"
            )


def _in_one_format(plans: Sequence[Plan], runs: Mapping[str, Path]) -> list[Plan]:
    """Give the plans with the number format that any of them, or a run of it that began, has.

    Args:
        runs: folders of runs that may have begun, by the adapter's name.

    Raises:
        PlanError: they have several.
    """
    begun = [as_begun(plan, runs.get(plan.adapter.name)) for plan in plans]
    formats = sorted({plan.model.dtype for plan in begun} - {"auto"})
    if len(formats) > 1:
        raise PlanError(
            f"model.dtype: is {' and '.join(formats)}; adapters that are trained together share "
            "one base in one number format; set one for all, or train them one by one"
        )
    left = {"model.dtype": formats[0]} if formats else {}
    return [plan.decided(left) if plan.model.dtype == "auto" else plan for plan in begun]


def _workspaces(plans: Sequence[Plan], progress: Progress | None) -> dict[str, Workspace]:
    """Open a workspace for each plan, on one trunk.

    Raises:
        PlanError: the base is an encoder-decoder.
    """
    base = locate(plans[0].base, plans[0].model.revision)
    trunk = load_trunk(plans, base)
    if trunk.model.config.is_encoder_decoder and trunk.whole is not None:
        raise PlanError(SEPARATE)
    spaces: dict[str, Workspace] = {}
    for plan in plans:
        first = next(iter(spaces.values()), None)
        space = open_workspace(plan, progress, trunk=trunk, beside=first)
        spaces[plan.adapter.name] = space
    return spaces


def _settled(
    spaces: Mapping[str, Workspace], begun_in: Mapping[str, Path]
) -> tuple[dict[str, Workspace], Foretold | None]:
    """Leave nothing open; runs that have begun go on as they recorded it.

    What was foretold is given where all of them begin.
    """
    known = {n: recorded(s, begun_in[n]) for n, s in spaces.items() if n in begun_in}
    now = {name: known.get(name) or space for name, space in spaces.items()}
    if any(known.values()):
        return now, None
    return decide_together(now)


def _train(
    spaces: Mapping[str, Workspace],
    folders: Mapping[str, Path],
    manner: Manner,
    progress: Progress | None,
    foretold: Foretold | None,
) -> dict[str, Report]:
    trunk = next(iter(spaces.values())).trunk
    foretold = foretold or foretell_together(list(spaces.values()))
    # Baselines read the bare base: all of them are fitted before an adapter is on it.
    known = {name: known_baselines(s, folders[name], progress) for name, s in spaces.items()}
    rack = Rack(trunk)
    places: dict[str, Place] = {}
    for name, space in spaces.items():
        place = begin(space, known[name], course_of(space, folders[name], None))
        if not place.loop.position:
            look(space, place.model, place.attached, folders[name], manner, progress)
        rack.keep(name, space.plan.adapter.kind, place.attached.peft)
        places[name] = place
    names = list(places)
    spare(list(places.values()), progress, holding=lambda number: rack.only(names[number]))
    loops = {name: place.loop for name, place in places.items()}
    trained = Joint(rack, loops, progress).run()
    return {
        name: _concluded(rack, name, place, trained[name], progress, foretold)
        for name, place in places.items()
    }


def _concluded(
    rack: Rack,
    name: str,
    place: Place,
    trained: Trained,
    progress: Progress | None,
    foretold: Foretold,
) -> Report:
    """Judge one of the runs with its adapter alone on the trunk."""
    with rack.only(name):
        place.model.eval()
        done = conclude(
            place.space,
            place.model,
            place.known,
            place.attached,
            trained,
            place.out,
            progress,
            foretold,
        )
        forget(place.out)
        return done.report
