"""Entities: spans with a type, found or missed.

Strict: start, end and type are all right. Lenient: an answer of the right type overlaps
the gold by a character at least; each span is matched once, so one long answer finds one
entity. A span named twice in a row counts once.

R rows, T types, K = 4 T terms: gold, answers, strict hits, lenient hits of each type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tenon.data.gold import Span
from tenon.evaluate import counts

Doubles = npt.NDArray[np.float64]
Spans = Sequence[Span]
BLOCKS = 4


def types(gold: Sequence[Spans], answers: Sequence[Spans]) -> tuple[str, ...]:
    """Give the types that occur in gold or answers, sorted; `("",)` where no row has a span."""
    found = {span.label for rows in (gold, answers) for spans in rows for span in spans}
    return tuple(sorted(found)) or ("",)


def terms(gold: Sequence[Spans], answers: Sequence[Spans]) -> Any:
    """Count gold, answers, strict hits and lenient hits of each type, sparse [R, 4 T].

    Args:
        gold: the spans of each row.
        answers: the spans found in each row.

    Raises:
        ValueError: they differ in rows.
    """
    counts.check_rows(gold, answers)
    names = types(gold, answers)
    place = {name: index for index, name in enumerate(names)}
    cells: list[tuple[int, int, int]] = []
    for row, (wanted, found) in enumerate(zip(gold, answers, strict=True)):
        for block, label, count in _counted(frozenset(wanted), frozenset(found)):
            cells.append((row, block * len(names) + place[label], count))
    return _table(cells, len(gold), BLOCKS * len(names))


def _counted(wanted: frozenset[Span], found: frozenset[Span]) -> Iterator[tuple[int, str, int]]:
    """Yield block, type and count of one row."""
    for block, spans in enumerate((wanted, found, wanted & found)):
        for span in spans:
            yield block, span.label, 1
    for label in {span.label for span in wanted} & {span.label for span in found}:
        mine = [span for span in wanted if span.label == label]
        theirs = [span for span in found if span.label == label]
        yield 3, label, overlaps(mine, theirs)


def overlaps(first: Spans, second: Spans) -> int:
    """Give how many pairs of overlapping spans there are at most, each span in one pair.

    The span that ends first is paired with the earliest-ending one that it overlaps: whatever
    else overlaps that one overlaps every later one too, so no better choice exists.

    Args:
        first: spans of one type.
        second: spans of the same type.
    """
    waiting: tuple[list[Span], list[Span]] = ([], [])
    pairs = 0
    marked = [(span, side) for side, spans in enumerate((first, second)) for span in spans]
    ordered = sorted(marked, key=lambda pair: (pair[0].end, pair[0].start, pair[1]))
    for span, side in ordered:
        waiting[side].append(span)
    for span, side in ordered:
        if span not in waiting[side]:
            continue
        waiting[side].remove(span)
        partner = next((other for other in waiting[1 - side] if _touch(span, other)), None)
        if partner is not None:
            waiting[1 - side].remove(partner)
            pairs += 1
    return pairs


def _touch(first: Span, second: Span) -> bool:
    return first.start < second.end and second.start < first.end


def f1(sums_SK: Doubles, _rows: int) -> Doubles:
    """Give strict micro-F1, [S]; 0 where there are neither gold nor answers."""
    return counts.micro_f1(*_strict(sums_SK))


def precision(sums_SK: Doubles, _rows: int) -> Doubles:
    """Give strict micro precision, [S]; 0 where nothing was answered."""
    _, answer_ST, hit_ST = _strict(sums_SK)
    return counts.precision(answer_ST, hit_ST)


def recall(sums_SK: Doubles, _rows: int) -> Doubles:
    """Give strict micro recall, [S]; 0 where there is no gold."""
    gold_ST, _, hit_ST = _strict(sums_SK)
    return counts.recall(gold_ST, hit_ST)


def macro_f1(sums_SK: Doubles, _rows: int) -> Doubles:
    """Give strict F1 averaged over the types that occur in gold or answers, [S]."""
    return counts.macro_f1(*_strict(sums_SK))


def lenient_f1(sums_SK: Doubles, _rows: int) -> Doubles:
    """Give micro-F1 of overlapping spans, [S]."""
    gold_ST, answer_ST, _, overlap_ST = np.split(sums_SK, BLOCKS, axis=1)
    return counts.micro_f1(gold_ST, answer_ST, overlap_ST)


def _strict(sums_SK: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    gold_ST, answer_ST, hit_ST, _ = np.split(sums_SK, BLOCKS, axis=1)
    return gold_ST, answer_ST, hit_ST


COMBINE: dict[str, Callable[[Doubles, int], Doubles]] = {
    "entity_f1": f1,
    "entity_precision": precision,
    "entity_recall": recall,
    "entity_macro_f1": macro_f1,
    "entity_lenient_f1": lenient_f1,
}


def per_type(gold: Sequence[Spans], answers: Sequence[Spans], level: float) -> list[dict[str, Any]]:
    """Give each type's counts and strict precision, recall and F1; empty where no row has a span.

    Args:
        gold: the spans of each row.
        answers: the spans found in each row.
        level: confidence of the intervals; see `tenon.evaluate.counts.table`.
    """
    if not any(gold) and not any(answers):
        return []
    sums_K = np.asarray(terms(gold, answers).sum(axis=0), np.float64).reshape(-1)
    return counts.table(types(gold, answers), sums_K, level, gold_name="entities")


def token_terms(gold: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]) -> Any:
    """Count right tags and tags of each row, sparse [R, 2].

    Args:
        gold: the tag of each token of each row.
        answers: the tags that were answered, as many.

    Raises:
        ValueError: they differ in rows, or in the tokens of a row.
    """
    counts.check_rows(gold, answers)
    counted_R2 = np.zeros((len(gold), 2))
    for row, (wanted, found) in enumerate(zip(gold, answers, strict=True)):
        if len(wanted) != len(found):
            raise ValueError(f"row {row} has {len(wanted)} gold tags and {len(found)} answers")
        counted_R2[row] = sum(a == b for a, b in zip(wanted, found, strict=True)), len(wanted)
    return sparse.csr_array(counted_R2)


def token_accuracy(sums_SK: Doubles, _rows: int) -> Doubles:
    """Give the share of tokens whose tag is right, [S]; 0 where there is no token."""
    return counts.ratio(sums_SK[:, 0], sums_SK[:, 1])


def _table(cells: list[tuple[int, int, int]], rows: int, columns: int) -> Any:
    row_N, column_N, count_N = np.array(cells, np.int64).reshape(-1, 3).T
    shape = (rows, columns)
    return sparse.csr_array((count_N.astype(np.float64), (row_N, column_N)), shape=shape)
