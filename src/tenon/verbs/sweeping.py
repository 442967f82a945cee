"""Sweeping: a sweep that goes on, batch by batch, until its winner is proved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tenon.core.errors import Occupied, RunError
from tenon.core.progress import Progress
from tenon.data.findings import counted
from tenon.evaluate.language import language
from tenon.evaluate.report import Report
from tenon.evaluate.scorers import SCORERS
from tenon.evaluate.swept import Finalist, Open, Swept, Tried
from tenon.evaluate.winner import verdict
from tenon.plan.planfile import near
from tenon.plan.span import Span
from tenon.train import checkpoint
from tenon.verbs import finals
from tenon.verbs.claim import ended
from tenon.verbs.engine import Engine
from tenon.verbs.grouping import grouped
from tenon.verbs.search import FEWEST_ENDED, Told, ask, importance
from tenon.verbs.study import ANEW, BEST, Study
from tenon.verbs.trial import Result, Trial, lower_is_better


class Sweeping:
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

    def clear(self) -> None:
        """Drop what nothing goes on from once the sweep has ended."""
        runs = [run.folder for each in self.made for run in each.runs]
        for folder in (*self.folders, *runs):
            checkpoint.clear(folder)

    def swept(self, trials: int, command: str) -> Swept:
        """Run what is left of the trials and of the finals."""
        self._search(trials)
        tried = [_tried(number, told) for number, told in enumerate(self.told)]
        pairs = self._finals(tried)
        level = self.plan.evaluate.level
        leads = finals.leads(pairs, self.engine, self.scorer, level)
        finalists = [finalist for _, finalist in pairs]
        outcome, sentence = verdict(finalists, leads, self.scorer, language("en"))
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
                    break
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

    def _finals(self, tried: Sequence[Tried]) -> list[tuple[finals.Candidate, Finalist]]:
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


def _open(span: Span) -> Open:
    return Open(span.key, span.spec, list(span.choices), span.low, span.high, span.log)


def _tried(number: int, told: Told) -> Tried:
    known = told.result.to_json()
    del known["data"]
    return Tried(number, dict(told.values), **known)
