"""Eval: how good an adapter is, on its own test part or on other rows."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from tenon.adapters.expression import is_expression
from tenon.core.errors import PlanError, TenonError
from tenon.core.progress import Progress
from tenon.data.example import Example
from tenon.data.load import load as load_data
from tenon.evaluate import baselines as baseline
from tenon.evaluate.answerer import Answerer
from tenon.evaluate.assessment import assess
from tenon.evaluate.baselines import Baselines
from tenon.evaluate.exam import EXAMS, Exam
from tenon.evaluate.language import language
from tenon.evaluate.report import Report
from tenon.evaluate.settings import FULL, EvaluateSettings
from tenon.evaluate.write_rivals import shots_of
from tenon.plan.plan import Plan
from tenon.verbs.asked import Asked, other_rows, own_rows, settings_of, settled
from tenon.verbs.cells import cells_of
from tenon.verbs.contest import contest
from tenon.verbs.folder import adapter_folder
from tenon.verbs.home import refuse_own, run_of
from tenon.verbs.outcome import sizes, token_notes
from tenon.verbs.predict import load_adapter
from tenon.verbs.reported import refuse_foreign_report, write_report

WHOLE = "full fine-tuning is not compared: its weights are not kept beyond its run"


def evaluate(
    target: Path | str,
    data: Path | str | None = None,
    out: Path | str | None = None,
    *,
    base: str = "",
    head: str = "",
    lang: str = "en",
    progress: Progress | None = None,
) -> Report:
    """Report how good an adapter is, against the baselines of its run where they are at hand.

    A composition of adapters is compared with each of them instead.

    Args:
        target: a run, an adapter directory, or a composition of these.
        data: `path[#member]` of labelled rows, however few, whose labels the adapter has; by
            default the test part of the run, or its dev part where it has no test.
        out: folder for the report's files; nothing is written without it.
        base: where the base is now, if not under the name it was trained on.
        head: of a composition, the adapter whose head is taken.
        lang: language of the page, "en" or "zh".
        progress: told of every stage.

    Raises:
        PlanError: the composition is refused, or the language is none.
        RunError: the run has no adapter yet, or `out` holds something else.
        AdapterError: the adapter cannot be trusted.
        DataError: the rows cannot be used, or there are none to evaluate on.
        FileError: something is not there, or `out` lies among the files of a run or an adapter.
    """
    language(lang)
    if is_expression(str(target)) and not Path(target).exists():
        return contest(str(target), data, out, base=base, head=head, lang=lang, progress=progress)
    if head:
        raise PlanError(f"--head {head}: has no effect on an adapter alone, whose head is its own")
    if out is not None:
        refuse_own(Path(out))
        refuse_foreign_report(Path(out))
    return _evaluated(target, data, out, base, lang, progress)


def _evaluated(
    target: Path | str,
    data: Path | str | None,
    out: Path | str | None,
    base: str,
    lang: str,
    progress: Progress | None,
) -> Report:
    folder = adapter_folder(target)
    answerer = load_adapter(folder, base)
    found = run_of(folder, answerer.manifest.plan_digest)
    run, plan = found or (None, None)
    if progress:
        progress.start("reading", None)
    asked = (
        own_rows(answerer, plan, folder) if data is None else other_rows(answerer, plan, str(data))
    )
    known = baseline.load(run) if run else None
    task = answerer.manifest.task
    settings = settled(plan.evaluate if plan else settings_of(task), asked, task)
    shots, unasked = _shots(plan, settings)
    exam = answerer.exam(settings, plan.seed if plan else 0, shots)
    answers, rivals = _answers(answerer, exam, known, asked, settings, progress)
    group = str(answerer.manifest.columns.get("group", ""))
    cells = cells_of(asked.rows(), task, group, settings.slices, asked.names)
    report = assess(
        {asked.part: answers},
        {name: {asked.part: rival} for name, rival in rivals.items()},
        settings,
        task=task,
        cost={},
        data=_data(answerer, asked, data),
        curve={},
        notes=[
            *_notes(asked, exam, answers, fitted=known is not None),
            *unasked,
            *([WHOLE] if FULL in (settings.against or ()) else []),
        ],
        seed=plan.seed if plan else 0,
        seen_in_train=asked.seen,
        title=_title(answerer, data, asked.part),
        command=_command(target, data, out, base),
        grouping=cells.grouping,
        cells=cells.slices,
    )
    if out is not None:
        write_report(report, answers, Path(out), lang, grouping=cells.grouping)
    return report


def _title(answerer: Answerer, data: Path | str | None, part: str) -> str:
    where = str(data) if data else f"its {part} part"
    return f"{answerer.manifest.name} ({answerer.manifest.kind}) on {where}"


def _notes(asked: Asked, exam: Exam, answers: Any, *, fitted: bool) -> list[str]:
    """Give what is to be known of rows and answers, and whether baselines are lacking."""
    lacking = "no baselines: the adapter's run, which has them, is not around it"
    return [
        *asked.notes,
        *token_notes({asked.part: asked.tokens}),
        *(f"{asked.part}: {note}" for note in exam.notes(answers)),
        *([] if fitted or exam.rivals else [lacking]),
    ]


def _shots(plan: Plan | None, settings: EvaluateSettings) -> tuple[tuple[Example, ...], list[str]]:
    """Give the rows of train that the base was shown in the run, or say why there are none."""
    if "few_shot" not in (settings.against or ()):
        return (), []
    lacking = ["few_shot is not compared: the rows of train are not at hand"]
    try:
        parts = load_data(plan.data, plan.seed) if plan else None
    except TenonError:
        return (), lacking
    return (shots_of(parts.examples("train"), parts.seed), []) if parts else ((), lacking)


def _answers(
    answerer: Answerer,
    exam: Exam,
    known: Baselines | None,
    asked: Asked,
    settings: EvaluateSettings,
    progress: Progress | None,
) -> tuple[Any, dict[str, Any]]:
    """Give the adapter's answers, and those of each baseline that is wanted."""
    if progress:
        progress.start(f"answers of {asked.part}", len(asked.tokens))
    size, against = settings.batch_tokens, settings.against or ()
    model, labels = answerer.model, answerer.manifest.labels
    answers = exam.answer(model, asked.tokens, labels, batch_tokens=size, progress=progress)
    rivals: dict[str, Any] = {}
    if exam.rivals is not None:
        rivals = exam.rivals(
            model, asked.tokens, answers, against, batch_tokens=size, examples=asked.examples
        )
    elif known and against:
        rivals = _rivals(answerer, known, asked, answers, size)
    named = asked.names.of_answers
    return named(answers), {name: named(rival) for name, rival in rivals.items() if name in against}


