"""Sweep: settings of a plan, searched by trials on dev; the winner is proved by fresh seeds."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tenon.core.errors import Occupied, PlanError, RunError
from tenon.core.files import locked, read_json, write_json, write_text
from tenon.core.files import sweep as sweep_remains
from tenon.core.progress import Progress
from tenon.data.findings import counted
from tenon.evaluate.report import Report
from tenon.evaluate.scorers import SCORERS
from tenon.evaluate.sweep_page import html
from tenon.evaluate.swept import Open, Swept, Tried, verdict
from tenon.plan.planfile import near
from tenon.plan.space import Space
from tenon.plan.span import Span
from tenon.train import checkpoint
from tenon.verbs import finals
from tenon.verbs.claim import LOCK, ended, refuse_several_processes
from tenon.verbs.cluster import Cluster
from tenon.verbs.engine import Engine, Local
from tenon.verbs.grouping import grouped, width
from tenon.verbs.search import FEWEST_ENDED, Told, ask, importance
from tenon.verbs.study import ANEW, BEST, OUTCOME, PAGE, SHARED, Rules, Study
from tenon.verbs.target import searched
from tenon.verbs.trial import Result, Trial, lower_is_better

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Sweep:
    """A sweep that has ended.

    Args:
        out: its folder.
        swept: what was found.
        report: of the winner's run, the only one that has answered the test part.
        ended_before: whether it had ended before this call.
    """

    out: Path
    swept: Swept
    report: Report
    ended_before: bool = False

    @property
    def adapter(self) -> Path:
        """The winner's adapter directory."""
        return self.out / BEST / "adapter"

    @property
    def page(self) -> Path:
        """What a browser shows."""
        return self.out / PAGE

    def to_json(self) -> dict[str, Any]:
        """Give the sweep as JSON-able values."""
        told = {"out": str(self.out), "ended_before": self.ended_before}
        return {**told, "sweep": self.swept.to_json(), "report": self.report.to_json()}


def sweep(
    target: str,
    arguments: Sequence[str] = (),
    *,
    over: Sequence[str],
    trials: int = 20,
    out: Path | str | None = None,
    engine: Literal["local", "ray"] = "local",
    address: str = "",
    at_once: int = 4,
    together: int = 0,
    seeds: int = 3,
    prune: bool = True,
    resume: Literal["auto", "never"] = "auto",
    progress: Progress | None = None,
) -> Sweep:
    """Search settings of a plan by trials on dev; go on where a sweep under `out` stopped.

    Args:
        target: run.toml, or `path[#member]` of labelled rows.
        arguments: `key=value` overrides that hold for every trial.
        over: `KEY=SPEC` of each swept setting: `learning_rate=log:1e-5..1e-2`, `rank=8,16,32`.
        trials: how many.
        out: the sweep's folder; `runs/NAME-sweep` unless given.
        engine: "local", or "ray" for a cluster.
        address: of the cluster; "auto" finds it, "" begins one on this machine.
        at_once: trials whose values are chosen at once; the same for the same results.
        together: trials that are trained side by side in one pass over the base; 0 decides by
            the device.
        seeds: fresh seeds with which the two best trials and the plan as it stands are trained
            again; 0 leaves that out.
        prune: give up trials that fall behind the median of earlier ones.
        resume: "never" removes what an earlier sweep left there and begins anew.
        progress: told of every trial.

    Raises:
        TenonError: the sweep cannot be carried out. What is under `out` is whole: the same call
            goes on from there.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after a checkpoint of each trial that runs.
    """
    refuse_several_processes()
    _refuse_odd(engine, address, trials=trials, at_once=at_once, together=together, seeds=seeds)
    space, folder = searched(target, arguments, over, Path(out) if out else None)
    _refuse_undecided(space)
    with locked(folder / LOCK):
        sweep_remains(folder)
        study = Study.claim(folder, space, Rules(at_once, prune, seeds), anew=resume == "never")
        if before := _before(study, trials):
            return before
        shared = folder / SHARED
        made = Cluster(shared, address) if engine == "ray" else Local(shared, progress)
        with made as running:
            command = _command(target, arguments, over, trials, folder)
            work = _Work(study, running, width(together, at_once), progress)
            swept = work.swept(trials, command)
            report = work.best(swept)
        write_text(folder / PAGE, html(swept, report))
        write_json(folder / OUTCOME, swept.to_json())
        for path in (*work.folders, *(run.folder for each in work.made for run in each.runs)):
            checkpoint.clear(path)
    return Sweep(folder, swept, report)


