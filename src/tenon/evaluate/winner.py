"""Winner: which choice wins a sweep, and whether its lead is more than noise, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from tenon.evaluate.language import Language
from tenon.evaluate.quantity import amount, bounds, difference, title
from tenon.evaluate.scorers import Scorer
from tenon.evaluate.statistics import Paired
from tenon.evaluate.swept import AS_IT_STANDS, FEWEST_SEEDS, Finalist, Lead
from tenon.evaluate.verdict import Outcome, probability


def verdict(
    finalists: Sequence[Finalist], leads: Sequence[Lead], scorer: Scorer, words: Language
) -> tuple[Outcome, str]:
    """Say whether a sweep has brought anything: the outcome, and sentences.

    Args:
        finalists: the winner first.
        leads: as `tenon.evaluate.swept.judged` gave them.
        scorer: of the metric.
        words: of the language.
    """
    winner = finalists[0]
    if not leads or winner.mean is None:
        return "unproved", _unproved(winner, scorer, words)
    shown = amount(scorer, winner.mean, words)
    told = {"scorer": spoken(scorer, words), "value": shown, "n": leads[0].n}
    if winner.number is None:
        others = [_lead(lead, finalists, scorer, words) for lead in leads]
        return "no_difference", words("sweep.keeps", **told) + "".join(others)
    known = {lead.rival: lead for lead in leads}
    default = known.pop(AS_IT_STANDS, None)
    ordered = [default, *known.values()] if default else [*known.values()]
    sentences = [_lead(lead, finalists, scorer, words) for lead in ordered]
    head = words("sweep.wins", who=_first(called(winner, words)), **told)
    return (default.outcome if default else "unproved"), head + "".join(sentences)


def called(choice: Finalist, words: Language) -> str:
    """Give the name of a choice within a sentence."""
    if choice.number is None:
        return words("sweep.as_it_stands")
    return words("sweep.trial", n=choice.number)


def spoken(scorer: Scorer, words: Language) -> str:
    """Give a scorer's name within a sentence: accuracy, but F1."""
    name = title(scorer, words)
    return f"{name[0].lower()}{name[1:]}" if name[1:2].islower() else name


def _first(name: str) -> str:
    """Give a name as it stands at the beginning of a sentence."""
    return f"{name[0].upper()}{name[1:]}"


def _unproved(winner: Finalist, scorer: Scorer, words: Language) -> str:
    who, need = _first(called(winner, words)), FEWEST_SEEDS
    if not winner.scores:
        return words("sweep.unproved", who=who, n=need)
    shown = amount(scorer, winner.scores[0], words)
    told = {"scorer": spoken(scorer, words), "value": shown}
    return words("sweep.unproved_at", who=who, n=need, **told)


def _lead(lead: Lead, finalists: Sequence[Finalist], scorer: Scorer, words: Language) -> str:
    rival = next(each for each in finalists if each.name == lead.rival)
    if lead.outcome not in ("better", "worse") and not lead.difference:
        return words("sweep.level", rival=called(rival, words))
    pair = Paired(lead.difference, lead.low, lead.high, lead.p, lead.n, "")
    return words(
        f"sweep.lead_{lead.outcome}",
        rival=called(rival, words),
        difference=difference(scorer, lead.difference, words),
        bounds=bounds(scorer, pair, words),
        p=probability(lead.p),
    )
