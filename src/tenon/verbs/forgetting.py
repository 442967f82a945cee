"""Forgetting: what an adapter changes on texts, and on tasks, that it was not trained for.

An adapter comes off: the base without it, and every other adapter, are as they were. What is
measured is what happens while it is on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peft import PeftModel

from tenon.adapters.composition import Stack
from tenon.adapters.files import MANIFEST
from tenon.adapters.fingerprint import refuse_other
from tenon.adapters.pack import read as read_adapter
from tenon.core.errors import PlanError
from tenon.core.progress import Progress
from tenon.data.plain import Plain, read_plain
from tenon.evaluate.drift import Ask, drift
from tenon.evaluate.ensemble import Ensemble, open_ensemble
from tenon.evaluate.report import Report
from tenon.evaluate.scorers import SCORERS
from tenon.evaluate.settings import BY_TASK, FEWEST_ROWS
from tenon.evaluate.statistics import paired
from tenon.model.language import language_model
from tenon.plan.plan import Plan
from tenon.verbs.asked import Asked, own_rows, settled
from tenon.verbs.folder import adapter_folder
from tenon.verbs.home import run_of
from tenon.verbs.names import bare
from tenon.verbs.workspace import Workspace

MOST_TEXTS = 200
"""Texts of a source that are looked at, drawn by their content."""
MINE, OTHER = "mine", "other"


@dataclass(frozen=True)
class Held:
    """Another adapter whose task is looked at.

    Args:
        said: as the plan names it.
        folder: its directory.
        run: the plan that it was trained by, whose rows it is asked.
    """

    said: str
    folder: Path
    run: Plan


def refuse_unfit(space: Workspace) -> None:
    """Refuse what cannot be looked at, before anything is trained.

    Raises:
        TenonError: texts are not there, or too few; an adapter is of another base, or is in no run
            whose rows it could be asked.
    """
    for spec in space.plan.evaluate.forgetting:
        if _is_adapter(spec):
            _held(space, spec)
        else:
            _texts(space, spec)


def forgotten(
    space: Workspace,
    report: Report,
    peft: PeftModel,
    write: Callable[[Path], None],
    progress: Progress | None,
) -> Report:
    """Compare the base with the adapter and without on all that the plan names.

    What cannot be on the base together with another adapter is told in the notes.

    Args:
        report: that is told.
        peft: the adapter, on the workspace's trunk.
        write: writes the adapter's directory to a path.
    """
    specs = space.plan.evaluate.forgetting
    found = {spec: _on_texts(space, peft, spec, progress) for spec in _of_texts(specs)}
    others = [_held(space, spec) for spec in specs if _is_adapter(spec)]
    notes: list[str] = []
    if others:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / MINE
            write(folder)
            for each in others:
                try:
                    found[each.said] = _on_task(space, each, folder, progress)
                except PlanError as error:
                    said = bare(each.said, space.plan.folder)
                    notes.append(f"evaluate.forgetting: {said} was not asked: {error}")
    told = [found[spec] for spec in specs if spec in found]
    return replace(report, forgetting=told, notes=[*report.notes, *notes])


def _of_texts(specs: tuple[str, ...]) -> list[str]:
    return [spec for spec in specs if not _is_adapter(spec)]


def _is_adapter(spec: str) -> bool:
    return any((Path(spec) / name).is_file() for name in (MANIFEST, f"adapter/{MANIFEST}"))


def _texts(space: Workspace, spec: str) -> Plain:
    """Read the texts of a source.

    Raises:
        PlanError: they are too few, or the base is an encoder-decoder.
    """
    if space.trunk.seq2seq:
        raise PlanError(
            f"evaluate.forgetting: {spec}: an encoder-decoder says nothing of a text alone; name "
            "another adapter of this base, or leave it out"
        )
    columns = space.parts.columns
    column = str(getattr(columns, "text", "") or "")
    found = read_plain(spec, column, most=MOST_TEXTS, seed=space.plan.seed)
    if len(found) < FEWEST_ROWS:
        raise PlanError(
            f"evaluate.forgetting: {spec}: holds {len(found)} different texts; {FEWEST_ROWS} at "
            "least are needed to show anything"
        )
    return found


def _on_texts(
    space: Workspace, peft: PeftModel, spec: str, progress: Progress | None
) -> dict[str, Any]:
    texts, plan = _texts(space, spec), space.plan
    if progress:
        progress.start(f"the base on {bare(spec, plan.folder)}", 2 * len(texts))
    tokenizer = space.renderer.tokenizer
    asks = space.trunk.decoder or tokenizer.mask_token_id is not None
    pooling = space.trained.pooling if plan.model.pooling == "tokens" else plan.model.pooling
    ask = Ask(
        trunk=space.trunk,
        peft=peft,
        language=language_model(space.base, space.trunk) if asks else None,
        tokenizer=tokenizer,
        limit=plan.text.max_tokens,
        pooling=pooling,  # pyright: ignore[reportArgumentType] - settled: it is no "auto" here
        seed=plan.seed,
        level=plan.evaluate.level,
        resamples=plan.evaluate.resamples,
    )
    return {
        "text": bare(spec, plan.folder),
        "of": "texts",
        "found": texts.found,
        **drift(texts, ask, progress),
    }


def _held(space: Workspace, spec: str) -> Held:
    """Give another adapter of the same base.

    Raises:
        AdapterError: it is damaged, or of another base.
        PlanError: it lies in no run.
    """
    folder = adapter_folder(spec)
    manifest = read_adapter(folder).manifest
    refuse_other(manifest.name, manifest.base, space.fingerprint)
    run = run_of(folder, manifest.plan_digest)
    if run is None:
        raise PlanError(
            f"evaluate.forgetting: {spec}: lies in no run, so that there are no rows of its own to "
            "ask it; name its run"
        )
    return Held(spec, folder, run[1])


def _on_task(
    space: Workspace, other: Held, mine: Path, progress: Progress | None
) -> dict[str, Any]:
    """Let another adapter answer its own rows, alone and with this one on the base below it."""
    composition = Stack(MINE, OTHER)
    ensemble = open_ensemble(
        composition,
        {OTHER: other.folder, MINE: mine},
        base=space.plan.base,
        device=str(space.trunk.device),
    )
    if progress:
        progress.start(f"the task of {bare(other.said, space.plan.folder)}", None)
    task = ensemble.manifest(OTHER).task
    with ensemble.answering(OTHER) as answerer:
        asked = own_rows(answerer, other.run, other.folder)
    before = _answers(ensemble, OTHER, other, asked)
    after = _answers(ensemble, composition, other, asked)
    scorer = SCORERS.get(BY_TASK[task].scorers[0])
    settings = space.plan.evaluate
    found = paired(
        after,
        before,
        [scorer],
        level=settings.level,
        resamples=settings.resamples,
        seed=space.plan.seed,
    )[scorer.name]
    return {
        "text": bare(other.said, space.plan.folder),
        "of": "adapter",
        "n": found.n,
        "metric": scorer.name,
        "before": scorer.score(before),
        "after": scorer.score(after),
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "method": found.method,
    }


def _answers(ensemble: Ensemble, part: Any, other: Held, asked: Asked) -> Any:
    task = ensemble.manifest(OTHER).task
    settings = settled(other.run.evaluate, asked, task)
    with ensemble.answering(part) as answerer:
        return answerer.exam(settings, other.run.seed).answer(
            answerer.model,
            asked.tokens,
            answerer.manifest.labels,
            batch_tokens=settings.batch_tokens,
        )
