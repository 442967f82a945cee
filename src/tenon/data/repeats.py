"""Repeats: rows that say the same, within a source, across sources, and with two labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np

from tenon.data.findings import EXAMPLES, ROWS, Finding, agreed, said, share_of
from tenon.data.ledger import U64, Ledger
from tenon.data.names import PARTS

_LIKE = "but for case, blanks, punctuation or traditional characters"
_LEAK_REMEDY = {
    "drop_from_train": "training leaves these rows out of {source}",
    "keep": "training keeps them (data.overlap); a score on them measures memory",
    "error": 'remove them; data.overlap = "error" refuses to train',
}


def duplicates(part: str, ledger: Ledger) -> Iterator[Finding]:
    """Find rows of one source that repeat an earlier row, exactly or normalised."""
    exact, first = _repeats(ledger.exact)
    if exact:
        yield Finding(
            "duplicates",
            "warning" if exact > 0.01 * len(ledger) else "note",
            exact,
            _rows(exact, ledger, part, "repeat", "{} the inputs of an earlier row"),
            "they count twice; remove them if that is not meant, or let --fix do it",
            *_placed(ledger, first),
        )
    alike, first = _repeats(ledger.alike)
    if alike > exact:
        yield Finding(
            "normalised-duplicates",
            "note",
            alike - exact,
            _rows(alike - exact, ledger, part, "repeat", f"{{}} an earlier one {_LIKE}"),
            "look at them; they are kept, and --fix drops those with the same answer",
            *_placed(ledger, _only_alike(ledger, first)),
        )


def _rows(count: int, ledger: Ledger, part: str, verb: str, does: str) -> str:
    """Give "2 of 34 (5.9 %) rows of train repeat ...", with the verb where `does` has braces."""
    return f"{share_of(count, len(ledger))} rows of {part} {does.format(agreed(count, verb))}"


def _repeats(digests: U64) -> tuple[int, list[int]]:
    """Count the rows that repeat an earlier one; give the first few such rows."""
    order = np.argsort(digests, kind="stable")
    again = order[1:][digests[order[1:]] == digests[order[:-1]]]
    return len(again), np.sort(again).tolist()


def _placed(ledger: Ledger, rows: list[int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give the origins of the first few of some rows, and of the first thousand."""
    origins = tuple(ledger.origin(row) for row in rows[:ROWS])
    return origins[:EXAMPLES], origins


def _only_alike(ledger: Ledger, rows: list[int]) -> list[int]:
    """Give those of `rows` that repeat no earlier row exactly."""
    _, again = _repeats(ledger.exact)
    exact = frozenset(again)
    return [row for row in rows if row not in exact]


def leaks(ledgers: Mapping[str, Ledger], overlap: str) -> Iterator[Finding]:
    """Find rows of dev and test whose inputs stand in train, and of test in dev."""
    for source, later in combinations([part for part in PARTS if part in ledgers], 2):
        yield from _leak(source, ledgers[source], later, ledgers[later], overlap)


def _leak(
    source: str, earlier: Ledger, later: str, ledger: Ledger, overlap: str
) -> Iterator[Finding]:
    exact = np.isin(ledger.keys, earlier.keys)
    alike = np.isin(ledger.alike, earlier.alike) & ~exact
    shared, near = int(exact.sum()), int(alike.sum())
    if shared:
        yield Finding(
            "leak",
            "error" if overlap == "error" else "warning",
            shared,
            _rows(shared, ledger, later, "stand", f"also {{}} in {source}"),
            _LEAK_REMEDY[overlap].format(source=source),
            _pairs(np.flatnonzero(exact), ledger, ledger.keys, earlier, earlier.keys),
            _placed(ledger, np.flatnonzero(exact).tolist())[1],
        )
    if near:
        yield Finding(
            "normalised-leak",
            "warning" if near > 0.01 * len(ledger) else "note",
            near,
            _rows(near, ledger, later, "stand", f"{{}} in {source} {_LIKE}"),
            f"training keeps them; remove them from {source} if they are the same to you",
            _pairs(np.flatnonzero(alike), ledger, ledger.alike, earlier, earlier.alike),
            _placed(ledger, np.flatnonzero(alike).tolist())[1],
        )


