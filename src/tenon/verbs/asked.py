"""Asked: the rows that an adapter or a composition is judged on, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tenon.core.errors import DataError, Faults, FileError
from tenon.data.example import Example, Row
from tenon.data.load import load as load_data
from tenon.data.reading import open_reading
from tenon.data.script import answer_texts, script_of
from tenon.data.sources import read
from tenon.evaluate.answerer import Answerer
from tenon.evaluate.overlap import tokenizer_of
from tenon.evaluate.settings import BY_TASK, EvaluateSettings
from tenon.plan.plan import Plan
from tenon.text.renderers import ANSWERS
from tenon.text.tokens import Tokens, collect
from tenon.verbs.home import same_source
from tenon.verbs.names import Names

PART = "test"


@dataclass(frozen=True)
class Asked:
    """The rows that an adapter is judged on.

    Args:
        part: what they are called in the report.
        tokens: of the rows.
        notes: what was met, guessed and accepted.
        names: how the report calls the files.
        examples: give the rows themselves.
        rows: give them as the source has them, and others of it.
        seen: ids of rows whose inputs train has too.
    """

    part: str
    tokens: Tokens
    notes: tuple[str, ...]
    names: Names
    examples: Callable[[], Iterable[Example]]
    rows: Callable[[], Iterable[Row]]
    seen: frozenset[str] = frozenset()


def settings_of(task: str) -> EvaluateSettings:
    """Give the settings of a task, for an adapter whose plan is not at hand."""
    own = BY_TASK[task]
    return EvaluateSettings(scorers=own.scorers, against=own.baselines)


def settled(settings: EvaluateSettings, asked: Asked, task: str) -> EvaluateSettings:
    """Give the settings with how answers are parted into words, where no plan has settled it."""
    if settings.bleu_tokenizer != "auto" or not BY_TASK[task].writes:
        return settings
    script = script_of(answer_texts(asked.examples()))
    return settings.model_copy(update={"bleu_tokenizer": tokenizer_of(script)})


def other_rows(answerer: Answerer, plan: Plan | None, data: str) -> Asked:
    """Give the rows of a source."""
    manifest = answerer.manifest
    named = [label for label in manifest.labels if "-" in label]
    labels = tuple(dict.fromkeys(label.partition("-")[2] for label in named))
    known = manifest.labels if manifest.text.units in ("rows", ANSWERS) else labels
    reading = open_reading(data, manifest.columns, known, task=manifest.task)
    notes = list(reading.notes)
    for part, why in (("train", "learned from"), ("dev", "was chosen on")):
        if plan is not None and same_source(data, getattr(plan.data, part)):
            notes.append(f"these are the rows that the adapter {why}, so its scores flatter")
    tokens = collect(reading.examples(), answerer.renderer)
    rows = partial(read, data, Faults())
    return Asked(PART, tokens, tuple(notes), Names({}), reading.examples, rows)


def own_rows(answerer: Answerer, plan: Plan | None, folder: Path) -> Asked:
    """Give the test part of the adapter's run, or dev where it has none.

    Args:
        plan: of the run; None where there is none around the adapter.
        folder: the adapter directory.

    Raises:
        DataError: there is no run, or it has neither part.
        FileError: the rows are not where they were.
    """
    if plan is None:
        raise DataError(f"{folder}: lies in no run; name the rows: tenon eval {folder} DATA")
    try:
        parts = load_data(plan.data, plan.seed)
    except FileError as error:
        raise FileError(f"{error}\nother rows may be named: tenon eval {folder} DATA") from error
    part = next((name for name in (PART, "dev") if name in parts.counts), "")
    if not part:
        raise DataError(f"{folder}: its run has no test or dev part; name the rows to use")
    names = Names.of(plan)
    notes = [names.told(note) for note in parts.notes]
    if parts.digest != answerer.manifest.data_digest:
        notes.append("the data have changed since the adapter was trained")
    seen = parts.shared_ids if plan.data.overlap == "keep" else frozenset[str]()
    tokens = collect(parts.examples(part), answerer.renderer)
    rows = partial(parts.route.rows, parts.route.source_of(part), Faults())
    return Asked(part, tokens, tuple(notes), names, partial(parts.examples, part), rows, seen)
