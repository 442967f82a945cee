"""Comparison page: who leads, by how much, and whether that is more than noise."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from tenon.data.findings import counted
from tenon.evaluate.comparison import Comparison, Duel, decided
from tenon.evaluate.language import language
from tenon.evaluate.scorers import SCORERS
from tenon.evaluate.standing import standing
from tenon.evaluate.verdict import difference, probability, signed
from tenon.terminal.report import bounds_of, value_of
from tenon.terminal.sheet import heading, page, sheet

COLOURS = {"leads": "bold green"}
SHOWN_PAIRS = 20


def comparison_page(found: Comparison) -> RenderableType:
    """Lay out the verdict, each system's scores, and each pair by the leading score."""
    said = standing(found, language("en"))
    return page(
        Text(said, style=COLOURS.get(found.outcome, "bold")),
        _systems(found),
        _pairs(found),
        _differing(found),
    )


def _systems(found: Comparison) -> RenderableType:
    """Lay out the scores: a line for each system, or where these are few, for each score."""
    names = list(found.systems[0].metrics)
    head = ("metric", *(system.name for system in found.systems))
    rows = [
        (
            name.replace("_", " "),
            *(
                Text.assemble(
                    (value_of(name, system.metrics[name]), "bold"),
                    (f"  {bounds_of(name, system.metrics[name])}", "dim"),
                )
                for system in found.systems
            ),
        )
        for name in names
    ]
    return Group(
        heading(found.part, counted(found.rows, "row")), sheet(*head, rows=rows, numbers=head[1:])
    )


def _pairs(found: Comparison) -> RenderableType | None:
    duels = [duel for duel in found.duels if duel.scorer == found.lead.name]
    if not duels:
        return None
    head = ("first", "second", "difference", "interval", "p (Holm)", "rows won", "lost", "")
    rows = [_pair(found, duel) for duel in duels[:SHOWN_PAIRS]]
    more = [Text(f"  … {len(duels) - SHOWN_PAIRS} more pairs: --json", style="dim")]
    title = heading("Pairs", f"by {found.lead.title}, first minus second")
    return Group(
        title, sheet(*head, rows=rows, numbers=head[2:7]), *more * (len(duels) > SHOWN_PAIRS)
    )


def _pair(found: Comparison, duel: Duel) -> tuple[RenderableType | str, ...]:
    scorer = SCORERS.get(duel.scorer)
    shown = decided(duel, scorer, found.level) != "no_difference"
    won, lost = found.wins[duel.first, duel.second]
    low, high = (signed(scorer, end) for end in (duel.paired.low, duel.paired.high))
    return (
        duel.first,
        duel.second,
        Text(difference(scorer, duel.paired.difference), style="bold" if shown else ""),
        f"{low} to {high}",
        probability(duel.holm).removeprefix("p = ").removeprefix("p "),
        f"{won:,}",
        f"{lost:,}",
        Text("more than noise" if shown else "noise", style="green" if shown else "dim"),
    )


def _differing(found: Comparison) -> RenderableType:
    count = found.differing["count"]
    rest = (
        "--out FOLDER writes a page that shows them" if count else "all answers are worth the same"
    )
    return Text(
        f"the systems differ on {counted(count, 'row')} of {found.rows:,}; {rest}", style="dim"
    )
