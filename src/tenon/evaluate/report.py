"""Report: every number of a run with its interval, its baselines and its evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from tenon.core.errors import DataError
from tenon.evaluate.statistics import Interval, Paired
from tenon.evaluate.verdict import Outcome

FORMAT = 1


@dataclass(frozen=True)
class Report:
    """What `report.json` holds.

    Args:
        task: as the hub names it.
        part: the part on which baselines are compared and rows are listed.
        metrics: part to scorer to interval; of less than ten rows, shares alone, or where the task
            has none, the leading score.
        baselines: baseline to scorer to interval, on `part`.
        paired: baseline to scorer to difference, adapter minus baseline, on `part`; empty below
            ten rows, which show no difference.
        outcome: the verdict in one word.
        verdict: the verdict in one sentence.
        unseen: scorer to interval, on the rows of `part` whose inputs train has not; empty where
            that is all of them.
        per_class, confusion, calibration: see `tenon.evaluate.tables`; of `part`.
        won, lost, surest_errors, sample: `count` and `rows`; see `tenon.evaluate.rows` and
            `tenon.evaluate.tag_exam`; of `part`. The first two also have the baseline that they
            are `against`.
        scatter: `points` of gold and answer, at most 1,500, and the `rows` there are; of numbers.
        learning_curve: name to points of (step, value); "loss" is train's, in nats.
        cost, data, findings, environment: as given.
        intervals: level, resamples, methods, and the clusters `by` which rows belong together, with
            their `count`, where they do.
        notes: what was left out, cut or failed, each with its number.
        title: what was evaluated.
        command: what reproduces the run.
        preflight: `checks`, each with `name`, `passed`, `what` and `remedy`, and `rows`, the first
            rows with their `tokens`, each with `text` and whether it is `trained`.
        planned: what `tenon plan` foretold beside what was measured: a list of `name`, `value`,
            `low`, `high`, `measured` and `unit` ("bytes" or "seconds").
        slices: groups of rows by one property, see `tenon.evaluate.slices`; of `part`.
        seeds: values of each seed, and how the variance splits; empty for one seed.
        forgetting: what the adapter changes on texts that it was not trained for; a list.
        temperature: scaling of the logits, and the calibration before and after; may be empty.
    """

    task: str
    part: str
    metrics: dict[str, dict[str, Interval]]
    baselines: dict[str, dict[str, Interval]]
    paired: dict[str, dict[str, Paired]]
    outcome: Outcome
    verdict: str
    unseen: dict[str, Interval] = field(default_factory=dict[str, Interval])
    per_class: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    confusion: dict[str, Any] = field(default_factory=dict[str, Any])
    calibration: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    won: dict[str, Any] = field(default_factory=dict[str, Any])
    lost: dict[str, Any] = field(default_factory=dict[str, Any])
    surest_errors: dict[str, Any] = field(default_factory=dict[str, Any])
    sample: dict[str, Any] = field(default_factory=dict[str, Any])
    scatter: dict[str, Any] = field(default_factory=dict[str, Any])
    learning_curve: dict[str, list[list[float]]] = field(
        default_factory=dict[str, list[list[float]]]
    )
    cost: dict[str, Any] = field(default_factory=dict[str, Any])
    data: dict[str, Any] = field(default_factory=dict[str, Any])
    findings: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    environment: dict[str, Any] = field(default_factory=dict[str, Any])
    intervals: dict[str, Any] = field(default_factory=dict[str, Any])
    notes: list[str] = field(default_factory=list[str])
    title: str = ""
    command: str = ""
    preflight: dict[str, Any] = field(default_factory=dict[str, Any])
    planned: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    slices: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    seeds: dict[str, Any] = field(default_factory=dict[str, Any])
    forgetting: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    temperature: dict[str, Any] = field(default_factory=dict[str, Any])

    def to_json(self) -> dict[str, Any]:
        """Give the report as JSON-able values, `format` first."""
        return {"format": FORMAT, **asdict(self)}

    def summary(self) -> dict[str, Any]:
        """Give what an adapter's manifest keeps: the leading part's metrics and the verdict."""
        metrics = {name: asdict(interval) for name, interval in self.metrics[self.part].items()}
        return {"part": self.part, "metrics": metrics, "verdict": self.verdict}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Report:
        """Read what `to_json` gave.

        Raises:
            DataError: another format, or a field is missing or unknown.
        """
        return _from_json(value)


def _from_json(value: Mapping[str, Any]) -> Report:
    given = dict(value)
    if given.pop("format", None) != FORMAT:
        raise DataError(
            f"report: format is {value.get('format')!r}; this Tenon reads format {FORMAT}"
        )
    known = {item.name: item for item in fields(Report)}
    needed = {name for name, item in known.items() if item.default_factory is MISSING}
    if wrong := sorted((needed - {"title", "command"} - given.keys()) | (given.keys() - known)):
        raise DataError(f"report: fields are missing or unknown: {', '.join(wrong)}")
    try:
        for name in ("metrics", "baselines"):
            given[name] = {key: _read(Interval, group) for key, group in given[name].items()}
        given["paired"] = {key: _read(Paired, group) for key, group in given["paired"].items()}
        given["unseen"] = _read(Interval, given["unseen"])
    except (TypeError, AttributeError) as error:
        raise DataError(f"report: a number is not of format {FORMAT} ({error})") from error
    return Report(**given)


def _read(kind: Callable[..., Any], group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: kind(**numbers) for name, numbers in group.items()}