def _rivals(
    answerer: Answerer, known: Baselines, asked: Asked, answers: Any, batch_tokens: int
) -> dict[str, Any]:
    """Let the run's baselines answer the same rows, on the base without the adapter."""
    exam = EXAMS.get(answerer.manifest.task)
    peft = answerer.model.peft
    assert peft is not None  # noqa: S101 - an answerer always carries an adapter
    with peft.disable_adapter():
        if exam.probed is not None:
            log_probs_UL = exam.probed(
                answerer.model, known, asked.tokens, batch_tokens=batch_tokens
            )
        else:
            features_UD = exam.features(answerer.model, asked.tokens, batch_tokens=batch_tokens)
            log_probs_UL = known.scores(exam, features_UD)
    answering = known.answering({asked.part: log_probs_UL})
    return answering.predictions(exam, asked.part, answers, asked.tokens)


def _data(answerer: Answerer, asked: Asked, data: Path | str | None) -> dict[str, Any]:
    return {
        "rows": {asked.part: asked.tokens.texts},
        "labels": len(answerer.manifest.labels),
        **sizes({asked.part: asked.tokens}),
        "source": str(data) if data else f"the run's {asked.part}",
    }


def _command(target: Path | str, data: Path | str | None, out: Path | str | None, base: str) -> str:
    words = ["tenon", "eval", str(target), *([str(data)] if data else [])]
    words += ["--out", str(out)] if out is not None else []
    return shlex.join([*words, *(["--base", base] if base else [])])
