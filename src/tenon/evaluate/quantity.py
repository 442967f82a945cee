"""Quantity: scores, differences, times and sizes as a page has them, in its language."""

from __future__ import annotations

from tenon.evaluate import verdict
from tenon.evaluate.language import Language
from tenon.evaluate.scorers import Scorer
from tenon.evaluate.statistics import Interval, Paired

NO_BREAK = "\N{NO-BREAK SPACE}"


def title(scorer: Scorer, words: Language) -> str:
    """Give what a score is called."""
    return words.name("scorer", scorer.name, scorer.title)


def spoken(system: str, words: Language) -> str:
    """Give the name of a baseline as a sentence has it."""
    return words.name("spoken", system)


def about(rows: int) -> str:
    """Give a number of rows in two figures, as an estimate has no more: "2,300"."""
    digits = max(0, len(str(rows)) - 2)
    return f"{-(-rows // 10**digits) * 10**digits:,}"


def amount(scorer: Scorer, value: float, words: Language) -> str:
    """Give a score with its unit: "93.2 %", "0.253 nats"."""
    return _in(words, verdict.amount(scorer, value))


def difference(scorer: Scorer, value: float, words: Language) -> str:
    """Give a difference with its sign and unit: "+0.5 points"."""
    unit = "score" if scorer.unit == "points" else "points"
    return _in(words, verdict.difference(scorer, value), unit)


def _in(words: Language, text: str, points: str = "points") -> str:
    """Give a number with the name of its unit in a language."""
    number, _, unit = text.partition(" ")
    known = {"nats": "nats", "points": points}.get(unit)
    return number + words(f"unit.{known}") if known else text


def bounds(scorer: Scorer, interval: Interval | Paired, words: Language) -> str:
    """Give the ends of an interval, of a difference with their signs."""
    if isinstance(interval, Paired):
        low, high = (verdict.signed(scorer, end) for end in (interval.low, interval.high))
    else:
        low, high = (
            amount(scorer, end, words).split(" ")[0] for end in (interval.low, interval.high)
        )
        low, high = (end.removesuffix(words("unit.nats")) for end in (low, high))
    return words("range", low=low, high=high)


def chance(p: float) -> str:
    """Give a p-value that does not break."""
    return verdict.probability(p).replace(" ", NO_BREAK)


def plain(value: object, key: str, words: Language) -> str:
    """Give a number with the unit that its field's name tells, or any other value as text."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return words("yes" if value else "no")
    if isinstance(value, int | float):
        if key.endswith("seconds"):
            return duration(value, words)
        if key.endswith("bytes"):
            return memory(value)
        return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
    return str(value)


def duration(seconds: float, words: Language) -> str:
    """Give a time: "0.8 s", "3 min 12 s", "2 h 5 min"."""
    if seconds < 60:
        return words("time.seconds", seconds=f"{seconds:.1f}")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return words("time.minutes", minutes=minutes, seconds=rest)
    return words("time.hours", hours=minutes // 60, minutes=minutes % 60)


def memory(bytes: float) -> str:
    """Give a size: "812 MiB", "1.4 GiB"."""
    size = float(bytes)
    for unit in ("B", "KiB", "MiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
