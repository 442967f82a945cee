"""Run page: how a run ended, and the demo's comparison of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from tenon.data.findings import counted
from tenon.evaluate.report import Report
from tenon.terminal.findings import found
from tenon.terminal.number import count, duration
from tenon.terminal.place import short
from tenon.terminal.preflight import preflight_line
from tenon.terminal.preview import settings_table
from tenon.terminal.report import (
    COLOURS,
    PROBE,
    bounds_of,
    gain_of,
    paths,
    report_page,
    scorer_of,
    value_of,
)
from tenon.terminal.sheet import heading, notes, page, sheet
from tenon.verbs.demo import Demonstration
from tenon.verbs.predict import Answered
from tenon.verbs.show import RunView
from tenon.verbs.together import Runs
from tenon.verbs.train import Run

SHOWN_FAILED = 10


def run_page(run: Run) -> RenderableType:
    """Lay out a run's report and files."""
    files = [
        ("adapter", str(run.adapter)),
        ("report", str(report_file(run.out))),
        ("plan, steps", str(run.out)),
    ]
    made = page(preflight_line(run.report), report_page(run.report, files))
    if not run.ended_before:
        return made
    told = f"{run.out}: had ended before; nothing was trained now. --resume never trains it anew"
    return page(Text(short(told), style="yellow"), made)


def runs_page(made: Runs) -> RenderableType:
    """Lay out the runs of several adapters: their leading scores, then what each one says."""
    head = ("adapter", "task", "score", "value", "interval", "trained")
    rows = [_line(name, run) for name, run in made.runs.items()]
    said = [
        (name, Text(run.report.verdict, style=COLOURS.get(run.report.outcome, "bold")))
        for name, run in made.runs.items()
    ]
    files = [(name, str(report_file(run.out))) for name, run in made.runs.items()]
    return page(
        sheet(*head, rows=rows, numbers=head[3:], clip=head[1]),
        sheet("", "", rows=said),
        paths(files),
    )


def _line(name: str, run: Run) -> list[RenderableType]:
    lead, interval = next(iter(run.report.metrics[run.report.part].items()))
    trained = run.report.cost.get("trainable_parameters", 0)
    return [
        name,
        run.report.task,
        scorer_of(lead).title,
        _bold(value_of(lead, interval)),
        bounds_of(lead, interval),
        count(trained),
    ]


def answered_page(answered: Answered) -> RenderableType:
    """Say how many rows were answered, and which were not."""
    lines = told(answered)
    return page(
        heading(f"{counted(answered.rows, 'row')} answered"),
        notes(lines) if lines else None,
        paths([("answers", str(answered.out))]) if answered.out else None,
    )


def told(answered: Answered) -> list[str]:
    """Give what is to be told beside the answers: what was guessed, and which rows failed."""
    before = f"{count(answered.resumed)} of them had been answered before"
    shown = [f"{origin}: {cause}" for origin, cause in answered.failed.items()][:SHOWN_FAILED]
    more = answered.missed - len(shown)
    return [
        *([before] if answered.resumed else []),
        *answered.notes,
        *([f"{counted(answered.missed, 'row')} could not be answered"] if shown else []),
        *shown,
        *([f"… and {count(more)} more"] if shown and more > 0 else []),
    ]


def report_file(run: Path) -> Path:
    """Give the page that a browser shows."""
    return run / "report" / "report.html"


def view_page(view: RunView) -> RenderableType:
    """Lay out a run folder, ended or not."""
    state = f"{count(view.steps)} steps" + ("" if view.report else ", not ended")
    return page(
        heading(str(view.folder), state),
        report_page(view.report) if view.report else None,
        settings_table(view.plan),
    )


def demo_page(shown: Demonstration) -> RenderableType:
    """Lay out the findings, the adapters beside the probe, and where the reports are."""
    reports = [run.report for run in shown.runs]
    head = ("", "linear probe", *shown.kinds)
    files = [
        (kind, str(report_file(run.out))) for kind, run in zip(shown.kinds, shown.runs, strict=True)
    ]
    return page(
        heading("1  tenon check", f"what is wrong with {shown.findings.sources['train']}"),
        found(shown.findings),
        heading("2  tenon train", f"adapters of one base, judged on {_rows(reports[0])} test rows"),
        sheet(*head, rows=_comparison(reports), numbers=head[1:]),
        heading("3  The reports", "open them in a browser"),
        paths(files),
    )


def _rows(report: Report) -> str:
    return count(next(iter(report.metrics[report.part].values())).n)


def _comparison(reports: Sequence[Report]) -> list[list[RenderableType]]:
    """Give a row for each quantity: of the probe, then of each adapter."""
    probe = reports[0].baselines[PROBE]
    scores = [report.metrics[report.part] for report in reports]
    rows: list[list[RenderableType]] = []
    for name in ("accuracy", "macro_f1"):
        systems = [group[name] for group in (probe, *scores)]
        rows.append([scorer_of(name).title, *(_bold(value_of(name, each)) for each in systems)])
        rows.append(["  interval", *(bounds_of(name, each) for each in systems)])
    gains = [gain_of("accuracy", report.paired[PROBE]["accuracy"]) for report in reports]
    trained = [count(report.cost["trainable_parameters"]) for report in reports]
    seconds = [duration(report.cost["seconds"]) for report in reports]
    rows.append(["Gain over the probe", "", *gains])
    rows.append(["Trained parameters", "", *trained])
    rows.append(["Time", "", *seconds])
    return rows


def _bold(text: str) -> Text:
    return Text(text, style="bold")
