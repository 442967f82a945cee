"""Contest: how good a composition is, against every adapter that it is made of."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from tenon.adapters.composition import Composition, Parallel, Route, names, text
from tenon.adapters.expression import parse
from tenon.adapters.manifest import Manifest
from tenon.core.errors import DataError, PlanError
from tenon.core.progress import Progress
from tenon.evaluate.assessment import assess
from tenon.evaluate.ensemble import Ensemble, open_ensemble
from tenon.evaluate.report import Report
from tenon.evaluate.settings import EvaluateSettings
from tenon.verbs.asked import Asked, other_rows, settings_of, settled
from tenon.verbs.cells import cells_of
from tenon.verbs.compose import folders_of
from tenon.verbs.home import refuse_own, run_of, same_source
from tenon.verbs.outcome import sizes, token_notes
from tenon.verbs.reported import refuse_foreign_report, write_report

SEVERAL = {
    "parallel": "it gives several answers for each row; evaluate its parts, one by one",
    "route": "its rows are places in one list of texts; evaluate its parts, one by one",
}


def contest(
    target: str,
    data: Path | str | None,
    out: Path | str | None = None,
    *,
    base: str = "",
    head: str = "",
    lang: str = "en",
    progress: Progress | None = None,
) -> Report:
    """Report how good a composition is, paired with each of its adapters on the same rows.

    Args:
        target: such as `average(runs/a:0.5, runs/b:0.5)`.
        data: `path[#member]` of labelled rows.
        out: folder for the report's files; nothing is written without it.
        base: where the base is now, if not under the name the adapters were trained on.
        head: the adapter whose head is taken; the mean of those that answer unless given.
        lang, progress: language of the page, "en" or "zh"; told of every stage.

    Raises:
        PlanError: the composition is refused, or gives no one answer for a row.
        AdapterError: an adapter cannot be trusted, or they do not belong together.
        DataError: the rows cannot be used, or none are named.
        FileError: something is not there, or `out` lies among the files of a run or an adapter.
    """
    composition = _one_answer(target)
    if data is None:
        command = f"tenon eval {shlex.quote(target)} DATA"
        raise DataError(f"{target}: is in no run; name the rows: {command}")
    if out is not None:
        refuse_own(Path(out))
        refuse_foreign_report(Path(out))
    if progress:
        progress.start("loading", None)
    folders = folders_of(composition)
    ensemble = open_ensemble(composition, folders, base=base, head=head)
    with ensemble.answering(composition) as answerer:
        asked = other_rows(answerer, None, str(data))
    task = ensemble.manifest(composition).task
    settings = settled(settings_of(task), asked, task)
    answers, rivals, notes = _answers(ensemble, asked, settings, progress)
    manifest = ensemble.manifest(composition)
    cells = cells_of(asked.rows(), task, str(manifest.columns.get("group", "")), (), asked.names)
    report = assess(
        {asked.part: answers},
        {name: {asked.part: rival} for name, rival in rivals.items()},
        settings,
        task=manifest.task,
        cost={},
        data=_data(asked, manifest, data),
        curve={},
        notes=[*notes, *_flattered(folders, ensemble, str(data))],
        title=f"{text(composition)} on {data}",
        command=_command(target, data, out, base, head),
        grouping=cells.grouping,
    )
    if out is not None:
        write_report(report, answers, Path(out), lang, grouping=cells.grouping)
    return report


def _one_answer(target: str) -> Composition:
    """Read a composition that gives one answer for a row.

    Raises:
        PlanError: it is none.
    """
    composition = parse(target)
    if isinstance(composition, Parallel | Route):
        raise PlanError(f"{target}: has no one score: {SEVERAL[composition.form]}")
    return composition


def _answers(
    ensemble: Ensemble, asked: Asked, settings: EvaluateSettings, progress: Progress | None
) -> tuple[Any, dict[str, Any], list[str]]:
    """Give the answers of the composition and of each adapter, and what was left out."""
    whole = ensemble.manifest(ensemble.composition)
    labels = ensemble.parents.labels
    rivals: dict[str, Any] = {}
    notes = [*asked.notes, *token_notes({asked.part: asked.tokens})]

    def ask(part: Any, said: str) -> Any:
        if progress:
            progress.start(f"answers of {said}", len(asked.tokens))
        with ensemble.answering(part) as answerer:
            exam = answerer.exam(settings)
            answers = exam.answer(
                answerer.model,
                asked.tokens,
                whole.labels,
                batch_tokens=settings.batch_tokens,
                progress=progress,
            )
        notes.extend(f"{asked.part}: {said}: {note}" for note in exam.notes(answers))
        return answers

    answers = ask(ensemble.composition, "the composition")
    for name in names(ensemble.composition):
        manifest = ensemble.manifest(name)
        if (manifest.task, manifest.labels) != (whole.task, whole.labels):
            notes.append(f"{labels[name]} is not compared: its task or labels are others")
            continue
        rivals[labels[name]] = ask(name, labels[name])
    return answers, rivals, notes


def _data(asked: Asked, manifest: Manifest, data: Path | str) -> dict[str, Any]:
    return {
        "rows": {asked.part: asked.tokens.texts},
        "labels": len(manifest.labels),
        **sizes({asked.part: asked.tokens}),
        "source": str(data),
    }


def _flattered(folders: dict[str, Path], ensemble: Ensemble, data: str) -> list[str]:
    """Say whose training rows these are, as far as runs are around the adapters."""
    notes: list[str] = []
    for name, folder in folders.items():
        found = run_of(folder, ensemble.parents.adapters[name].manifest.plan_digest)
        for part, why in (("train", "learned from"), ("dev", "was chosen on")):
            if found and same_source(data, getattr(found[1].data, part)):
                label = ensemble.parents.labels[name]
                notes.append(f"these are the rows that {label} {why}, so scores flatter")
    return notes


def _command(target: str, data: Path | str, out: Path | str | None, base: str, head: str) -> str:
    words = ["tenon", "eval", target, str(data)]
    words += ["--out", str(out)] if out is not None else []
    words += ["--base", base] if base else []
    return shlex.join([*words, *(["--head", head] if head else [])])