def _refuse_odd(engine: str, address: str, **counts: int) -> None:
    if engine not in ENGINES:
        raise PlanError(f"--engine {engine}: is not known; choose one of {', '.join(ENGINES)}")
    if address and engine != "ray":
        raise PlanError(
            f"--address {address}: has no effect with --engine {engine}; add --engine ray"
        )
    least = {"trials": 1, "at_once": 1, "together": 0, "seeds": 0}
    for name, count in counts.items():
        if count < least[name]:
            flag = name.replace("_", "-")
            raise PlanError(f"--{flag} {count}: is too few; give {least[name]} or more")


def _refuse_undecided(space: Space) -> None:
    if space.default.data.dev == "":
        raise PlanError(
            'data.dev = "": a sweep compares its trials on dev, and test is for the winner alone; '
            "give data.dev"
        )


def _before(study: Study, trials: int) -> Sweep | None:
    """Give the sweep that has ended in this folder, if one has.

    Raises:
        Occupied: it has ended with fewer trials than are wanted.
    """
    out = study.out
    report = ended(out / BEST)
    if report is None or not (out / OUTCOME).exists():
        return None
    swept = Swept.from_json(read_json(out / OUTCOME))
    more = trials > len(swept.trials)
    if more and swept.rules["trials"] != trials:
        raise Occupied(
            f"{out}: this sweep has ended after {counted(len(swept.trials), 'trial')}, and its "
            "winner has answered test, which is done once; choose another --out, or begin anew "
            "with --resume never"
        )
    return Sweep(out, swept, report, ended_before=True)


def _command(
    target: str, arguments: Sequence[str], over: Sequence[str], trials: int, out: Path
) -> str:
    words = ["tenon", "sweep", target, *arguments]
    words += [word for each in over for word in ("--over", each)]
    return shlex.join([*words, "--trials", str(trials), "--out", str(out)])


def _open(span: Span) -> Open:
    return Open(span.key, span.spec, list(span.choices), span.low, span.high, span.log)


def _tried(number: int, told: Told) -> Tried:
    known = told.result.to_json()
    del known["data"]
    return Tried(number, dict(told.values), **known)


