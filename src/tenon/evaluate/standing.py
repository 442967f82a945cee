"""Standing: who leads a comparison, and whether that is more than noise, in a sentence."""

from __future__ import annotations

from tenon.evaluate.comparison import Comparison, Duel, System
from tenon.evaluate.language import Language
from tenon.evaluate.quantity import amount, bounds, difference, title
from tenon.evaluate.verdict import probability


def standing(found: Comparison, words: Language) -> str:
    """Give the verdict of a comparison in a language."""
    first, second = found.systems[0], found.systems[1]
    said = words(
        "standing.lead",
        name=first.name,
        scorer=title(found.lead, words),
        part=found.part,
        value=_value(found, first, words),
    )
    if found.outcome == "unproved":
        return said + words("standing.unproved", n=found.rows)
    if found.outcome == "leads":
        rest = words("standing.and_all", n=len(found.systems) - 2)
        more = rest if len(found.systems) > 2 else ""
        return said + words("standing.leads", **_told(found, second, words)) + more
    rival = next(system for system in found.systems if system.name in found.rivals)
    parts = [said, words("standing.no_difference", **_told(found, rival, words))]
    if len(found.rivals) > 1:
        others = [name for name in found.rivals if name != rival.name]
        parts.append(words("standing.nor", names=words("list.between").join(others)))
    if better := _better(found, words):
        parts.append(better)
    return "".join(parts)


def _value(found: Comparison, system: System, words: Language) -> str:
    return amount(found.lead, system.metrics[found.lead.name].value, words)


def _told(found: Comparison, other: System, words: Language) -> dict[str, object]:
    """Give what is said of the first system and another one."""
    duel = found.duel(found.systems[0].name, other.name, found.lead.name)
    assert duel is not None  # noqa: S101 - every pair was compared
    return {
        "rival": other.name,
        "other": _value(found, other, words),
        "difference": difference(found.lead, duel.paired.difference, words),
        "bounds": bounds(found.lead, duel.paired, words),
        "p": tested(found, duel, words),
        "n": found.rows,
    }


def tested(found: Comparison, duel: Duel, words: Language) -> str:
    """Give a p-value, and for how many pairs it was corrected."""
    pairs = len(found.systems) * (len(found.systems) - 1) // 2
    if pairs == 1:
        return probability(duel.holm)
    return words("standing.holm", p=probability(duel.holm), n=pairs)


def _better(found: Comparison, words: Language) -> str:
    """Name the systems that the first one is shown to be better than."""
    names = [system.name for system in found.systems[1:] if system.name not in found.rivals]
    if not names:
        return ""
    return words("standing.better_than", names=words("list.between").join(names))