def _pairs(
    rows: np.ndarray, ledger: Ledger, digests: U64, earlier: Ledger, known: U64
) -> tuple[str, ...]:
    """Give the origins of the first few of `rows`, each with the row that it repeats."""
    shown: list[str] = []
    for row in rows[:EXAMPLES]:
        same = int(np.flatnonzero(known == digests[row])[0])
        shown.append(f"{ledger.origin(int(row))} = {earlier.origin(same)}")
    return tuple(shown)


def conflicts(ledgers: Mapping[str, Ledger], *, classes: bool = True) -> Iterator[Finding]:
    """Find inputs that stand with two labels, in one source or across sources.

    Args:
        ledgers: part to its rows.
        classes: whether a row has one class, whose name is shown; else it has several labels.
    """
    parts = [part for part in PARTS if part in ledgers and len(ledgers[part])]
    if not parts:
        return
    labels = np.concatenate([ledgers[part].labels for part in parts])
    exact = np.concatenate([ledgers[part].exact for part in parts])
    alike = np.concatenate([ledgers[part].alike for part in parts])
    names = list(ledgers[parts[0]].names.numbers) if classes else None
    several = "two or more labels" if classes else "labels that differ"
    two = "two labels" if classes else several
    count, rows = _torn(exact, labels)
    if count:
        yield Finding(
            "conflicting-labels",
            "warning",
            count,
            said(count, "text", f"stand with {several}"),
            "decide for one; no model can get both right",
            _shown(rows[:EXAMPLES], parts, ledgers, names),
            _both(rows, parts, ledgers),
        )
    near, alike_rows = _torn(alike, labels)
    if near > count:
        known = {row for pair in rows for row in pair}
        only = [pair for pair in alike_rows if not known.issuperset(pair)]
        yield Finding(
            "normalised-conflicting-labels",
            "note",
            near - count,
            said(near - count, "further text", f"stand with {two} {_LIKE}"),
            "look at them",
            _shown(only[:EXAMPLES], parts, ledgers, names),
            _both(only, parts, ledgers),
        )


def _torn(digests: U64, labels: np.ndarray) -> tuple[int, list[tuple[int, int]]]:
    """Count the digests that have two labels; give the first thousand, each as two rows."""
    order = np.lexsort((labels, digests))
    same = digests[order[1:]] == digests[order[:-1]]
    known = (labels[order[1:]] >= 0) & (labels[order[:-1]] >= 0)
    torn = np.flatnonzero(same & known & (labels[order[1:]] != labels[order[:-1]]))
    count = len(np.unique(digests[order[torn]]))
    found = sorted((int(order[place]), int(order[place + 1])) for place in torn)
    return count, found[:ROWS]


def _shown(
    rows: list[tuple[int, int]],
    parts: list[str],
    ledgers: Mapping[str, Ledger],
    names: list[str] | None,
) -> tuple[str, ...]:
    return tuple(
        " ≠ ".join(_labelled(row, parts, ledgers, names) for row in sorted(pair)) for pair in rows
    )


def _both(
    pairs: list[tuple[int, int]], parts: list[str], ledgers: Mapping[str, Ledger]
) -> tuple[str, ...]:
    """Give the origins of all rows of some pairs."""
    rows = dict.fromkeys(row for pair in pairs for row in sorted(pair))
    return tuple(_labelled(row, parts, ledgers, None) for row in rows)


def _labelled(
    row: int, parts: list[str], ledgers: Mapping[str, Ledger], names: list[str] | None
) -> str:
    for part in parts:
        ledger = ledgers[part]
        if row < len(ledger):
            origin = ledger.origin(row)
            return origin if names is None else f"{origin} ({names[ledger.labels[row]]})"
        row -= len(ledger)
    raise IndexError(row)
