"""Sweep page: a sweep as one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

from functools import partial
from typing import Any

from tenon.evaluate import sweep_plots
from tenon.evaluate.environment import environment
from tenon.evaluate.language import language
from tenon.evaluate.quantity import duration, plain
from tenon.evaluate.report import Report
from tenon.evaluate.swept import Swept, shown
from tenon.evaluate.verdict import amount

HEADLINES = {
    "better": "Better than the plan as it stands",
    "no_difference": "No difference shown",
    "worse": "Worse than the plan as it stands",
    "unproved": "Not proved",
}
STATES = {"complete": "", "pruned": "given up", "failed": "failed"}
FEW_TRIALS = 5
"""Ended trials for each setting, below which shares of importance are rough."""


def html(swept: Swept, report: Report) -> str:
    """Give the sweep's page; every text of the user's is escaped.

    Args:
        swept: as found, or as read from `sweep.json`.
        report: of the winner's run.
    """
    made = environment("sweep")
    words = language("en")
    made.filters["plain"] = partial(plain, key="", words=words)
    made.filters["shown"] = shown
    made.filters["duration"] = partial(duration, words=words)
    scorer = swept.scorer
    return made.get_template("sweep.html").render(
        swept=swept,
        report=report,
        headline=HEADLINES[swept.outcome],
        scorer=scorer,
        score=lambda value: "–" if value is None else amount(scorer, value),
        states=STATES,
        rough=rough(swept),
        **_drawn(swept),
    )


def rough(swept: Swept) -> bool:
    """Whether too few trials have ended for shares of importance to be more than rough."""
    ended = sum(trial.state == "complete" for trial in swept.trials)
    return ended < FEW_TRIALS * len(swept.space)


def _drawn(swept: Swept) -> dict[str, Any]:
    by_key = {setting.key: setting for setting in swept.space}
    order = [by_key[key] for key in dict.fromkeys([*swept.importance, *by_key])]
    second = order[1] if len(order) > 1 else None
    shares = [(by_key[key].short, share) for key, share in swept.importance.items()]
    scorer, trials = swept.scorer, swept.trials
    return {
        "history": sweep_plots.history(trials, scorer),
        "pair": sweep_plots.pair(trials, order[0], second, scorer),
        "pair_names": " × ".join(setting.short for setting in order[:2]),
        "parallel": sweep_plots.parallel(trials, swept.space, scorer),
        "bars": sweep_plots.bars(shares) if shares else "",
    }
