"""Class findings: labels that are rare, unknown, alike, or unevenly spread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tenon.core.errors import nearest
from tenon.data.findings import EXAMPLES, Finding, agreed, counted, said
from tenon.data.ledger import MOST_LABELS, Ledger
from tenon.data.task import Task

RARE_ROWS = 10
UNEVEN = 20
_SHORTEST_ALIKE = 4
Counts = Mapping[str, Mapping[str, int]]


def class_findings(counts: Counts, ledgers: Mapping[str, Ledger], task: Task) -> Iterator[Finding]:
    """Find what is wrong with the labels.

    Args:
        counts: part to label to how often it stands there.
        ledgers: part to its rows.
        task: what is learned.
    """
    train = counts.get("train", {})
    yield from _trainable(train, len(ledgers.get("train", ())), task)
    if not train or len(train) >= MOST_LABELS:
        return
    for part in ("dev", "test"):
        if part in counts:
            yield from _unseen(part, counts[part], train, task.counts)
            yield from _absent(part, counts[part], train, task.counts)
    yield from _rare(train, task.counts)
    yield from similar_labels(counts)
    if task.every:
        yield from _sorted_rows(ledgers["train"], len(train))


def _trainable(train: Mapping[str, int], rows: int, task: Task) -> Iterator[Finding]:
    if not rows:
        yield Finding(
            "no-rows", "error", 0, "train has no row that can be used", "give a file with rows"
        )
    elif len(train) >= MOST_LABELS:
        what = f"train has more than {MOST_LABELS:,} different labels"
        yield Finding("too-many-labels", "error", len(train), what, "choose another label column")
    elif not train and task.least:
        what = f"no row of train has a {'label' if task.every else task.counts}"
        yield Finding("no-label", "error", rows, what, "label some of them")
    elif len(train) < task.least:
        only = f"the label {next(iter(train))!r}"
        what = f"all {rows:,} rows of train have {only}" if rows > 1 else f"train has {only} alone"
        yield Finding("one-label", "error", 1, what, "give rows of at least two labels")
    elif task.every and len(train) == rows:
        what = f"{rows:,} rows of train have {len(train):,} labels, so that no label recurs"
        yield Finding("labels-do-not-recur", "error", rows, what, "choose another label column")


def _unseen(
    part: str, counts: Mapping[str, int], train: Mapping[str, int], noun: str
) -> Iterator[Finding]:
    unseen = sorted(set(counts) - set(train))
    if unseen:
        rows = sum(counts[label] for label in unseen)
        near = nearest(unseen[0], train)
        remedy = f"did you mean {near[0]!r} by {unseen[0]!r}? " if near else ""
        yield Finding(
            "unseen-labels",
            "error",
            len(unseen),
            f"{counted(len(unseen), 'label')} of {part} ({counted(rows, noun)}) "
            f"never {agreed(len(unseen), 'stand')} in train",
            f"{remedy}add such rows to train or remove these",
            tuple(unseen[:EXAMPLES]),
        )


def _absent(
    part: str, counts: Mapping[str, int], train: Mapping[str, int], noun: str
) -> Iterator[Finding]:
    absent = sorted(set(train) - set(counts))
    if absent and counts:
        yield Finding(
            "absent-labels",
            "note",
            len(absent),
            f"{counted(len(absent), 'label')} of train "
            f"{agreed(len(absent), 'have')} no {noun} in {part}",
            f"scores on {part} say nothing about them",
            tuple(absent[:EXAMPLES]),
        )


def _rare(train: Mapping[str, int], noun: str) -> Iterator[Finding]:
    rare = sorted((count, label) for label, count in train.items() if count < RARE_ROWS)
    if rare:
        yield Finding(
            "rare-labels",
            "warning",
            len(rare),
            said(len(rare), "label", f"have fewer than {RARE_ROWS} {noun}s in train"),
            f"gather more {noun}s of them, or join them with others",
            tuple(f"{label} ({counted(count, noun)})" for count, label in rare[:EXAMPLES]),
        )
    most, least = max(train.values()), min(train.values())
    if most > UNEVEN * least:
        largest = max(train, key=lambda label: train[label])
        yield Finding(
            "uneven-labels",
            "note",
            len(train),
            f"the largest label, {largest!r}, has {most:,} {noun}s, the smallest {least:,}",
            f"read macro-F1 beside {'accuracy' if noun == 'row' else 'F1'}",
        )


def similar_labels(counts: Counts) -> Iterator[Finding]:
    """Find names that are most likely one label, written in two ways.

    Such are names equal but for case and punctuation, and names one letter apart of which one is
    rare: `time` and `timer` with a hundred rows each are two labels, `card` and `crad` with
    a hundred and one are not.
    """
    total: Counter[str] = Counter()
    for part in counts.values():
        total.update(part)
    labels = sorted(total)
    apart = {pair for pair in _one_letter_apart(labels) if _one_is_rare(pair, total)}
    pairs = sorted(_alike(labels) | apart)
    if pairs:
        yield Finding(
            "similar-labels",
            "warning",
            len(pairs),
            f"{counted(len(pairs), 'pair')} of labels "
            f"{agreed(len(pairs), 'have')} nearly the same name",
            "write them the same if they are one",
            tuple(f"{first!r} ~ {second!r}" for first, second in pairs[:EXAMPLES]),
        )


def _one_is_rare(pair: tuple[str, str], total: Mapping[str, int]) -> bool:
    fewer, more = sorted((total[pair[0]], total[pair[1]]))
    return fewer < RARE_ROWS or fewer * RARE_ROWS <= more


def _alike(labels: Sequence[str]) -> set[tuple[str, str]]:
    """Give pairs of labels that are equal but for case, blanks and punctuation."""
    seen: dict[str, str] = {}
    found: set[tuple[str, str]] = set()
    for label in labels:
        bare = "".join(character for character in label.casefold() if character.isalnum()) or label
        if bare in seen and not _numeric(label):
            found.add((seen[bare], label))
        seen.setdefault(bare, label)
    return found


def _numeric(label: str) -> bool:
    return not any(character.isalpha() for character in label)


def _one_letter_apart(labels: Sequence[str]) -> set[tuple[str, str]]:
    """Give pairs of labels that differ by one letter put in, left out, or changed.

    Each label is filed under itself and under all it becomes when one character is left out;
    labels that meet under one key are compared. Names that differ by a digit are meant so.

    Source: the deletion neighbourhoods of SymSpell (Garbe 2012).
    """
    filed: dict[str, list[str]] = {}
    for label in labels:
        if len(label) >= _SHORTEST_ALIKE and label.isascii():
            for key in {label, *(label[:at] + label[at + 1 :] for at in range(len(label)))}:
                filed.setdefault(key, []).append(label)
    met = {
        (first, second)
        for group in filed.values()
        for place, first in enumerate(group)
        for second in group[place + 1 :]
        if first != second
    }
    return {pair for pair in met if _letters_differ(*pair)}


def _letters_differ(first: str, second: str) -> bool:
    """Tell whether what the two differ by is one letter, and neither a digit nor transposed."""
    start = 0
    while start < min(len(first), len(second)) and first[start] == second[start]:
        start += 1
    end = 0
    while end < min(len(first), len(second)) - start and first[-1 - end] == second[-1 - end]:
        end += 1
    changed = first[start : len(first) - end] + second[start : len(second) - end]
    return len(changed) <= 2 and changed.isalpha()


def _sorted_rows(train: Ledger, labels: int) -> Iterator[Finding]:
    numbers = train.labels
    changes = int(np.count_nonzero(numbers[1:] != numbers[:-1]))
    if labels > 1 and len(numbers) > 10 * labels and changes < 2 * labels:
        yield Finding(
            "sorted-rows",
            "note",
            changes,
            f"the rows of train stand sorted by label ({counted(changes, 'change')} in all)",
            "training shuffles them; never take the first rows of this file as a sample",
        )
