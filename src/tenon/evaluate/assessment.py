"""Assessment: from the answers of a run to its report."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, cast

import numpy as np

from tenon.core.errors import DataError
from tenon.data.findings import agreed, counted, said
from tenon.evaluate.clusters import Grouping
from tenon.evaluate.correction import corrected
from tenon.evaluate.exam import EXAMS
from tenon.evaluate.language import language
from tenon.evaluate.prediction import Answers
from tenon.evaluate.quantity import spoken
from tenon.evaluate.report import Report
from tenon.evaluate.resampling import used_resamples
from tenon.evaluate.scorers import SCORERS, Scorer, labelled
from tenon.evaluate.sentence import judge, unmatched
from tenon.evaluate.settings import BY_TASK, FEWEST_ROWS, EvaluateSettings
from tenon.evaluate.slices import slices, traits_of
from tenon.evaluate.statistics import Interval, intervals, paired
from tenon.evaluate.verdict import amount, difference, probability, strongest_first

MOST_POINTS = 400
FEWEST_CLUSTERS = 20
"""From so many on, clustered intervals cover as they say; see docs/statistics.md."""

Curve = Mapping[str, Sequence[tuple[float, float]]]


def assess(
    predictions: Mapping[str, Answers],
    baselines: Mapping[str, Mapping[str, Answers]],
    settings: EvaluateSettings,
    *,
    task: str,
    cost: Mapping[str, Any],
    data: Mapping[str, Any],
    curve: Curve,
    notes: Sequence[str],
    seed: int = 0,
    seen_in_train: Collection[str] = (),
    findings: Sequence[Mapping[str, Any]] = (),
    environment: Mapping[str, Any] | None = None,
    title: str = "",
    command: str = "",
    grouping: Grouping | None = None,
    cells: Mapping[str, Mapping[str, str]] | None = None,
) -> Report:
    """Score the predictions, compare them with the baselines, and say what holds.

    Args:
        predictions: part to the adapter's answers. "test" leads if it is there, else "dev", else
            the first part that has labels.
        baselines: name to part to the baseline's answers on the same rows.
        settings: scorers, level and resamples; the first scorer leads the verdict.
        task: as the hub names it.
        cost: seconds, tokens, peak_bytes, trainable_parameters and the like.
        data: what is known of the data; plain values.
        curve: name to points of (step, value); "loss" is train's, others are of dev.
        notes: what was guessed, cut, dropped before; more are added here.
        seed: of every resampling.
        seen_in_train: ids whose inputs train has too; scores without them are given beside.
        findings, environment: of a check, the gravest first; versions, device, digests.
        title, command: what was evaluated, and what reproduces the run.
        grouping: which rows belong together; as the task has it where left out.
        cells: column to origin to what it holds, of columns that part the rows.

    Raises:
        DataError: no part has a labelled row.
        PlanError: a scorer is not known.
        ValueError: baseline and adapter were scored against different labels, or a value given
            cannot be JSON.
    """
    part = leading_part(predictions)
    known = {part: labelled(answers) for part, answers in predictions.items() if _gold(answers)}
    rivals = {name: labelled(parts[part]) for name, parts in baselines.items() if part in parts}
    unseen = _unseen(known[part], seen_in_train)
    together = grouping or EXAMS.get(task).together(known[part])
    sampled = _Sampled(settings.level, settings.resamples, seed, together)
    found = _scores(task, known, part, rivals, unseen, settings, sampled)
    found["slices"] = _slices(task, known[part], cells or {}, settings, sampled)
    told = [*notes, *_notes(predictions, part, unseen, task, settings, rivals)]
    found["notes"] = [*told, *_of_rows(part, found, settings)]
    found |= _tables(task, known[part], rivals, found["baselines"], settings.level)
    found |= {name: _plain(value) for name, value in (("cost", cost), ("data", data))}
    found["environment"] = _plain(environment or {})
    found["findings"] = [_plain(finding) for finding in findings]
    found["learning_curve"] = {name: _thin(points) for name, points in curve.items()}
    return Report(task=task, part=part, **found, title=title, command=command)


@dataclass(frozen=True)
class _Sampled:
    """How scores are resampled."""

    level: float
    resamples: int
    seed: int
    grouping: Grouping | None

    def given(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in fields(self)}


def _slices(
    task: str,
    known: Answers,
    cells: Mapping[str, Mapping[str, str]],
    settings: EvaluateSettings,
    sampled: _Sampled,
) -> list[dict[str, Any]]:
    """Give the leading score on groups of rows."""
    if len(known) < FEWEST_ROWS:
        return []
    exam = EXAMS.get(task)
    traits = traits_of(known, exam.shown(known), exam.kinds(known), cells)
    lead = SCORERS.get(settings.scorers[0])
    return [_plain(entry) for entry in slices(known, lead, traits, **sampled.given())]


def _of_rows(part: str, scored: Mapping[str, Any], settings: EvaluateSettings) -> list[str]:
    """Say which rows belong together, and on which the adapter is worst, if that is no noise."""
    notes: list[str] = []
    if together := scored["intervals"].get("clusters"):
        count, noun = together["count"], together["by"]
        few = f", too few for more than rough ones: {FEWEST_CLUSTERS} are needed"
        notes.append(
            f"{part}: rows belong together: intervals and tests are clustered by "
            f"{count:,} {noun}{few if count < FEWEST_CLUSTERS else ''}."
        )
    lead = SCORERS.get(settings.scorers[0])
    return notes + [
        f"{part}: worst by {entry['by']} on {entry['slice']}: {lead.title} is "
        f"{amount(lead, entry['value'])} on {counted(entry['n'], 'row')}, "
        f"{difference(lead, entry['difference'])} from the others ({probability(entry['p'])})."
        for entry in scored["slices"]
        if entry["worst"]
    ]


def _scores(
    task: str,
    known: Mapping[str, Answers],
    part: str,
    rivals: Mapping[str, Answers],
    unseen: Answers | None,
    settings: EvaluateSettings,
    how: _Sampled,
) -> dict[str, Any]:
    """Give the fields of a report that hold scores, and the verdict drawn from them."""
    sampled = how.given()
    fit = partial(_fit, settings, task)
    scorers = fit(len(known[part]))
    score = partial(intervals, scorers=scorers, **sampled)
    metrics = {
        name: intervals(answers, fit(len(answers)), **sampled) for name, answers in known.items()
    }
    baselines = {name: score(rival) for name, rival in rivals.items()}
    compared = corrected(
        {
            name: paired(known[part], rival, scorers, **sampled)
            for name, rival in rivals.items()
            if len(known[part]) >= FEWEST_ROWS
        }
    )
    lead = scorers[0]
    verdict = judge(
        lead,
        metrics[part][lead.name],
        {name: group[lead.name] for name, group in baselines.items() if lead.name in group},
        {name: group[lead.name] for name, group in compared.items() if lead.name in group},
        part=part,
        level=settings.level,
    )
    return {
        "metrics": metrics,
        "baselines": baselines,
        "paired": compared,
        "outcome": verdict.outcome,
        "verdict": verdict.sentence + unmatched(verdict.outcome, scorers, compared, settings.level),
        "unseen": intervals(unseen, fit(len(unseen)), **sampled) if unseen else {},
        "intervals": _methods(scorers, settings, known[part], how.grouping),
    }


def _fit(settings: EvaluateSettings, task: str, count: int) -> list[Scorer]:
    """Give the scorers that so many rows allow an interval for: of few rows, shares alone.

    Where the task has no share, the leading scorer is given, and a note says that it is rough.
    """
    scorers = [SCORERS.get(name) for name in settings.scorers]
    if count >= FEWEST_ROWS:
        return scorers
    return _shares(settings.scorers) or _shares(BY_TASK[task].scorers) or scorers[:1]


def _shares(names: Sequence[str]) -> list[Scorer]:
    """Give the scorers that are a share of rows."""
    scorers = [SCORERS.get(name) for name in names]
    return [scorer for scorer in scorers if scorer.interval == "wilson"]


def _tables(
    task: str,
    known: Answers,
    rivals: Mapping[str, Answers],
    scores: Mapping[str, Mapping[str, Interval]],
    level: float,
) -> dict[str, Any]:
    """Give the fields of a report that list labels, bins and rows."""
    lead = next((name for group in scores.values() for name in group), "")
    values = {name: group[lead].value for name, group in scores.items() if lead in group}
    order = strongest_first(SCORERS.get(lead), values) if values else []
    strongest = next((name for name in (*order, *rivals) if name in rivals), "")
    tables = EXAMS.get(task).tables(known, rivals.get(strongest), level)
    for name in {"won", "lost"} & tables.keys():
        tables[name] = {**tables[name], "against": strongest}
    return tables


def _gold(predictions: Answers) -> bool:
    return bool(predictions.known_R.any())


def leading_part(predictions: Mapping[str, Answers]) -> str:
    """Give the part by which a report judges: test, or dev where test has no labelled row.

    Raises:
        DataError: no part has one.
    """
    for part in ("test", "dev", *predictions):
        if part in predictions and _gold(predictions[part]):
            return part
    raise DataError("no part has a labelled row; a report needs one: set data.test or data.dev")


def _unseen(known: Answers, seen: Collection[str]) -> Answers | None:
    """Give the rows whose id is not in `seen`; None if that is all of them, or none."""
    ids = set(seen)
    fresh = np.array([row for row, id in enumerate(known.ids) if id not in ids], np.int64)
    return known.take(fresh) if 0 < len(fresh) < len(known) else None


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """Give a value as JSON would give it back; a TypeError or ValueError where it cannot."""
    return json.loads(json.dumps(value, allow_nan=False))


def _thin(points: Sequence[tuple[float, float]]) -> list[list[float]]:
    """Average neighbouring points until at most 400 are left."""
    if len(points) <= MOST_POINTS:
        return [[float(step), float(value)] for step, value in points]
    groups = np.array_split(np.asarray(points, np.float64), MOST_POINTS)
    return [cast("list[float]", group.mean(axis=0).tolist()) for group in groups]


def _methods(
    scorers: Sequence[Scorer],
    settings: EvaluateSettings,
    known: Answers,
    grouping: Grouping | None,
) -> dict[str, Any]:
    clusters = grouping.clusters(known.origins) if grouping else None
    together = grouping and clusters and {"by": grouping.noun, "count": clusters.count}
    return {
        "level": settings.level,
        "resamples": used_resamples(settings.resamples, len(known)),
        "methods": {scorer.name: scorer.interval for scorer in scorers},
        **({"clusters": together} if together else {}),
    }


def _notes(
    predictions: Mapping[str, Answers],
    part: str,
    new_rows: Answers | None,
    task: str,
    settings: EvaluateSettings,
    rivals: Mapping[str, Answers],
) -> list[str]:
    notes = [*_told(task, predictions), *_fewer(labelled(predictions[part]), rivals)]
    for name, answers in predictions.items():
        if missing := int((~answers.known_R).sum()):
            unknown = said(missing, "row", "have no known label")
            notes.append(f"{name}: {unknown} and {agreed(missing, 'are')} in no score.")
        if answers.failed:
            origin, cause = next(iter(answers.failed.items()))
            silent = counted(len(answers.failed), "row")
            notes.append(f"{name}: {silent} could not be answered, first {origin}: {cause}")
        if 0 < (scored := int(answers.known_R.sum())) < FEWEST_ROWS:
            lead = _fit(settings, task, scored)[0]
            share = lead.interval == "wilson"
            but = "a share of rows" if share else f"{lead.title}, whose interval is rough"
            notes.append(
                f"{name}: {said(scored, 'row', 'are too few')} for any score but {but}, "
                f"and for any comparison; {FEWEST_ROWS} are needed."
            )
    if new_rows:
        rest = len(labelled(predictions[part])) - len(new_rows)
        notes.append(f"{part}: {said(rest, 'row', 'have inputs')} that train has too.")
    if part == "dev":
        notes.append("There is no test part: dev also chose the checkpoint, so its scores flatter.")
    return notes


def _fewer(known: Answers, rivals: Mapping[str, Answers]) -> list[str]:
    """Say which baselines have answered a part of the rows, on which they are compared."""
    words = language("en")
    return [
        f"{spoken(name, words)} was asked {len(rival):,} of {len(known):,} rows, and is compared "
        "on these."
        for name, rival in rivals.items()
        if len(rival) < len(known)
    ]


def _told(task: str, predictions: Mapping[str, Answers]) -> list[str]:
    """Give what a task says of the answers to each part."""
    told = EXAMS.get(task).told
    return [f"{part}: {note}" for part, answers in predictions.items() for note in told(answers)]
