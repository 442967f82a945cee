"""Comparison page: several systems on the same rows, as one HTML file for a browser or paper."""

from __future__ import annotations

from functools import partial
from typing import Any

from tenon.evaluate import plots, verdict
from tenon.evaluate.comparison import Comparison, Duel, decided
from tenon.evaluate.language import Language
from tenon.evaluate.marks import marked
from tenon.evaluate.page import Caps, render, within
from tenon.evaluate.plots import Bar
from tenon.evaluate.quantity import amount, bounds, difference, title
from tenon.evaluate.scorers import SCORERS, Scorer
from tenon.evaluate.standing import standing, tested

STYLES = ("adapter", "linear_probe", "other", "majority")
"""Colours of the systems, the best first; the last one is for all others."""
SIDE = 150
OUTCOMES = {"leads": "better", "shared": "no_difference"}


def html(found: Comparison, words: Language) -> str:
    """Give the page of a comparison; every text of the user's is escaped.

    Raises:
        DataError: even the shortest page takes more than 2 MB.
    """
    return within(partial(_page, found, words))


def _page(found: Comparison, words: Language, caps: Caps) -> str:
    duels = [duel for duel in found.duels if duel.scorer == found.lead.name]
    return render(
        "compare.html",
        words,
        caps,
        found=found,
        outcome=OUTCOMES.get(found.outcome, found.outcome),
        verdict=standing(found, words),
        cards=[_card(found, SCORERS.get(name), words) for name in found.systems[0].metrics],
        duels=[_duel(found, duel, words) for duel in duels],
        pairs=[_line(found, duel, words) for duel in found.duels],
        marked=marked,
        styles={system.name: _style(place) for place, system in enumerate(found.systems)},
        kind=_kind(found),
    )


def _style(place: int) -> str:
    return STYLES[min(place, len(STYLES) - 1)]


def _kind(found: Comparison) -> str:
    """Say how answers are shown: as labels, spans in a text, or texts."""
    rows = found.differing.get("rows", [])
    if found.task == "token-classification":
        return "spans"
    if found.task == "question-answering":
        return "answers"
    gold = rows[0]["gold"] if rows else ""
    long = found.task in ("text-generation", "translation", "summarization")
    return "texts" if long else "lists" if isinstance(gold, list) else "labels"


def _card(found: Comparison, scorer: Scorer, words: Language) -> dict[str, Any]:
    """Draw the systems by one scorer."""
    bars = [
        Bar(system.name, each.value, each.low, each.high, _style(place))
        for place, system in enumerate(found.systems)
        if (each := system.metrics.get(scorer.name)) is not None
    ]
    write, ticks = partial(amount, scorer, words=words), partial(verdict.mark, scorer)
    called = words("drawn.scores", scorer=title(scorer, words))
    return {
        "scorer": scorer,
        "title": title(scorer, words),
        "forest": plots.forest(bars, write, ticks, title=called, side=SIDE),
    }


def _duel(found: Comparison, duel: Duel, words: Language) -> dict[str, Any]:
    """Draw a pair by the leading scorer."""
    scorer, pair = found.lead, duel.paired
    shown = decided(duel, scorer, found.level) != "no_difference"
    style = "adapter" if shown else "majority"
    bar = Bar(words("difference"), pair.difference, pair.low, pair.high, style)
    write, ticks = partial(verdict.signed, scorer), partial(verdict.step, scorer)
    called = words("drawn.difference", rival=duel.second)
    won, lost = found.wins[duel.first, duel.second]
    return {
        "first": duel.first,
        "second": duel.second,
        "said": words("duel_shown" if shown else "duel_noise"),
        "shown": shown,
        "difference": difference(scorer, pair.difference, words),
        "bounds": bounds(scorer, pair, words),
        "p": tested(found, duel, words),
        "won": won,
        "lost": lost,
        "plot": plots.forest([bar], write, ticks, title=called, zero=True),
    }


def _line(found: Comparison, duel: Duel, words: Language) -> dict[str, Any]:
    """Give a pair by one scorer in words."""
    scorer = SCORERS.get(duel.scorer)
    return {
        "scorer": title(scorer, words),
        "first": duel.first,
        "second": duel.second,
        "difference": difference(scorer, duel.paired.difference, words),
        "bounds": bounds(scorer, duel.paired, words),
        "p": verdict.probability(duel.paired.p),
        "holm": verdict.probability(duel.holm),
        "shown": decided(duel, scorer, found.level) != "no_difference",
        "method": duel.paired.method,
    }