class _Work:
    """A sweep that goes on.

    Args:
        study: its folder, and what was begun.
        engine: runs the trials.
        together: trials that are trained side by side.
        progress: told of every trial.
    """

    def __init__(
        self, study: Study, engine: Engine, together: int, progress: Progress | None
    ) -> None:
        self.study, self.engine = study, engine
        self.together, self.progress = together, progress
        self.plan = study.space.default
        self.scorer = SCORERS.get(self.plan.train.metric)
        self.lower = lower_is_better(self.plan)
        self.told: list[Told] = []
        self.made: list[finals.Candidate] = []

    @property
    def folders(self) -> list[Path]:
        """The trials' folders."""
        return [self.study.folder(number) for number in range(len(self.told))]

    def swept(self, trials: int, command: str) -> Swept:
        """Run what is left of the trials and of the finals."""
        self._search(trials)
        tried = [_tried(number, told) for number, told in enumerate(self.told)]
        pairs = self._finals(tried)
        level = self.plan.evaluate.level
        leads = finals.leads(pairs, self.engine, self.scorer, level)
        finalists = [finalist for _, finalist in pairs]
        outcome, sentence = verdict(finalists, leads, self.scorer)
        space, plan = self.study.space, self.plan
        known = {trial.number: trial.values for trial in tried}
        winner = pairs[0][0].number
        return Swept(
            metric=plan.train.metric,
            space=[_open(each) for each in space.spans],
            trials=tried,
            importance=importance(space, self.told, seed=plan.seed, lower=self.lower),
            finalists=finalists,
            leads=leads,
            outcome=outcome,
            verdict=sentence,
            settings=[] if winner is None else list(space.settings(known[winner])),
            notes=self._notes(trials),
            command=command,
            title=f"{plan.adapter.name} on {near(plan.base, Path(plan.folder))}",
            rules={**asdict(self.study.rules), "trials": trials, "seed": plan.seed},
        )

    def _search(self, trials: int) -> None:
        self._stage("trials", trials)
        place = 0
        while len(self.told) < trials or place < len(self.study.batches):
            if place == len(self.study.batches):
                count = min(self.study.rules.at_once, trials - len(self.told))
                batch = self._ask(count, trials)
                if not batch:
                    return
                self.study.begin(batch)
            self._batch(self.study.batches[place])
            place += 1
        if not any(each.result.state == "complete" for each in self.told):
            reasons = dict.fromkeys(each.result.reason for each in self.told)
            raise RunError(
                f"{self.study.out}: not one of {counted(len(self.told), 'trial')} came to its end: "
                + "; ".join(reasons)
            )

    def _ask(self, count: int, trials: int) -> list[dict[str, Any]]:
        space = self.study.space
        whole = space.listed and trials >= (space.size or 0)
        return ask(space, self.told, count, seed=self.plan.seed, lower=self.lower, whole=whole)

    def _batch(self, batch: Sequence[dict[str, Any]]) -> None:
        """Run trials whose values were chosen at once; they are measured by those before alone."""
        space, first = self.study.space, len(self.told)
        ended_before = [each.result for each in self.told if each.result.state == "complete"]
        prune = self.study.rules.prune
        earlier = tuple(result.curve for result in ended_before) if prune else ()
        runs = [
            Trial(space.plan(values), self.study.folder(number), earlier=earlier)
            for number, values in enumerate(batch, first)
        ]
        groups = grouped(runs, self.together)
        results = self.engine.run(groups, self._done)
        found = {
            trial.folder: result
            for group, told in zip(groups, results, strict=True)
            for trial, result in zip(group, told, strict=True)
        }
        self.told += [
            Told(values, found[trial.folder]) for values, trial in zip(batch, runs, strict=True)
        ]
        self._refuse_changed()
        self._tidy()

    def _refuse_changed(self) -> None:
        """Refuse to compare trials of other rows.

        Raises:
            Occupied: the data have changed since the first trial.
        """
        if len({each.result.data for each in self.told if each.result.data}) > 1:
            raise Occupied(
                f"{self.study.out}: the data have changed since this sweep began, so that its "
                f"trials cannot be compared; {ANEW}"
            )

    def _tidy(self) -> None:
        """Drop the checkpoints of all trials but the best: no other is gone on with."""
        sign = 1 if self.lower else -1
        known = [
            (sign * each.result.value, number)
            for number, each in enumerate(self.told)
            if each.result.state == "complete" and each.result.value is not None
        ]
        kept = min(known)[1] if known else None
        for number, folder in enumerate(self.folders):
            if number != kept:
                checkpoint.clear(folder)

    def _finals(self, tried: Sequence[Tried]) -> list[tuple[finals.Candidate, finals.Finalist]]:
        space, seeds = self.study.space, self.study.rules.seeds
        self.made = finals.candidates(space, tried, self.scorer, self.study.out, seeds)
        self._stage("fresh seeds", sum(len(each.runs) for each in self.made))
        results = finals.play(self.made, self.engine, self.together, self._done)
        return finals.ranked(self.made, results, space, self.scorer)

    def best(self, swept: Swept) -> Report:
        """Bring the winner's run to its end: the only one that answers test."""
        number = swept.finalists[0].number
        plan = next(each.plan for each in self.made if each.number == number)
        source = None if number is None else self.study.folder(number)
        if self.progress:
            self.progress.start("the winner's report", None)
        self.engine.conclude(plan, self.study.out / BEST, source)
        report = ended(self.study.out / BEST)
        assert report is not None  # noqa: S101 - that is what ends it
        return report

    def _stage(self, what: str, total: int) -> None:
        if self.progress:
            self.progress.start(what, total)

    def _done(self, result: Result) -> None:
        if self.progress:
            known = {} if result.value is None else {"dev": result.value}
            self.progress.advance(1, **known)

    def _notes(self, trials: int) -> list[str]:
        states = [each.result.state for each in self.told]
        notes: list[str] = []
        if len(states) < trials:
            notes.append(
                f"{counted(len(states), 'trial')} are all that differ; {trials:,} were asked for"
            )
        if pruned := states.count("pruned"):
            notes.append(
                f"{counted(pruned, 'trial')} given up at a dev evaluation where they fell behind "
                "the median of earlier ones"
            )
        failed = [(n, each.result.reason) for n, each in enumerate(self.told) if each.result.reason]
        notes += [f"trial {number} failed: {reason}" for number, reason in failed]
        ended = states.count("complete")
        if ended < FEWEST_ENDED:
            notes.append(f"{counted(ended, 'trial')} came to an end: too few to say what mattered")
        return notes
