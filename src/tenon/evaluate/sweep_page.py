"""Sweep page: a sweep as one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

from functools import partial
from typing import Any

from tenon.evaluate import sentence, sweep_plots
from tenon.evaluate.language import Language, language
from tenon.evaluate.page import Caps, render, within
from tenon.evaluate.quantity import amount, duration
from tenon.evaluate.report import Report
from tenon.evaluate.swept import Swept, shown
from tenon.evaluate.winner import called, spoken, verdict

FEW_TRIALS = 5
"""Ended trials for each setting, below which shares of importance are rough."""


def html(swept: Swept, report: Report, code: str = "en", link: str = "") -> str:
    """Give the sweep's page; every text of the user's is escaped.

    Args:
        swept: as found, or as read from `sweep.json`.
        report: of the winner's run.
        code: the language of the page, "en" or "zh".
        link: to the page of the winner's report; none without it.

    Raises:
        PlanError: the language is none.
        DataError: even the shortest page takes more than 2 MB.
    """
    words = language(code)
    return within(partial(_page, swept, report, words, link))


def _page(swept: Swept, report: Report, words: Language, link: str, caps: Caps) -> str:
    scorer = swept.scorer
    return render(
        "sweep.html",
        words,
        caps,
        swept=swept,
        report=report,
        link=link,
        verdict=verdict(swept.finalists, swept.leads, scorer, words)[1],
        answered=sentence.verdict(report, words),
        spoken=spoken(scorer, words),
        called=lambda choice: called(choice, words),
        score=lambda value: "–" if value is None else amount(scorer, value, words),
        shown=shown,
        duration=partial(duration, words=words),
        rough=rough(swept),
        **_drawn(swept, words),
    )


def rough(swept: Swept) -> bool:
    """Whether too few trials have ended for shares of importance to be more than rough."""
    ended = sum(trial.state == "complete" for trial in swept.trials)
    return ended < FEW_TRIALS * len(swept.space)


def _drawn(swept: Swept, words: Language) -> dict[str, Any]:
    by_key = {setting.key: setting for setting in swept.space}
    order = [by_key[key] for key in dict.fromkeys([*swept.importance, *by_key])]
    second = order[1] if len(order) > 1 else None
    shares = [(by_key[key].short, share) for key, share in swept.importance.items()]
    scorer, trials = swept.scorer, swept.trials
    return {
        "history": sweep_plots.history(trials, scorer, words),
        "pair": sweep_plots.pair(trials, order[0], second, scorer, words),
        "pair_names": " × ".join(setting.short for setting in order[:2]),
        "parallel": sweep_plots.parallel(trials, swept.space, scorer, words),
        "bars": sweep_plots.bars(shares, words) if shares else "",
    }
