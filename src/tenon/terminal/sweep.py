"""Sweep page: the trials of a sweep, what mattered, and what to take."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from tenon.data.findings import counted
from tenon.evaluate.language import language
from tenon.evaluate.sweep_page import rough
from tenon.evaluate.swept import Swept, Tried, shown
from tenon.evaluate.verdict import amount
from tenon.terminal.number import count, duration
from tenon.terminal.place import short
from tenon.terminal.report import COLOURS, paths
from tenon.terminal.run import report_file
from tenon.terminal.sheet import heading, notes, page, sheet
from tenon.verbs.study import BEST, Sweep

SHOWN_TRIALS = 12
BAR = 24


def sweep_page(sweep: Sweep) -> RenderableType:
    """Lay out the verdict, the trials, what mattered, the winner's settings and report."""
    swept = sweep.swept
    before = f"{sweep.out}: had ended before; nothing was trained now. --resume never begins anew"
    return page(
        Text(short(before), style="yellow") if sweep.ended_before else None,
        Text(swept.verdict, style=COLOURS.get(swept.outcome, "bold")),
        _trials(swept),
        _finalists(swept) if swept.finalists[0].seeds else None,
        _importance(swept) if swept.importance else None,
        _settings(swept),
        Group(
            heading("The winner's report", f"{sweep.report.part} was answered once"),
            Text(f"  {sweep.report.verdict}"),
        ),
        notes(swept.notes) if swept.notes else None,
        paths(
            [
                ("page", str(sweep.page)),
                ("adapter", str(sweep.adapter)),
                ("report", str(report_file(sweep.out / BEST))),
            ]
        ),
    )


def _trials(swept: Swept) -> RenderableType:
    names = [setting.short for setting in swept.space]
    head = ("trial", swept.scorer.title.lower(), *names, "time", "")
    order = swept.best_first
    rows = [_line(swept, trial) for trial in order[:SHOWN_TRIALS]]
    ended = sum(trial.state == "complete" for trial in order)
    told = f"{ended} of {counted(len(order), 'trial')} came to an end, best first"
    table = sheet(*head, rows=rows, numbers=head[:-1])
    hidden = len(order) - len(rows)
    more = [notes([f"{count(hidden)} further trials are in sweep.html"])] if hidden > 0 else []
    return Group(heading("Trials", told), table, *more)


def _line(swept: Swept, trial: Tried) -> list[RenderableType]:
    score = "–" if trial.value is None else amount(swept.scorer, trial.value)
    values = [shown(trial.values[setting.key]) for setting in swept.space]
    style = "" if trial.state == "complete" else "dim"
    state = language("en")(f"sweep_state.{trial.state}")
    cells = [str(trial.number), score, *values, duration(trial.seconds), state]
    return [Text(cell, style=style) for cell in cells]


def _finalists(swept: Swept) -> RenderableType:
    names = [setting.short for setting in swept.space]
    head = ("choice", *names, "mean", "each seed")
    rows: list[list[RenderableType]] = []
    for each in swept.finalists:
        values = [shown(each.values[setting.key]) for setting in swept.space]
        scores = [_score(swept, value) for _, value in each.seeds]
        mean = Text(_score(swept, each.mean), style="bold")
        rows.append([each.name, *values, mean, " ".join(scores)])
    told = f"{swept.scorer.title.lower()} on dev"
    return Group(heading("Fresh seeds", told), sheet(*head, rows=rows, numbers=head[1:]))


def _score(swept: Swept, value: float | None) -> str:
    return "–" if value is None else amount(swept.scorer, value)


def _importance(swept: Swept) -> RenderableType:
    shorts = {setting.key: setting.short for setting in swept.space}
    rows = [
        (shorts[key], Text("█" * round(BAR * share) or "▏", style="cyan"), f"{100 * share:.0f} %")
        for key, share in swept.importance.items()
    ]
    told = "share of the variance on dev" + (", a hint: trials are few" if rough(swept) else "")
    return Group(heading("What mattered", told), sheet("", "", "", rows=rows))


def _settings(swept: Swept) -> RenderableType:
    taken = swept.settings or ["no change: the plan as it stands"]
    lines = [Text(f"  {line}", style="bold") for line in taken]
    return Group(heading("Settings to take"), *lines)
