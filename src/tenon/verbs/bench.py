"""Bench: where trials are run in one process; data, tokens, base and baselines are made once."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from tenon.core.errors import (
    AdapterError,
    FileError,
    Occupied,
    PlanError,
    RunError,
    TenonError,
)
from tenon.core.files import folder_aside, is_beside, locked, read_json, sweep, write_json
from tenon.core.progress import Progress
from tenon.evaluate import baselines as baseline
from tenon.evaluate.prediction import Answers
from tenon.evaluate.scorers import SCORERS
from tenon.evaluate.seeded import NAMELESS, across_seeds
from tenon.model.rack import Rack
from tenon.plan.plan import Plan
from tenon.train import steplog
from tenon.train.joint import Joint
from tenon.train.loop import Trained
from tenon.verbs import preflight
from tenon.verbs.claim import claim
from tenon.verbs.folder import LOCK, PLAN
from tenon.verbs.structure import look_once, looked_at, why_not
from tenon.verbs.train import (
    SEVERAL,
    Place,
    begin,
    course_of,
    dev_answers,
    dev_score,
    known_baselines,
    spare,
    train,
)
from tenon.verbs.trial import ENDED, Result, State, Trial
from tenon.verbs.workspace import Workspace, foundation, open_workspace

MOST_SPACES = 4
"""Workspaces that are kept: where settings of text are swept, each value has tokens of its own."""
OUT_OF_MEMORY = "out of memory; lower train.micro_batch_tokens, or train fewer trials together"


@dataclass
class Bench:
    """What trials of one process share.

    Args:
        shared: folder where baselines are kept for all trials.
        spaces: foundation to the workspace that stands on it, the one used last at the end.
    """

    shared: Path
    spaces: dict[str, Workspace] = field(default_factory=dict[str, Workspace])

    def run(self, trials: Sequence[Trial], progress: Progress | None = None) -> list[Result]:
        """Run trials side by side, each from where it stopped, and leave each one's result.

        Where they cannot go on together, as one of them fails, each goes on alone.

        Raises:
            FileError: the disk refused. What is there is whole.
            KeyboardInterrupt: on Ctrl-C or SIGTERM, after a checkpoint of each.
        """
        if len(left := self._left(trials)) > 1:
            try:
                self._together(left, progress)
            except (AdapterError, RunError, PlanError, torch.OutOfMemoryError):
                self.spaces.clear()  # a trunk on which one failed is trusted no more
        for trial in trials:
            for each in self._left([trial]):
                self._alone(each, progress)
        return [Result.from_json(read_json(trial.folder / ENDED)) for trial in trials]

    def _left(self, trials: Sequence[Trial]) -> list[Trial]:
        """Give the trials that are to be run; one whose structure is known to fail is none."""
        left: list[Trial] = []
        for trial in trials:
            if (trial.folder / ENDED).exists():
                continue
            if reason := why_not(looked_at(self.shared, trial.plan)):
                _write(trial, _result(trial, "failed", value=None, reason=reason))
            else:
                left.append(trial)
        return left

    def compare(self, first: Sequence[Trial], second: Sequence[Trial]) -> dict[str, float]:
        """Compare two recipes by the answers of their runs to dev, over seeds and over rows.

        Args:
            first, second: runs that have come to their ends, from several seeds.

        Returns:
            `difference` (first minus second, of the means), `low`, `high` and `p`.
        """
        plan = first[0].plan
        metric, settings = plan.train.metric, plan.evaluate
        ours, theirs = ([self._answers(trial) for trial in group] for group in (first, second))
        found = across_seeds(
            ours,
            theirs,
            [SCORERS.get(metric)],
            level=settings.level,
            resamples=settings.resamples,
            seed=plan.seed,
        )
        return found["paired"][NAMELESS][metric]

    def _answers(self, trial: Trial) -> Answers:
        """Answer dev once more with the best weights of a trial."""
        with locked(trial.folder / LOCK):
            place = self._begin(trial, None)
            rack, name = Rack(place.space.trunk), trial.folder.name
            kept = self._kept(rack, name, place)
            with rack.only(name) if kept else nullcontext():
                place.loop.finish(0.0, 0)
                return dev_answers(place.model, self.space(trial.plan))

    def conclude(self, plan: Plan, out: Path, source: Path | None) -> None:
        """Bring a run to its end: with a report, and an adapter.

        Args:
            plan: of it.
            out: its folder.
            source: of the trial whose steps it goes on from; None trains it from the beginning.
        """
        if source is not None and not (out / PLAN).exists():
            with folder_aside(out) as beside:
                for path in sorted(source.iterdir()):
                    if path.name not in (ENDED, LOCK) and not is_beside(path):
                        copy = shutil.copytree if path.is_dir() else shutil.copy
                        copy(path, beside / path.name)
                known = self.shared / foundation(plan)[:12] / baseline.NAME
                if known.exists():
                    shutil.copy(known, beside / baseline.NAME)
                if found := looked_at(self.shared, plan):
                    write_json(beside / preflight.NAME, found.to_json())
        self.spaces.clear()
        # What a check says of the winner's rate stands in its report; it has been trained with it.
        train(plan, out, preflight="tell")

    def space(self, plan: Plan) -> Workspace:
        """Give the workspace of a plan, on a base that carries no adapter."""
        key = foundation(plan)
        found = self.spaces.pop(key, None)
        if found is None:
            beside = next((s for s in self.spaces.values() if _same_base(s.plan, plan)), None)
            trunk = beside.trunk if beside else None
            found = open_workspace(plan, trunk=trunk, beside=beside)
            while len(self.spaces) >= MOST_SPACES:
                del self.spaces[next(iter(self.spaces))]
        self.spaces[key] = found
        return found.of_plan(plan)

    def _together(self, trials: Sequence[Trial], progress: Progress | None) -> None:
        with ExitStack() as stack:
            for trial in trials:
                stack.enter_context(locked(trial.folder / LOCK))
            rack: Rack | None = None
            places: dict[str, Place] = {}
            for trial in trials:
                place = self._begin(trial, None)
                rack = rack or Rack(place.space.trunk)
                name = trial.folder.name
                rack.keep(name, place.space.plan.adapter.kind, place.attached.peft)
                places[name] = place
            assert rack is not None  # noqa: S101 - there are two trials or more
            names, found = list(places), rack
            spare(list(places.values()), runs=SEVERAL, holding=lambda each: found.only(names[each]))
            loops = {name: place.loop for name, place in places.items()}
            trained = Joint(rack, loops, progress).run()
            for trial in trials:
                _leave(trial, places[trial.folder.name], trained[trial.folder.name])

    def _alone(self, trial: Trial, progress: Progress | None) -> None:
        with locked(trial.folder / LOCK):
            try:
                self._run(trial, progress)
            except (FileError, Occupied):
                raise
            except (TenonError, torch.OutOfMemoryError) as error:
                self.spaces.clear()
                reason = str(error) if isinstance(error, TenonError) else OUT_OF_MEMORY
                _write(trial, _result(trial, "failed", value=None, reason=reason))

    def _run(self, trial: Trial, progress: Progress | None) -> None:
        place = self._begin(trial, progress)
        rack, name = Rack(place.space.trunk), trial.folder.name
        if self._kept(rack, name, place):
            with rack.only(name):
                spare([place], runs=SEVERAL)
                trained = place.loop.run()
        else:
            spare([place], runs=SEVERAL)
            trained = place.loop.run()
        _leave(trial, place, trained)

    def _kept(self, rack: Rack, name: str, place: Place) -> bool:
        """Take the adapter out of its trunk, to be put in again; where it cannot be, share none."""
        if not place.space.trunk.seq2seq:
            try:
                rack.keep(name, place.space.plan.adapter.kind, place.attached.peft)
            except PlanError:
                pass
            else:
                return True
        self.spaces.clear()
        return False

    def _begin(self, trial: Trial, progress: Progress | None) -> Place:
        space = self.space(trial.plan)
        home = self.shared / foundation(trial.plan)[:12]
        known = known_baselines(space, home, None)
        own = space
        if trial.seed is not None:
            own = replace(space, plan=space.plan.of_seed(trial.seed))
        sweep(trial.folder)
        claim(trial.folder, own, anew=False)
        course = course_of(own, trial.folder, progress)
        # What is asked of dev goes by the plan's seed, so that all are judged on the same rows.
        course = replace(course, score=lambda m: dev_score(m, space), hopeless=trial.hopeless)
        place = begin(own, known, course)
        if not place.loop.position:
            look_once(self.shared, trial.plan, place)
        return place


def _same_base(first: Plan, second: Plan) -> bool:
    return (first.base, first.model) == (second.base, second.model)


def _leave(trial: Trial, place: Place, trained: Trained) -> None:
    """Leave the result of a trial that has come to its end."""
    state: State = "pruned" if trained.given_up else "complete"
    sizes = [parameter.numel() for parameter in place.loop.parameters.values()]
    value = None if trained.best is None else trained.best.value
    more = {"curve": place.loop.seen, "parameters": sum(sizes), "data": place.space.parts.digest}
    _write(trial, _result(trial, state, value=value, **more))


def _result(trial: Trial, state: State, **more: Any) -> Result:
    """Give a result with what the log says of the steps, those before an interruption included."""
    entries = [entry for entry in steplog.read(trial.folder) if "loss" in entry]
    seconds = sum(entry["seconds"] for entry in entries)
    tokens = sum(entry["tokens"] for entry in entries)
    return Result(state, steps=len(entries), seconds=seconds, tokens=tokens, **more)


def _write(trial: Trial, result: Result) -> None:
    write_json(trial.folder / ENDED, result.to_json())
