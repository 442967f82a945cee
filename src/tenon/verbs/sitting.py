"""Sitting: what an adapter and its baselines answer to the parts of a run that judge it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tenon.core.progress import Progress
from tenon.evaluate import temperature
from tenon.evaluate.baselines import Baselines
from tenon.evaluate.settings import BY_TASK
from tenon.evaluate.temperature import Temperature
from tenon.model.model import Model
from tenon.plan.plan import Plan
from tenon.verbs.names import Names
from tenon.verbs.workspace import Workspace

PARTS = ("dev", "test")


@dataclass(frozen=True)
class Sitting:
    """The answers to dev and test.

    Args:
        answers: part to the adapter's answers; the last part leads the report.
        rivals: baseline to part to its answers to the same rows.
        temperature: what dev asks for; None of a task without, or where dev is too small.
        stored: whether the answers are scaled by it, and the head with them.
        notes: what was done, in sentences.
    """

    answers: dict[str, Any]
    rivals: dict[str, dict[str, Any]]
    temperature: Temperature | None = None
    stored: bool = False
    notes: tuple[str, ...] = ()

    def named(self, names: Names) -> Sitting:
        """Give the same answers whose origins say nothing of the machine."""
        rivals = {
            name: {part: names.of_answers(rival) for part, rival in held.items()}
            for name, held in self.rivals.items()
        }
        answers = {part: names.of_answers(answered) for part, answered in self.answers.items()}
        return Sitting(answers, rivals, self.temperature, self.stored, self.notes)


@dataclass
class Alone:
    """The answers of one model.

    Args:
        answers: by part.
        temperature: what dev asks for, if that is one number.
        scaled: whether head and answers are scaled by it.
        notes: what was done, in sentences.
    """

    answers: dict[str, Any] = field(default_factory=dict[str, Any])
    temperature: Temperature | None = None
    scaled: bool = False
    notes: list[str] = field(default_factory=list[str])


def sit(
    space: Workspace,
    model: Model,
    known: Baselines | None,
    full: Mapping[str, Any],
    progress: Progress | None,
) -> Sitting:
    """Let the adapter answer each part, and each baseline that is wanted.

    What is chosen on dev, thresholds and the temperature, is then in the model's head.

    Args:
        known: the baselines that were fitted; None of a task whose base writes.
        full: part to the answers of the base trained as a whole; empty where it was not.
    """
    made = alone(space, model, progress)
    rivals: dict[str, dict[str, Any]] = defaultdict(dict)
    against = space.plan.evaluate.against or ()
    for part in made.answers:
        for name, rival in _rivals(space, model, known, made, part, progress).items():
            if name in against:
                rivals[name][part] = rival
        if part in full:
            rivals["full"][part] = full[part]
    return Sitting(made.answers, dict(rivals), made.temperature, made.scaled, tuple(made.notes))


def alone(
    space: Workspace, model: Model, progress: Progress | None, whose: str = "answers"
) -> Alone:
    """Let one model answer dev and test, by what it chooses on dev.

    Args:
        whose: the answers are, for the progress.
    """
    exam, settings = space.exam, space.plan.evaluate
    made = Alone()
    parts = [part for part in PARTS if part in space.tokens]
    for part in parts:
        tokens = space.tokens[part]
        if progress:
            progress.start(f"{whose} of {part}", len(tokens))
        answer = exam.answer if part == parts[-1] else exam.quick or exam.answer
        answered = answer(
            model, tokens, space.classes, batch_tokens=settings.batch_tokens, progress=progress
        )
        if part == "dev":
            answered = _tempered(space, model, exam.tune(model, answered, settings), made)
        made.answers[part] = answered
    return made


def _tempered(space: Workspace, model: Model, dev: Any, made: Alone) -> Any:
    """Find the temperature that dev asks for, and scale head and answers by it where wanted."""
    head, wanted = model.head, space.plan.evaluate.temperature
    if head is None or not BY_TASK[space.plan.data.task].calibration:
        return dev
    if head.temperature != 1:
        made.scaled = True
        return dev
    made.temperature = found = temperature.fit(dev)
    if wanted and found is None:
        made.notes.append("evaluate.temperature: dev has too few rows to fit one; none is applied")
    if not wanted or found is None:
        return dev
    made.notes.append(
        f"probabilities are scaled by a temperature of {found.value:.3g}, fitted on "
        f"{found.units:,} units of dev; no answer changes"
    )
    temperature.fold(head, found.value)
    made.scaled = True
    return temperature.scaled(dev, found.value)


def _rivals(
    space: Workspace,
    model: Model,
    known: Baselines | None,
    made: Alone,
    part: str,
    progress: Progress | None,
) -> dict[str, Any]:
    """Give the baselines' answers to a part: of those that are fitted, or the base's own."""
    exam, settings, tokens = space.exam, space.plan.evaluate, space.tokens[part]
    if known is not None:
        return known.predictions(exam, part, made.answers[part], tokens)
    if exam.rivals is None or part != list(made.answers)[-1]:
        return {}
    if space.shared and part in space.shared:
        return space.shared[part]
    if progress:
        progress.start("answers of the base", len(tokens))
    found = exam.rivals(
        model,
        tokens,
        made.answers[part],
        settings.against or (),
        batch_tokens=settings.batch_tokens,
        progress=progress,
        examples=partial(space.parts.examples, part),
    )
    if space.shared is not None:
        space.shared[part] = found
    return found


def calibration(plan: Plan, sat: Sitting) -> dict[str, Any]:
    """Give how right the probabilities of test are before and after scaling; plain values.

    Empty without a test part, as dev is what the temperature was fitted on.
    """
    found, settings = sat.temperature, plan.evaluate
    if found is None or "test" not in sat.answers or not sat.answers["test"].known_R.any():
        return {}
    test = sat.answers["test"]
    other = temperature.scaled(test, 1 / found.value if sat.stored else found.value)
    before, after = (other, test) if sat.stored else (test, other)
    return temperature.compare(
        plan.data.task,
        found,
        before,
        after,
        stored=sat.stored,
        level=settings.level,
        resamples=settings.resamples,
        seed=plan.seed,
    )
